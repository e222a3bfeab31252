"""Records as entities of OGC SensorThings."""

from __future__ import annotations

import io
import json
from typing import Any

from ccnvr.edge.history.sensor_things import write_things

ESTIMATE = {"value": 21.0, "unit": "g/kg", "low": 15.0, "high": 27.0, "places": "new"}
RECORD: dict[str, Any] = {
    "scan_id": "S1-2-3",
    "time": "2026-11-29T07:00:00.000+00:00",
    "instrument": "S1",
    "predictions": {"OC": ESTIMATE, "pH": {**ESTIMATE, "unit": "pH"}},
    "flags": ["OC:noisy"],
    "verdict": {"sample": "ok", "reason": "", "properties": {"OC": {"verdict": "ok"}}},
    "sample": {"id": 'A1 "<b>\n', "top_cm": 0.0},
    "position": {"latitude": 50.5, "longitude": 4.7, "accuracy_m": 3.0},
}


def things(*records: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    stream = io.StringIO()
    count = write_things(records, stream)
    return count, [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_property_is_a_datastream_with_the_interval_as_its_quality() -> None:
    bare = {**RECORD, "scan_id": "S1-2-4", "verdict": None, "predictions": {"OC": ESTIMATE}}
    del bare["position"], bare["sample"]
    count, (thing,) = things(RECORD, bare, {**bare, "predictions": {}})
    assert count == 2
    assert [stream["ObservedProperty"]["name"] for stream in thing["Datastreams"]] == [
        "soil organic carbon",
        "pH in water",
    ]
    first, second = thing["Datastreams"][0]["Observations"]
    assert first["result"] == 21.0
    assert first["resultQuality"]["low"] == 15.0
    assert first["resultQuality"]["flags"] == ["OC:noisy"]
    assert first["resultQuality"]["verdict"] == {"verdict": "ok"}
    assert first["parameters"] == {"scan_id": "S1-2-3", **RECORD["sample"]}
    assert first["FeatureOfInterest"]["feature"]["coordinates"] == [4.7, 50.5]
    # Without a place a server would look for the Thing's own, and refuse what has none.
    assert second["FeatureOfInterest"]["feature"]["geometries"] == []
    assert second["FeatureOfInterest"]["name"] == "S1-2-4"
    unit = thing["Datastreams"][0]["unitOfMeasurement"]
    assert unit["definition"] == "http://qudt.org/vocab/unit/GM-PER-KiloGM"


def test_each_instrument_is_a_thing_on_its_own_line() -> None:
    count, found = things(RECORD, {**RECORD, "instrument": "S2"}, RECORD)
    assert count == 3
    assert [thing["properties"]["serial"] for thing in found] == ["S1", "S2"]
    assert [len(thing["Datastreams"][0]["Observations"]) for thing in found] == [2, 1]


def test_an_entity_has_what_the_standard_demands() -> None:
    _, (thing,) = things(RECORD)
    (stream, _) = thing["Datastreams"]
    # The mandatory properties of each entity: section 8.2 of the standard.
    assert {"name", "description"} <= set(thing)
    assert {"name", "description", "unitOfMeasurement", "observationType"} <= set(stream)
    assert {"name", "description", "encodingType", "metadata"} <= set(stream["Sensor"])
    assert {"name", "definition", "description"} <= set(stream["ObservedProperty"])
    (observation,) = stream["Observations"]
    assert {"phenomenonTime", "resultTime", "result"} <= set(observation)
    assert {"name", "description", "encodingType", "feature"} <= set(
        observation["FeatureOfInterest"]
    )


def test_values_in_another_unit_are_another_datastream() -> None:
    percent = {**ESTIMATE, "value": 2.1, "unit": "%", "low": 1.5, "high": 2.7}
    earlier = {**RECORD, "scan_id": "S1-2-2", "predictions": {"OC": percent}}
    count, (thing,) = things(earlier, RECORD)
    assert count == 2
    found = [
        (stream["name"], stream["unitOfMeasurement"]["symbol"], stream["Observations"])
        for stream in thing["Datastreams"]
    ]
    assert [(name, unit, [one["result"] for one in values]) for name, unit, values in found] == [
        ("OC in % by S1", "%", [2.1]),
        ("OC in g/kg by S1", "g/kg", [21.0]),
        ("pH by S1", "pH", [21.0]),
    ]

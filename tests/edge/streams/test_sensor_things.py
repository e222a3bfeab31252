"""Records as entities of OGC SensorThings."""

from __future__ import annotations

import json
from typing import Any

from ccnvr.edge.streams.sensor_things import thing_of

ESTIMATE = {"value": 21.0, "unit": "g/kg", "low": 15.0, "high": 27.0, "places": "new"}
RECORD: dict[str, Any] = {
    "scan_id": "S1-2-3",
    "time": "2026-11-29T07:00:00.000+00:00",
    "instrument": "S1",
    "predictions": {"OC": ESTIMATE, "pH": {**ESTIMATE, "unit": "pH"}},
    "flags": ["OC:noisy"],
    "verdict": {"sample": "ok", "reason": "", "properties": {"OC": {"verdict": "ok"}}},
    "sample": {"id": "A1", "top_cm": 0.0},
    "position": {"latitude": 50.5, "longitude": 4.7, "accuracy_m": 3.0},
}


def test_each_property_is_a_datastream_with_the_interval_as_its_quality() -> None:
    bare = {**RECORD, "scan_id": "S1-2-4", "verdict": None, "predictions": {"OC": ESTIMATE}}
    del bare["position"]
    thing = thing_of("S1", [RECORD, bare, {**bare, "predictions": {}}])
    assert [stream["ObservedProperty"]["name"] for stream in thing["Datastreams"]] == [
        "soil organic carbon",
        "pH in water",
    ]
    first, second = thing["Datastreams"][0]["Observations"]
    assert first["result"] == 21.0
    assert first["resultQuality"]["low"] == 15.0
    assert first["resultQuality"]["verdict"] == {"verdict": "ok"}
    assert first["parameters"] == {"scan_id": "S1-2-3", "id": "A1", "top_cm": 0.0}
    assert first["FeatureOfInterest"]["feature"]["coordinates"] == [4.7, 50.5]
    assert "FeatureOfInterest" not in second
    unit = thing["Datastreams"][0]["unitOfMeasurement"]
    assert unit["definition"] == "http://qudt.org/vocab/unit/GM-PER-KiloGM"
    json.dumps(thing)


def test_an_entity_has_what_the_standard_demands() -> None:
    (stream, _) = thing_of("S1", [RECORD])["Datastreams"]
    # The mandatory properties of each entity: section 8.2 of the standard.
    assert {"name", "description", "unitOfMeasurement", "observationType"} <= set(stream)
    assert {"name", "description", "encodingType", "metadata"} <= set(stream["Sensor"])
    assert {"name", "definition", "description"} <= set(stream["ObservedProperty"])
    assert {"phenomenonTime", "resultTime", "result"} <= set(stream["Observations"][0])

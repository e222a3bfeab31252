"""Records as entities of OGC SensorThings: one Thing for each instrument, in JSON on one line.

OGC 18-088, SensorThings API Part 1: Sensing, version 1.1: a Thing with its Datastreams and their
Observations inside is a "deep insert" (section 10.2.2), which a server takes as one request. Units
are QUDT's.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import IO, Any

MEASUREMENT = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement"

_UNITS = {
    "g/kg": ("gram per kilogram", "http://qudt.org/vocab/unit/GM-PER-KiloGM"),
    "%": ("percent", "http://qudt.org/vocab/unit/PERCENT"),
    "cmol(+)/kg": ("centimole per kilogram", "http://qudt.org/vocab/unit/CentiMOL-PER-KiloGM"),
    "pH": ("pH", "http://qudt.org/vocab/unit/PH"),
}

_NAMES = {
    "OC": "soil organic carbon",
    "N": "total nitrogen",
    "CEC": "cation exchange capacity",
    "pH": "pH in water",
    "clay": "clay",
}


_Observations = dict[tuple[str, str], IO[str]]
"""Files of Observations by property and unit."""


def write_things(records: Iterable[Mapping[str, Any]], stream: IO[str]) -> int:
    """Write a line of JSON for each instrument: a Thing with a Datastream for each property.

    A property that another bundle stated in another unit has a Datastream for each of them.

    The interval of an estimate, the places that it holds for, the flags and the verdict are the
    `resultQuality` of its Observation. A scan that gave no estimate has no Observation.

    Args:
        records: records as streams deliver them.
        stream: where the lines go.

    Returns:
        How many records have an Observation.
    """
    count = 0
    # Observations stand inside their Datastream, so they are kept on the disk until all are known.
    things: dict[str, _Observations] = {}
    with ExitStack() as files:
        for record in records:
            # In the order of their first appearance, because models differ in properties.
            streams = things.setdefault(str(record["instrument"]), {})
            for name, estimate in record["predictions"].items():
                key = name, str(estimate["unit"])
                if key not in streams:
                    kept = files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
                    streams[key] = kept
                observations = streams[key]
                observations.write("," if observations.tell() else "")
                observations.write(_json(_observation(record, name, estimate)))
            count += bool(record["predictions"])
        for instrument, streams in things.items():
            if streams:
                _write_thing(instrument, streams, stream)
    return count


def _write_thing(instrument: str, streams: _Observations, stream: IO[str]) -> None:
    thing = _json(
        {
            "name": f"spectrometer {instrument}",
            "description": "A Vis-NIR spectrometer whose spectra ccnvr turns into soil properties.",
            "properties": {"serial": instrument},
        }
    )
    stream.write(f'{thing[:-1]}, "Datastreams": [')
    units = Counter(name for name, _ in streams)
    for place, ((name, unit), observations) in enumerate(streams.items()):
        # Where there are several, their names must tell them apart.
        entity = _stream(instrument, name, unit)
        if units[name] > 1:
            entity["name"] = f"{name} in {unit} by {instrument}"
        stream.write(f"{', ' if place else ''}{_json(entity)[:-1]}")
        stream.write(', "Observations": [')
        observations.seek(0)
        shutil.copyfileobj(observations, stream)
        stream.write("]}")
    stream.write("]}\n")


def _json(entity: Mapping[str, Any]) -> str:
    # NaN is not JSON: an error here is better than a file that no server can read.
    return json.dumps(entity, allow_nan=False)


def _stream(instrument: str, name: str, unit: str) -> dict[str, Any]:
    # The standard requires all three parts; an unknown unit still has its symbol.
    unit_name, definition = _UNITS.get(unit, (unit, ""))
    return {
        "name": f"{name} by {instrument}",
        "description": f"{_NAMES.get(name, name)}, predicted from the spectrum of a soil",
        "observationType": MEASUREMENT,
        "unitOfMeasurement": {"name": unit_name, "symbol": unit, "definition": definition},
        "Sensor": {
            "name": f"spectrometer {instrument}",
            "description": "A calibration model of ccnvr on a Vis-NIR spectrometer.",
            "encodingType": "text/html",
            "metadata": "https://github.com/ccnvr/ccnvr",
        },
        "ObservedProperty": {
            "name": _NAMES.get(name, name),
            "definition": f"urn:ccnvr:property:{name}",
            "description": f"{_NAMES.get(name, name)} of the soil under the probe",
        },
    }


def _observation(
    record: Mapping[str, Any], name: str, estimate: Mapping[str, Any]
) -> dict[str, Any]:
    verdict = record.get("verdict") or {}
    sample = record.get("sample") or {}
    observation: dict[str, Any] = {
        "phenomenonTime": record["time"],
        # The prediction follows the scan within milliseconds, and the store keeps one time.
        "resultTime": record["time"],
        "result": estimate["value"],
        "resultQuality": {
            "nameOfMeasure": "90 % prediction interval",
            "low": estimate["low"],
            "high": estimate["high"],
            "places": estimate.get("places"),
            "flags": list(record["flags"]),
            "verdict": (verdict.get("properties") or {}).get(name),
        },
        "parameters": {"scan_id": record["scan_id"], **sample},
    }
    return observation | {"FeatureOfInterest": _place(record, str(sample.get("id") or ""))}


def _place(record: Mapping[str, Any], sample: str) -> dict[str, Any]:
    """Return where the soil was scanned; a server refuses an Observation that does not say it."""
    position = record.get("position")
    named = {"name": sample or record["scan_id"]}
    if not position:
        return named | {
            "description": "A soil whose position was not recorded.",
            "encodingType": "application/geo+json",
            # No geometry: servers know no other encoding, and not all take a null.
            "feature": {"type": "GeometryCollection", "geometries": []},
        }
    return named | {
        "description": "The place where the soil was scanned.",
        "encodingType": "application/geo+json",
        "feature": {
            "type": "Point",
            # Longitude first: RFC 7946, section 3.1.1.
            "coordinates": [position["longitude"], position["latitude"]],
        },
        "properties": {"accuracy_m": position.get("accuracy_m")},
    }

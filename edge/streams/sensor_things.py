"""Records as entities of OGC SensorThings, to be posted to a server in one piece.

OGC 18-088, SensorThings API Part 1: Sensing, version 1.1: a Thing with its Datastreams and their
Observations inside is a "deep insert" (section 10.2.2). Units are QUDT's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

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


def thing_of(instrument: str, records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the records of one instrument as a Thing with a Datastream for each property.

    The interval of an estimate, the places that it holds for, the flags and the verdict are the
    `resultQuality` of its Observation. A scan that gave no estimate has no Observation.
    """
    # By name in the order of their first appearance, because models differ in their properties.
    streams: dict[str, dict[str, Any]] = {}
    for record in records:
        for name, estimate in record["predictions"].items():
            stream = streams.setdefault(name, _stream(instrument, name, str(estimate["unit"])))
            stream["Observations"].append(_observation(record, name, estimate))
    return {
        "name": f"spectrometer {instrument}",
        "description": "A Vis-NIR spectrometer whose spectra ccnvr turns into soil properties.",
        "properties": {"serial": instrument},
        "Datastreams": list(streams.values()),
    }


def _stream(instrument: str, name: str, unit: str) -> dict[str, Any]:
    # The standard wants all three parts; an unknown unit still has its symbol.
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
        "Observations": [],
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
    position = record.get("position")
    if position:
        observation["FeatureOfInterest"] = {
            "name": sample.get("id") or record["scan_id"],
            "description": "The place where the soil was scanned.",
            "encodingType": "application/geo+json",
            "feature": {
                "type": "Point",
                # Longitude first: RFC 7946, section 3.1.1.
                "coordinates": [position["longitude"], position["latitude"]],
            },
            "properties": {"accuracy_m": position.get("accuracy_m")},
        }
    return observation

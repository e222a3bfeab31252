"""Records of the store: scans and references as columns, and columns as scans and references."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.storage.context import ScanContext, context_of
from ccnvr.edge.storage.counts import decode, encode
from ccnvr.edge.storage.host_clock import Moment
from ccnvr.edge.storage.salvage import Record, is_sound
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings

_LOG = logging.getLogger(__name__)

_DIGESTED = ("serial", "quantity", "model", "firmware", "saturation_counts", "joins_nm")


@frozen
class StoredReference:
    """A dark or white scan in the store, with its id and the moment of its commit.

    `panel_reflectance` is that of the panel of a white reference; None where it was not stored.
    """

    id: int
    scan: Scan
    moment: Moment
    panel_reflectance: float | None = None


def measured(scan: Scan) -> Record:
    """Return the columns that samples and references share."""
    settings = scan.settings
    form, counts = encode(scan.counts, settings.averages)
    return {
        "integration_us": settings.integration_us,
        "averages": settings.averages,
        # NaN, the temperature of an instrument without a thermometer, is NULL.
        "temperature_c": None if math.isnan(scan.temperature_c) else float(scan.temperature_c),
        "saturated": int(scan.saturated),
        "counts": counts,
        "counts_format": int(form),
    }


def counts_of(record: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the counts `(pixels,)` of a scan or reference."""
    # Schemas 1 and 2 had no column for the format.
    return decode(record["counts_format"] or 0, record["counts"], record["averages"])


def same_counts(stored: NDArray[np.float64], scan: Scan) -> bool:
    """Return whether stored counts are those of a scan, to the last bit."""
    return stored.tobytes() == scan.counts.astype("<f8").tobytes()


def clock_columns(moment: Moment) -> Record:
    """Return the columns that tell how sure a time is."""
    return {
        "host_boot": moment.host_boot,
        "uptime_s": moment.uptime_s,
        "clock_synchronised": moment.synchronised,
    }


def stored_reference(record: Mapping[str, Any]) -> StoredReference:
    """Return a row of the table of references as a reference."""
    temperature, synchronised = record["temperature_c"], record["clock_synchronised"]
    scan = Scan(
        record["number"],
        ScanKind(record["kind"]),
        counts_of(record),
        Settings(record["integration_us"], record["averages"]),
        bool(record["saturated"]),
        math.nan if temperature is None else temperature,
    )
    moment = Moment(
        datetime.fromisoformat(record["time"]),
        record["host_boot"],
        record["uptime_s"],
        None if synchronised is None else bool(synchronised),
    )
    return StoredReference(record["id"], scan, moment, record["panel_reflectance"])


def instrument_columns(info: InstrumentInfo) -> Record:
    """Return the columns that say how an instrument's counts are to be read."""
    form, wavelengths = encode(info.wavelengths_nm, 1)
    stated: Record = {
        "serial": info.serial,
        "wavelengths": wavelengths,
        "wavelengths_format": int(form),
        "quantity": info.quantity.value,
        "model": info.model,
        "firmware": info.firmware,
        "saturation_counts": int(info.saturation_counts),
        "joins_nm": json.dumps(info.joins_nm),
    }
    # The bands as numbers: another zlib may compress them to other bytes.
    words = [*(str(stated[name]) for name in _DIGESTED), info.wavelengths_nm.tobytes().hex()]
    return {**stated, "digest": hashlib.sha256("\n".join(words).encode()).hexdigest()}


def delivered_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as streams deliver it."""
    sound = is_sound(record)
    if not sound:
        _LOG.error(
            "record %d (scan %s) of the store is damaged and has no prediction; take the scan"
            " again",
            record["id"],
            ascii(record["scan_id"]),
        )
    synchronised = record["clock_synchronised"]
    delivered = {
        # Text even where a damaged record holds something else.
        "scan_id": str(record["scan_id"]),
        "time": str(record["time"]),
        "instrument": str(record["instrument"]),
        "predictions": json.loads(record["predictions"]) if sound else {},
        "flags": json.loads(record["flags"]) if sound else ["rescan:damaged_record"],
        # Null where no tolerance was stated.
        "verdict": json.loads(record["verdict"]) if sound and record["verdict"] else None,
        "latency_ms": record["latency_ms"] if sound else None,
        # Null in what an earlier version stored, and where the computer does not say.
        "clock_synchronised": None if synchronised is None else bool(synchronised),
    }
    return {**delivered, **_of_context(context_of(record))} if sound else delivered


def _of_context(context: ScanContext) -> dict[str, Any]:
    """Return the keys of a delivered record for sample, place and replicates, if there are any."""
    found: dict[str, Any] = {}
    if context.sample.known:
        found["sample"] = context.sample.as_data()
    if context.position is not None:
        found["position"] = context.position.as_data()
    if context.replicates:
        found["replicates"] = context.replicates
    if context.purpose is not None:
        found["purpose"] = context.purpose
    return found

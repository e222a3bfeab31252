"""The store: each scan once, with its raw counts and prediction, and a cursor for each stream.

A scan is committed before anyone sees it. Its id is unique, so a scan that the instrument sends
again after a crash is not stored again.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.daemon import host_clock
from ccnvr.edge.daemon.database import Database, StoreError
from ccnvr.edge.daemon.host_clock import Moment
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings

_ADD_SCAN = """
INSERT INTO scans (
    scan_id, time, instrument, integration_us, averages, temperature_c, saturated, counts,
    dark_id, white_id, bundle_sha256, predictions, flags, latency_ms,
    host_boot, uptime_s, clock_synchronised
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (scan_id) DO NOTHING
"""

_ADD_REFERENCE = """
INSERT INTO reference_scans (
    serial, boot, number, kind, time, integration_us, averages, temperature_c, saturated, counts,
    host_boot, uptime_s, clock_synchronised, suspect
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""

_REFERENCE_COLUMNS = (
    "id, number, kind, time, integration_us, averages, temperature_c, saturated, counts, "
    "host_boot, uptime_s, clock_synchronised"
)


@dataclass(frozen=True)
class StoredReference:
    """A dark or white scan in the store, with its id and the moment of its commit."""

    id: int
    scan: Scan
    moment: Moment


class Store:
    """A store, open in one thread.

    Args:
        path: the store's file; it is made if it does not exist.
        owner: keep other daemons out until `close`. Other threads of the owning process open the
            store for themselves, without `owner`.

    Raises:
        StoreError: another daemon owns the store, the file is not a store, or the disk refuses it.
    """

    def __init__(self, path: Path, *, owner: bool = False) -> None:
        self.path = path
        self._database = Database(path, owner=owner)

    def holds(self, info: InstrumentInfo, scan: Scan) -> bool:
        """Return whether a sample's scan is stored.

        Raises:
            StoreError: another scan is stored under its id.
        """
        scan_id = info.scan_id(scan.number)
        rows = self._database.query("SELECT counts FROM scans WHERE scan_id = ?", (scan_id,))
        if rows and rows[0][0] != _to_bytes(scan):
            raise self._repeated_id(scan_id)
        return bool(rows)

    def add_scan(
        self,
        info: InstrumentInfo,
        scan: Scan,
        prediction: Prediction,
        references: tuple[int, int] | None,
        bundle: str,
        latency_ms: float,
    ) -> None:
        """Commit a sample's scan with its prediction; on disk when this returns.

        A scan that is stored already is left as it is.

        Args:
            info: the instrument.
            scan: the scan.
            prediction: its prediction.
            references: the ids of its dark and white references, or None if it has none.
            bundle: the SHA-256 of the bundle's manifest.
            latency_ms: the time from the scan's arrival to its prediction, in ms.

        Raises:
            StoreError: another scan is stored under its id, or the disk is full.
        """
        estimates = {name: asdict(estimate) for name, estimate in prediction.estimates.items()}
        moment = host_clock.now()
        added = self._database.change(
            _ADD_SCAN,
            (
                info.scan_id(scan.number),
                moment.wall.isoformat(timespec="milliseconds"),
                info.serial,
                *_measured(scan),
                *(references or (None, None)),
                bundle,
                json.dumps(estimates),
                json.dumps(prediction.flags),
                latency_ms,
                *_clocks(moment),
            ),
        )
        if not added:
            self.holds(info, scan)  # raises if the stored scan is another one

    def add_reference(
        self, info: InstrumentInfo, scan: Scan, suspect: str | None = None
    ) -> StoredReference:
        """Commit a dark or white scan; one that is stored already is left as it is.

        Args:
            info: the instrument.
            scan: the scan.
            suspect: why later white references must not be compared with this one, if so.

        Raises:
            StoreError: another scan is stored under its id, or the disk is full.
        """
        moment = host_clock.now()
        self._database.change(
            _ADD_REFERENCE,
            (
                info.serial,
                info.boot,
                scan.number,
                scan.kind,
                moment.wall.isoformat(),
                *_measured(scan),
                *_clocks(moment),
                suspect,
            ),
        )
        stored = self._reference(
            "serial = ? AND boot = ? AND number = ?", (info.serial, info.boot, scan.number)
        )
        if (
            stored is None
            or stored.scan.kind is not scan.kind
            or not np.array_equal(stored.scan.counts, scan.counts)
        ):
            raise self._repeated_id(info.scan_id(scan.number))
        return stored

    def newest_reference(
        self, info: InstrumentInfo, kind: ScanKind, settings: Settings
    ) -> StoredReference | None:
        """Return the newest reference of this power-on of the instrument with these settings."""
        return self._reference(
            "serial = ? AND boot = ? AND kind = ? AND integration_us = ? AND averages = ?",
            (info.serial, info.boot, kind, settings.integration_us, settings.averages),
        )

    def earlier_references(
        self, info: InstrumentInfo, kind: ScanKind, settings: Settings, limit: int
    ) -> list[StoredReference]:
        """Return up to `limit` references of any power-on, newest first, without suspect ones."""
        return self._references(
            "serial = ? AND kind = ? AND integration_us = ? AND averages = ? AND suspect IS NULL",
            (info.serial, kind, settings.integration_us, settings.averages),
            limit,
        )

    def cursor(self, stream: str) -> int:
        """Return the id of the last record that a stream has delivered; 0 before the first."""
        rows = self._database.query("SELECT last_id FROM cursors WHERE stream = ?", (stream,))
        return int(rows[0][0]) if rows else 0

    def advance(self, stream: str, last_id: int) -> None:
        """Commit that a stream has delivered all records up to `last_id`."""
        self._database.change("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (stream, last_id))

    def records_after(self, last_id: int, limit: int = 100) -> list[tuple[int, dict[str, Any]]]:
        """Return up to `limit` records that follow `last_id`, in order, each with its id."""
        rows = self._database.query(
            "SELECT id, scan_id, time, instrument, predictions, flags, latency_ms,"
            " clock_synchronised FROM scans WHERE id > ? ORDER BY id LIMIT ?",
            (last_id, limit),
        )
        return [(row[0], _record(*row[1:])) for row in rows]

    def close(self) -> None:
        """Close the store; an owner lets other daemons have it."""
        self._database.close()

    def _reference(self, condition: str, values: tuple[object, ...]) -> StoredReference | None:
        """Return the newest reference for which an SQL condition holds."""
        found = self._references(condition, values, 1)
        return found[0] if found else None

    def _references(
        self, condition: str, values: tuple[object, ...], limit: int
    ) -> list[StoredReference]:
        """Return up to `limit` references for which an SQL condition holds, newest first."""
        rows = self._database.query(
            f"SELECT {_REFERENCE_COLUMNS} FROM reference_scans WHERE {condition}"  # noqa: S608 - our own text
            " ORDER BY id DESC LIMIT ?",
            (*values, limit),
        )
        return [_stored_reference(*row) for row in rows]

    def _repeated_id(self, scan_id: str) -> StoreError:
        return StoreError(
            f"scan {scan_id} is in store {self.path} already, with other data: the instrument's "
            "boot counter did not change when it was started again; correct its firmware, or name "
            "another store"
        )


def _measured(scan: Scan) -> tuple[int, int, float, int, bytes]:
    """Return the columns that samples and references share."""
    settings = scan.settings
    return (
        settings.integration_us,
        settings.averages,
        # SQLite stores NaN, the temperature of an instrument without a thermometer, as NULL.
        scan.temperature_c,
        int(scan.saturated),
        _to_bytes(scan),
    )


def _to_bytes(scan: Scan) -> bytes:
    return scan.counts.astype("<f8").tobytes()


def _clocks(moment: Moment) -> tuple[str | None, float | None, bool | None]:
    """Return the columns that tell how sure a time is."""
    return moment.host_boot, moment.uptime_s, moment.synchronised


def _stored_reference(*row: Any) -> StoredReference:
    """Return the reference of a row of `_REFERENCE_COLUMNS`."""
    identifier, number, kind, time, integration_us, averages, temperature, saturated, counts = row[
        :9
    ]
    host_boot, uptime_s, synchronised = row[9:]
    scan = Scan(
        number,
        ScanKind(kind),
        np.frombuffer(counts, dtype="<f8"),
        Settings(integration_us, averages),
        bool(saturated),
        math.nan if temperature is None else temperature,
    )
    moment = Moment(
        datetime.fromisoformat(time),
        host_boot,
        uptime_s,
        None if synchronised is None else bool(synchronised),
    )
    return StoredReference(identifier, scan, moment)


def _record(
    scan_id: str,
    time: str,
    instrument: str,
    predictions: str,
    flags: str,
    latency_ms: float,
    synchronised: int | None,
) -> dict[str, Any]:
    """Return a record as streams deliver it."""
    return {
        "scan_id": scan_id,
        "time": time,
        "instrument": instrument,
        "predictions": json.loads(predictions),
        "flags": json.loads(flags),
        "latency_ms": latency_ms,
        # Null in what an earlier version stored, and where the computer does not say.
        "clock_synchronised": None if synchronised is None else bool(synchronised),
    }

"""The SQLite store: every scan with its raw counts and prediction, once; and a cursor for each
stream.

A scan is committed before anyone sees it. Its id is unique, so a scan that the instrument sends
again after a crash is not stored again. One daemon owns a store: a lock beside it is held while it
is open for writing.
"""

from __future__ import annotations

import fcntl
import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np

from ccnvr.edge.inference.prediction import Prediction
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings

SCHEMA = 1

_APPLICATION_ID = int.from_bytes(b"ccnv", "big")

_MAGIC = b"SQLite format 3\0"

_TABLES = """
CREATE TABLE IF NOT EXISTS scans (
    id INTEGER PRIMARY KEY,
    scan_id TEXT NOT NULL UNIQUE,
    time TEXT NOT NULL,
    instrument TEXT NOT NULL,
    integration_us INTEGER NOT NULL,
    averages INTEGER NOT NULL,
    temperature_c REAL,
    saturated INTEGER NOT NULL,
    counts BLOB NOT NULL,
    dark_id INTEGER REFERENCES reference_scans (id),
    white_id INTEGER REFERENCES reference_scans (id),
    bundle_sha256 TEXT NOT NULL,
    predictions TEXT NOT NULL,
    flags TEXT NOT NULL,
    latency_ms REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS reference_scans (
    id INTEGER PRIMARY KEY,
    serial TEXT NOT NULL,
    boot INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    time TEXT NOT NULL,
    integration_us INTEGER NOT NULL,
    averages INTEGER NOT NULL,
    temperature_c REAL,
    saturated INTEGER NOT NULL,
    counts BLOB NOT NULL,
    UNIQUE (serial, boot, number)
) STRICT;
CREATE TABLE IF NOT EXISTS cursors (stream TEXT PRIMARY KEY, last_id INTEGER NOT NULL) STRICT;
"""


class StoreError(CcnvrError):
    """The store cannot be opened or written."""


@dataclass(frozen=True)
class StoredReference:
    """A dark or white scan in the store."""

    id: int
    scan: Scan
    time: datetime


class Store:
    """A store open in one thread. With `owner` no other process can own it until this is closed.

    The threads of the owning process open it too, each for itself and without `owner`.

    Raises:
        StoreError: another daemon has it, it is no store of ours, or the disk refuses it.
    """

    def __init__(self, path: Path, *, owner: bool = False) -> None:
        self.path = path
        _check_is_database(path)
        self._lock = _take_lock(path) if owner else None
        try:
            with self._guard():
                self._connection = sqlite3.connect(path, timeout=10.0, isolation_level=None)
        except BaseException:
            self._release_lock()
            raise
        try:
            with self._guard():
                self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application != _APPLICATION_ID and (tables or version):
            raise StoreError(f"{self.path} is a database, but no store of ccnvr; name another file")
        if version > SCHEMA:
            raise StoreError(
                f"store {self.path} has schema {version} and this ccnvr knows {SCHEMA}; update "
                "ccnvr"
            )
        if application == _APPLICATION_ID and (difference := _first_difference(self._connection)):
            raise StoreError(
                f"store {self.path} was made by an older development version of ccnvr "
                f"({difference}); move it away, and read "
                "its scans with the version that made it"
            )
        # FULL: what a stream has shown must survive a power cut.
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        if version == 0:
            marks = f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {SCHEMA};"
            self._connection.executescript(f"BEGIN; {_TABLES} {marks} COMMIT;")

    def holds(self, info: InstrumentInfo, scan: Scan) -> bool:
        """Whether a sample's scan is stored.

        Raises:
            StoreError: another scan is stored under its id.
        """
        scan_id = info.scan_id(scan.number)
        with self._guard():
            row = self._connection.execute(
                "SELECT counts FROM scans WHERE scan_id = ?", (scan_id,)
            ).fetchone()
        if row is not None and row[0] != _counts(scan):
            raise self._repeated(scan_id)
        return row is not None

    def add_scan(
        self,
        info: InstrumentInfo,
        scan: Scan,
        prediction: Prediction,
        references: tuple[int, int] | None,
        bundle: str,
        latency_ms: float,
    ) -> None:
        """Commit a sample's scan with its prediction, once; on disk when this returns.
        `references`: ids of dark and white.
        """
        estimates = {name: asdict(estimate) for name, estimate in prediction.estimates.items()}
        with self._guard():
            added = self._connection.execute(
                "INSERT INTO scans (scan_id, time, instrument, integration_us, averages, "
                "temperature_c, saturated, counts,"
                " dark_id, white_id, bundle_sha256, predictions, flags, latency_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (scan_id) DO "
                "NOTHING",
                (
                    info.scan_id(scan.number),
                    _now().isoformat(timespec="milliseconds"),
                    info.serial,
                    *_measured(scan),
                    *(references or (None, None)),
                    bundle,
                    json.dumps(estimates),
                    json.dumps(prediction.flags),
                    latency_ms,
                ),
            ).rowcount
        if not added:
            # Refuses another scan under the same id.
            self.holds(info, scan)

    def add_reference(self, info: InstrumentInfo, scan: Scan) -> StoredReference:
        """Commit a dark or white scan; one that is there already is left as it is."""
        with self._guard():
            self._connection.execute(
                "INSERT INTO reference_scans (serial, boot, number, kind, time, integration_us, "
                "averages,"
                " temperature_c, saturated, counts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON "
                "CONFLICT DO NOTHING",
                (
                    info.serial,
                    info.boot,
                    scan.number,
                    scan.kind,
                    _now().isoformat(),
                    *_measured(scan),
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
            raise self._repeated(info.scan_id(scan.number))
        return stored

    def newest_reference(
        self, info: InstrumentInfo, kind: ScanKind, settings: Settings
    ) -> StoredReference | None:
        """The newest reference of this start of this instrument with these settings."""
        return self._reference(
            "serial = ? AND boot = ? AND kind = ? AND integration_us = ? AND averages = ?",
            (info.serial, info.boot, kind, settings.integration_us, settings.averages),
        )

    def _reference(self, condition: str, values: tuple[object, ...]) -> StoredReference | None:
        columns = (
            "id, number, kind, time, integration_us, averages, temperature_c, saturated, counts"
        )
        with self._guard():
            row = self._connection.execute(
                f"SELECT {columns} FROM reference_scans WHERE {condition} ORDER BY id DESC LIMIT 1",  # noqa: S608 - our own text
                values,
            ).fetchone()
        if row is None:
            return None
        identifier, number, kind, time, integration_us, averages, temperature, saturated, counts = (
            row
        )
        scan = Scan(
            number,
            ScanKind(kind),
            np.frombuffer(counts, dtype="<f8"),
            Settings(integration_us, averages),
            bool(saturated),
            math.nan if temperature is None else temperature,
        )
        return StoredReference(identifier, scan, datetime.fromisoformat(time))

    def _repeated(self, scan_id: str) -> StoreError:
        return StoreError(
            f"scan {scan_id} is in store {self.path} already, with other data: the instrument's "
            "boot counter did not change "
            "when it was started again; correct its firmware, or name another store"
        )

    def cursor(self, stream: str) -> int:
        """The id of the last record that a stream has passed on; 0 before the first."""
        with self._guard():
            row = self._connection.execute(
                "SELECT last_id FROM cursors WHERE stream = ?", (stream,)
            ).fetchone()
        return int(row[0]) if row else 0

    def advance(self, stream: str, last_id: int) -> None:
        """Remember that a stream has passed on all records up to `last_id`."""
        with self._guard():
            self._connection.execute(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?)", (stream, last_id)
            )

    def records_after(self, last_id: int, limit: int = 100) -> list[tuple[int, dict[str, Any]]]:
        """The next records in order, each with its id."""
        with self._guard():
            rows = self._connection.execute(
                "SELECT id, scan_id, time, instrument, predictions, flags, latency_ms FROM scans"
                " WHERE id > ? ORDER BY id LIMIT ?",
                (last_id, limit),
            ).fetchall()
        return [(row[0], _record(*row[1:])) for row in rows]

    def close(self) -> None:
        """Close the store and let others have it."""
        self._connection.close()
        self._release_lock()

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"store {self.path} cannot be used: {error}; free disk space, check the folder, "
                "or name another store"
            ) from error


def _first_difference(connection: sqlite3.Connection) -> str | None:
    """The first column that is not as `_TABLES` makes it; None where all are."""
    query = (
        'SELECT t.name, c.name, c.type, c."notnull" FROM sqlite_schema t, '
        "pragma_table_info(t.name) c "
        "WHERE t.type = 'table' ORDER BY t.name, c.name"
    )
    fresh = sqlite3.connect(":memory:")
    try:
        fresh.executescript(_TABLES)
        wanted = set(fresh.execute(query))
    finally:
        fresh.close()
    unlike = sorted(wanted.symmetric_difference(connection.execute(query)))
    return f"column {unlike[0][1]} of its table {unlike[0][0]}" if unlike else None


def _check_is_database(path: Path) -> None:
    """Before there is a lock beside it: whether what is at `path`, if anything, may be a store."""
    if not path.is_file():
        return
    try:
        with open(path, "rb") as file:
            start = file.read(len(_MAGIC))
    except OSError as error:
        raise StoreError(
            f"store {path} cannot be opened ({error.strerror}); name one that you can read and "
            "write"
        ) from error
    if start not in (b"", _MAGIC):
        raise StoreError(f"{path} is no database, so it is no store of ccnvr; name another file")


def _take_lock(path: Path) -> IO[bytes]:
    """Lock a file beside the store; the kernel lets go of it however this process ends."""
    try:
        # Resolved, so that a link to a store is the same store.
        lock = open(f"{path.resolve()}.lock", "ab")  # noqa: SIM115 - held open as long as the store is
    except OSError as error:
        raise StoreError(
            f"store {path} cannot be opened ({error.strerror}); name a store in a folder you can "
            "write"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreError(
            f"another daemon uses store {path}; stop it, or name another store"
        ) from None
    return lock


def _measured(scan: Scan) -> tuple[int, int, float, int, bytes]:
    # SQLite keeps NaN, the temperature of an instrument without a thermometer, as NULL.
    settings = scan.settings
    return (
        settings.integration_us,
        settings.averages,
        scan.temperature_c,
        int(scan.saturated),
        _counts(scan),
    )


def _counts(scan: Scan) -> bytes:
    return scan.counts.astype("<f8").tobytes()


def _record(
    scan_id: str, time: str, instrument: str, predictions: str, flags: str, latency_ms: float
) -> dict[str, Any]:
    return {
        "scan_id": scan_id,
        "time": time,
        "instrument": instrument,
        "predictions": json.loads(predictions),
        "flags": json.loads(flags),
        "latency_ms": latency_ms,
    }


def _now() -> datetime:
    return datetime.now(UTC)

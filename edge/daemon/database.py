"""The SQLite file of a store: its lock, its schema, and its errors as sentences."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ccnvr.firmware_bridge.errors import CcnvrError

_APPLICATION_ID = int.from_bytes(b"ccnv", "big")

_MAGIC = b"SQLite format 3\0"

_LOCK_TIMEOUT_S = 10.0
"""How long a thread waits for another's transaction; a commit takes milliseconds."""

_VERSIONS = (
    """
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
""",
    # Version 2: when a scan or reference was stored by this computer's own clocks; NULL in what
    # version 1 stored. `suspect` says why a white reference is not one to compare others with.
    """
ALTER TABLE scans ADD COLUMN host_boot TEXT;
ALTER TABLE scans ADD COLUMN uptime_s REAL;
ALTER TABLE scans ADD COLUMN clock_synchronised INTEGER;
ALTER TABLE reference_scans ADD COLUMN host_boot TEXT;
ALTER TABLE reference_scans ADD COLUMN uptime_s REAL;
ALTER TABLE reference_scans ADD COLUMN clock_synchronised INTEGER;
ALTER TABLE reference_scans ADD COLUMN suspect TEXT;
""",
)
"""The SQL that leads from each schema version to the next, beginning with an empty file.

A version that was released stays as it is; a change of the schema is a new entry.
"""

SCHEMA = len(_VERSIONS)


class StoreError(CcnvrError):
    """The error for a store that cannot be opened, read or written."""


class Database:
    """The SQLite file of a store, open in one thread.

    Args:
        path: the file; it is made if it does not exist.
        owner: hold the lock that keeps other daemons out until `close`. Other threads of the
            owning process open the file without it.

    Raises:
        StoreError: another daemon owns the file, it is not a store, or the disk refuses it.
    """

    def __init__(self, path: Path, *, owner: bool = False) -> None:
        self.path = path
        # Before a lock file appears beside what may be someone's photograph.
        _check_is_database(path)
        self._lock = _take_lock(path) if owner else None
        try:
            with self._errors_explained():
                # isolation_level=None commits each statement when it returns.
                self._connection = sqlite3.connect(
                    path, timeout=_LOCK_TIMEOUT_S, isolation_level=None
                )
        except BaseException:
            self._release_lock()
            raise
        try:
            with self._errors_explained():
                self._prepare()
        except BaseException:
            self.close()
            raise

    def query(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Run a SELECT statement and return its rows.

        Raises:
            StoreError: the file cannot be read.
        """
        with self._errors_explained():
            return self._connection.execute(sql, values).fetchall()

    def change(self, sql: str, values: tuple[object, ...]) -> int:
        """Run a statement that writes, and return how many rows it changed.

        The change is on disk when this returns.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._errors_explained():
            return self._connection.execute(sql, values).rowcount

    def close(self) -> None:
        """Close the file and release its lock."""
        self._connection.close()
        self._release_lock()

    def _prepare(self) -> None:
        """Check that the file is a store of this schema, or make it one."""
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        # All checks come before the first write: a file that is refused stays as it is.
        if application != _APPLICATION_ID and (tables or version):
            raise StoreError(
                f"{self.path} is a database of another program; name another file as the store"
            )
        if version > SCHEMA:
            raise StoreError(
                f"store {self.path} has schema {version} and this ccnvr knows {SCHEMA}; update "
                "ccnvr"
            )
        if application == _APPLICATION_ID and (
            difference := _first_difference(self._connection, version)
        ):
            raise StoreError(
                f"store {self.path} was made by an older development version of ccnvr "
                f"({difference}); move it away, and read its scans with the version that made it"
            )
        # FULL syncs at every commit: a prediction that a stream has shown must survive a power
        # cut. WAL lets streams read while the main loop writes.
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        if version < SCHEMA:
            self._migrate()

    def _migrate(self) -> None:
        """Bring the file from its schema version, 0 if it is empty, to the present one."""
        # One transaction, so that a crash leaves the file as it was. The version is read again in
        # it, because another thread may have done the work by now.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            for script in _VERSIONS[version:]:
                # Not `executescript`, which commits first.
                for statement in filter(str.strip, script.split(";")):
                    self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {SCHEMA}")
            self._connection.execute("COMMIT")
        except BaseException:
            # After an error of the disk, SQLite may have rolled back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        """Turn an error of SQLite or the disk into a `StoreError` that says what to do."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"store {self.path} cannot be used: {error}; free disk space, check the folder, "
                "or name another store"
            ) from error


def _first_difference(connection: sqlite3.Connection, version: int) -> str | None:
    """Return the first column that differs from schema `version`, or None if none does."""
    query = (
        'SELECT t.name, c.name, c.type, c."notnull" '
        "FROM sqlite_schema t, pragma_table_info(t.name) c "
        "WHERE t.type = 'table' ORDER BY t.name, c.name"
    )
    fresh = sqlite3.connect(":memory:")
    try:
        # Version 0 with the application's mark is a store of the time before versions.
        fresh.executescript("".join(_VERSIONS[: max(1, version)]))
        wanted = set(fresh.execute(query))
    finally:
        fresh.close()
    unlike = sorted(wanted.symmetric_difference(connection.execute(query)))
    return f"column {unlike[0][1]} of its table {unlike[0][0]}" if unlike else None


def _check_is_database(path: Path) -> None:
    """Refuse an existing file that is not empty and not a SQLite database."""
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
        raise StoreError(f"{path} is not a database; name another file as the store")


def _take_lock(path: Path) -> IO[bytes]:
    """Lock a file beside the store and return it open.

    The lock is an flock on a file of its own, because SQLite locks the store itself. The kernel
    releases it however this process ends.
    """
    try:
        # Resolved, so that a symbolic link to a store is the same store.
        lock = open(f"{path.resolve()}.lock", "ab")  # noqa: SIM115 - open as long as the store
    except OSError as error:
        raise StoreError(
            f"store {path} cannot be opened ({error.strerror}); name a store in a folder that you "
            "can write to"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreError(
            f"another daemon uses store {path}; stop it, or name another store"
        ) from None
    return lock

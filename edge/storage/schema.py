"""The schema of a store, the steps from each version to the next, and a record's checksum."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from types import MappingProxyType

APPLICATION_ID = int.from_bytes(b"ccnv", "big")

PAGE_BYTES = 512
"""The page size of new stores. SQLite writes whole pages twice, so small ones write less."""

VERSIONS = (
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
    # Version 3: compact counts (NULL: raw float64) and a checksum for each record (NULL: none).
    # `state` holds whether the store was closed in order.
    """
ALTER TABLE scans ADD COLUMN counts_format INTEGER;
ALTER TABLE scans ADD COLUMN checksum INTEGER;
ALTER TABLE reference_scans ADD COLUMN counts_format INTEGER;
ALTER TABLE reference_scans ADD COLUMN checksum INTEGER;
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
""",
    # Version 4: which sample was measured, where, and for what. `purpose` is NULL for a sample's
    # record, `replicate_of` the id of the record that a replicate belongs to, `replicates` the ids
    # of a record's replicates. `jobs` has at most one row, while a job is carried out; its
    # `replicates` are 0 for the check sample.
    """
ALTER TABLE scans ADD COLUMN sample_id TEXT;
ALTER TABLE scans ADD COLUMN depth_top_cm REAL;
ALTER TABLE scans ADD COLUMN depth_bottom_cm REAL;
ALTER TABLE scans ADD COLUMN operator TEXT;
ALTER TABLE scans ADD COLUMN note TEXT;
ALTER TABLE scans ADD COLUMN latitude REAL;
ALTER TABLE scans ADD COLUMN longitude REAL;
ALTER TABLE scans ADD COLUMN position_accuracy_m REAL;
ALTER TABLE scans ADD COLUMN purpose TEXT;
ALTER TABLE scans ADD COLUMN replicate_of TEXT;
ALTER TABLE scans ADD COLUMN replicates TEXT;
CREATE INDEX scans_by_purpose ON scans (purpose, id) WHERE purpose IS NOT NULL;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    serial TEXT NOT NULL,
    boot INTEGER NOT NULL,
    replicates INTEGER NOT NULL,
    sample TEXT NOT NULL
) STRICT;
""",
    # Version 5: what is needed to compute a scan's spectrum again without its instrument, the
    # verdict on each scan, and what other bundles predict for it. All new columns are NULL in what
    # earlier versions stored.
    """
ALTER TABLE scans ADD COLUMN instrument_id INTEGER;
ALTER TABLE scans ADD COLUMN verdict TEXT;
ALTER TABLE reference_scans ADD COLUMN panel_reflectance REAL;
CREATE TABLE instruments (
    id INTEGER PRIMARY KEY,
    serial TEXT NOT NULL,
    wavelengths BLOB NOT NULL,
    wavelengths_format INTEGER NOT NULL,
    quantity TEXT NOT NULL,
    model TEXT NOT NULL,
    firmware TEXT NOT NULL,
    saturation_counts INTEGER NOT NULL,
    joins_nm TEXT NOT NULL,
    time TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE repredictions (
    id INTEGER PRIMARY KEY,
    scan_id TEXT NOT NULL,
    bundle_sha256 TEXT NOT NULL,
    time TEXT NOT NULL,
    predictions TEXT NOT NULL,
    flags TEXT NOT NULL,
    verdict TEXT,
    checksum INTEGER NOT NULL,
    UNIQUE (scan_id, bundle_sha256)
) STRICT;
""",
)
"""The SQL that leads from each schema version to the next, beginning with an empty file.

A version that was released stays as it is; a change of the schema is a new entry. A new column of a
table with checksums must be one that NULL suits: a checksum leaves NULL out, so that the checksums
of older records stay right.
"""

SCHEMA = len(VERSIONS)

_DOUBLE = struct.Struct("<d").pack

_LENGTHS = tuple(b"%d\0" % length for length in range(256))

FIRST_WITH_CHECKSUMS = 3


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file from its schema version, 0 if it is empty, to the present one."""
    # One transaction, so that a crash leaves the file as it was. The version is read again in it,
    # because another thread may have done the work by now.
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for script in VERSIONS[version:]:
            # Not `executescript`, which commits first.
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute("COMMIT")
    except BaseException:
        # After an error of the disk, SQLite may have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def first_difference(connection: sqlite3.Connection, version: int) -> str | None:
    """Return the first column that differs from schema `version`, or None if none does."""
    query = (
        'SELECT t.name, c.name, c.type, c."notnull" '
        "FROM sqlite_schema t, pragma_table_info(t.name) c "
        "WHERE t.type = 'table' ORDER BY t.name, c.name"
    )
    fresh = sqlite3.connect(":memory:")
    try:
        # Version 0 with the application's mark is a store of the time before versions.
        fresh.executescript("".join(VERSIONS[: max(1, version)]))
        wanted = set(fresh.execute(query))
    finally:
        fresh.close()
    unlike = sorted(wanted.symmetric_difference(connection.execute(query)))
    return f"column {unlike[0][1]} of its table {unlike[0][0]}" if unlike else None


def columns(table: str) -> Mapping[str, str]:
    """Return the names of a table's columns with their types, in the order of its records."""
    return _columns_of_all()[table]


# Kept, because each query of the store asks for them, and the schema never changes.
@cache
def _columns_of_all() -> dict[str, Mapping[str, str]]:
    fresh = sqlite3.connect(":memory:")
    try:
        fresh.executescript("".join(VERSIONS))
        tables = fresh.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        asked = "SELECT name, type FROM pragma_table_info(?)"
        return {name: MappingProxyType(dict(fresh.execute(asked, (name,)))) for (name,) in tables}
    finally:
        fresh.close()


def checksum(record: Mapping[str, object]) -> int:
    """Return the CRC-32 of a record's columns; `id`, `checksum` and NULL are left out.

    SQLite's pages carry no checksum in the main file, so a flipped bit would pass as a number.
    """
    return row_checksum(places(tuple(record)), tuple(record.values()))


Places = tuple[tuple[int, bytes], ...]
"""The places of the columns in a row that its checksum covers, in its order, with their labels."""


@lru_cache(maxsize=64)
def places(names: tuple[str, ...]) -> Places:
    """Return what `row_checksum` needs to know of rows with columns of these names."""
    covered = sorted(name for name in names if name not in ("id", "checksum"))
    return tuple((names.index(name), name.encode() + b"\0") for name in covered)


def row_checksum(covered: Places, row: Sequence[object]) -> int:
    """Return the checksum of a record as a row; text may be given as its bytes."""
    pieces: list[bytes] = []
    for place, label in covered:
        value = row[place]
        if value is None:
            continue
        if isinstance(value, str):
            data = value.encode("utf-8", "surrogatepass")
        elif isinstance(value, bytes):
            data = value
        elif isinstance(value, float):
            data = _DOUBLE(value)
        elif isinstance(value, int):
            data = b"%d" % value  # an enum or a bool is stored as its number
        else:
            data = str(value).encode("utf-8", "surrogatepass")
        length = len(data)
        pieces += (label, _LENGTHS[length] if length < 256 else b"%d\0" % length, data)
    return zlib.crc32(b"".join(pieces))

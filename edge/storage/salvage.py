"""The records of a damaged store, saved page by page into a new one.

The damaged files stay beside the store. A record is taken only if its checksum is right, or, where
an earlier version stored none, if its columns can be read.
"""

from __future__ import annotations

import json
import mmap
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from ccnvr.edge.atomic_files import sync_folder
from ccnvr.edge.storage import schema, wal
from ccnvr.edge.storage.owner_lock import MODE
from ccnvr.edge.storage.pages import FetchPage, Row, leaf_rows
from ccnvr.firmware_bridge.frozen import frozen

SCANS, REFERENCES, CURSORS, STATE = "scans", "reference_scans", "cursors", "state"

INSTRUMENTS, REPREDICTIONS = "instruments", "repredictions"

_OF_STATE = ("seals", "check sample ", "forgotten ")
"""How the names in the table `state` begin. Rows of `cursors`, named for streams, look alike."""

TABLES = (SCANS, REFERENCES, INSTRUMENTS, REPREDICTIONS)
"""The tables whose records have checksums."""

Record = dict[str, object]

MAGIC = b"SQLite format 3\0"

_PAGE_SIZES = (schema.PAGE_BYTES, 4096)
_COMMIT_EVERY = 10_000
_PYTHON_TYPES = {"INTEGER": int, "REAL": float, "TEXT": str, "BLOB": bytes}


@frozen
class Salvaged:
    """What a repair saved, what it could not, and where the damaged file is now.

    `missing` counts the ids between the first and the last scan that have no scan; pruning leaves
    none there.
    """

    scans: int
    references: int
    missing: int
    kept: Path

    def __str__(self) -> str:
        return (
            f"{self.scans} scans and {self.references} references were saved, {self.missing} scans "
            f"between them are missing; the damaged file is now {self.kept}"
        )


def is_sound(record: Mapping[str, object]) -> bool:
    """Return whether a record is as it was stored, as far as can be told."""
    try:
        if record["checksum"] is not None:
            return record["checksum"] == schema.checksum(record)
        datetime.fromisoformat(str(record["time"]))
        if "predictions" not in record:
            return len(bytes(record["counts"])) % 8 == 0  # type: ignore[call-overload]
        predictions = json.loads(str(record["predictions"]))
        return isinstance(predictions, dict) and isinstance(json.loads(str(record["flags"])), list)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def unsound_ids(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Return table and id of each record that is not as it was stored."""
    found, as_text = [], connection.text_factory
    # A checksum is of text's bytes, and most of the time here would go into text of no use.
    connection.text_factory = bytes
    try:
        for table in TABLES:
            names = schema.columns(table)
            order = tuple(names)
            covered = schema.places(order)
            number, stored = order.index("id"), order.index("checksum")
            # Both are of our own schema, not of the file.
            for row in connection.execute(f"SELECT {', '.join(names)} FROM {table}"):  # noqa: S608
                if row[stored] is None:
                    sound = is_sound(_with_text(names, row))
                else:
                    sound = schema.row_checksum(covered, row) == row[stored]
                if not sound:
                    found.append((table, int(row[number])))
    finally:
        connection.text_factory = as_text
    return found


def _with_text(names: Mapping[str, str], row: Row) -> Record:
    """Return a row whose text is bytes as columns by name."""
    return {
        name: value.decode("utf-8", "replace")
        if kind == "TEXT" and isinstance(value, bytes)
        else value
        for (name, kind), value in zip(names.items(), row, strict=True)
    }


def log_records(state: wal.LogState, store: Path) -> Iterator[tuple[str, Record]]:
    """Yield table and record of what the unreachable part of a log holds, newest first."""
    newest = {frame.page_number: frame.page for frame in state.frames if frame.intact}
    size = len(next(iter(newest.values()), b""))
    with _MainPages(store, size) as main:

        def fetch(number: int) -> bytes | None:
            return newest.get(number) or main.fetch(number)

        for frame in reversed(state.unreachable):
            if frame.intact:
                yield from _records(frame.page, frame.page_number, fetch)


def add_record(connection: sqlite3.Connection, table: str, record: Record) -> bool:
    """Add a record unless it is there, and return whether it was added."""
    if table == CURSORS:
        connection.execute(
            "INSERT INTO cursors VALUES (:stream, :last_id) ON CONFLICT (stream) "
            "DO UPDATE SET last_id = max(last_id, excluded.last_id)",
            record,
        )
        return False
    if table == STATE:
        # A page may be older than another; seals and marks only grow, and the daemon states the
        # rest anew.
        connection.execute(
            "INSERT INTO state VALUES (:name, :value) ON CONFLICT (name) "
            "DO UPDATE SET value = max(value, excluded.value)",
            record,
        )
        return False
    names = ", ".join(record)
    places = ", ".join(f":{name}" for name in record)
    # Both are of our own schema, not of the file.
    added = connection.execute(
        f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})",  # noqa: S608
        record,
    )
    return added.rowcount > 0


def holds_records(store: Path) -> bool:
    """Return whether a file that is no database holds records of a store."""
    return any(table == SCANS for table, _ in _all_records(store))


def repair(store: Path) -> Salvaged:
    """Save what a damaged store holds into a new one of its name, and keep the damaged files.

    Raises:
        OSError: a file cannot be written; the damaged store is still in its place.
        sqlite3.Error: the new store cannot be written.
    """
    fresh = store.with_name(f"{store.name}.repair")
    # A repair that was interrupted has left these behind.
    for leftover in (fresh, fresh.with_name(f"{fresh.name}-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE))
    with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
        _fill(connection, store)
        scans, missing = connection.execute(
            "SELECT count(*), coalesce(max(id) - min(id) + 1, 0) - count(*) FROM scans"
        ).fetchone()
        (references,) = connection.execute("SELECT count(*) FROM reference_scans").fetchone()
    # Before the exchange, or a power cut could leave an incomplete file under the store's name.
    with open(fresh, "rb") as file:
        os.fsync(file.fileno())
    return Salvaged(scans, references, missing, _exchange(store, fresh))


def _fill(connection: sqlite3.Connection, store: Path) -> None:
    connection.execute(f"PRAGMA page_size = {schema.PAGE_BYTES}")
    # Synced once, at the end: until then the damaged store is still in its place.
    connection.execute("PRAGMA synchronous = OFF")
    schema.migrate(connection)
    connection.execute("BEGIN")
    for count, (table, record) in enumerate(_all_records(store), 1):
        with suppress(sqlite3.IntegrityError):  # an older state of a record that is there
            add_record(connection, table, record)
        if count % _COMMIT_EVERY == 0:
            connection.execute("COMMIT")
            connection.execute("BEGIN")
    connection.execute("COMMIT")


def _exchange(store: Path, fresh: Path) -> Path:
    """Put the fresh file in the store's place, and return the path of the damaged one."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    kept = store.with_name(f"{store.name}.damaged-{stamp}")
    # A link and not a rename, so that at every moment there is a store under its name.
    os.link(store, kept)
    # The log must be gone before the fresh file is there, since SQLite would read it into that.
    with suppress(FileNotFoundError):
        os.rename(wal.path_of(store), wal.path_of(kept))
    with suppress(FileNotFoundError):
        os.unlink(store.with_name(f"{store.name}-shm"))
    os.replace(fresh, store)
    sync_folder(store.parent)
    return kept


class _MainPages:
    """The pages of a store's main file, mapped into memory; a context manager."""

    def __init__(self, store: Path, page_size: int) -> None:
        self._size = page_size
        self._file = open(store, "rb")  # noqa: SIM115 - closed by __exit__
        length = os.fstat(self._file.fileno()).st_size
        self.count = length // page_size if page_size else 0
        self._map = (
            mmap.mmap(self._file.fileno(), length, access=mmap.ACCESS_READ) if length else b""
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._map, mmap.mmap):
            self._map.close()
        self._file.close()

    def fetch(self, number: int) -> bytes | None:
        """Return a page by its number, from 1; None if the file has none."""
        if not 1 <= number <= self.count:
            return None
        return bytes(self._map[(number - 1) * self._size : number * self._size])


def _all_records(store: Path) -> Iterator[tuple[str, Record]]:
    """Yield table and record of all that main file and log hold, the log's newest first."""
    state = wal.examine(wal.path_of(store))
    newest = {frame.page_number: frame.page for frame in state.frames if frame.intact}
    for size in _page_sizes(store, newest):
        with _MainPages(store, size) as main:

            def fetch(number: int, main: _MainPages = main) -> bytes | None:
                return newest.get(number) or main.fetch(number)

            for frame in reversed(state.frames):
                if frame.intact:
                    yield from _records(frame.page, frame.page_number, fetch)
            for number in range(1, main.count + 1):
                yield from _records(main.fetch(number) or b"", number, fetch)


def _page_sizes(store: Path, newest: Mapping[int, bytes]) -> tuple[int, ...]:
    """Return the page sizes that a file may have; one, where its header or its log says so."""
    if newest:
        return (len(next(iter(newest.values()))),)
    with open(store, "rb") as file:
        start = file.read(18)
    stated = int.from_bytes(start[16:18], "big")
    possible = 512 <= stated <= 32_768 and stated & (stated - 1) == 0
    return (stated,) if start.startswith(MAGIC) and possible else _PAGE_SIZES


def _records(page: bytes, number: int, fetch: FetchPage) -> Iterator[tuple[str, Record]]:
    if len(page) < 512:
        return
    for row_id, row in leaf_rows(page, number, fetch):
        table = _table_of(row)
        if table == CURSORS:
            yield table, {"stream": row[0], "last_id": row[1]}
        elif table == STATE:
            yield table, {"name": row[0], "value": row[1]}
        elif table is not None:
            record = _record(table, row_id, row)
            if record is not None and is_sound(record):
                yield table, record


def _table_of(row: Row) -> str | None:
    """Return the table that a row is of, by the number and types of its first columns."""
    if len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], int):
        # Whether the damaged file was closed is irrelevant to the new one.
        return None if row[0] == "open" else STATE if row[0].startswith(_OF_STATE) else CURSORS
    kinds = [type(value) for value in row[1:4]]
    if len(row) >= 15 and kinds == [str, str, str]:
        return SCANS
    if len(row) >= 12 and kinds == [str, int, int]:
        return REFERENCES
    if kinds == [str, bytes, int]:
        return INSTRUMENTS
    if len(row) == 8 and kinds == [str, str, str]:
        return REPREDICTIONS
    return None


def _record(table: str, row_id: int, row: Row) -> Record | None:
    """Return a row's columns by name, or None if a value is not of its column's type."""
    record: Record = {}
    for index, (name, kind) in enumerate(schema.columns(table).items()):
        # Columns that a later version added are absent from older rows.
        value: object = row[index] if index < len(row) else None
        if kind == "REAL" and isinstance(value, int):
            value = float(value)  # SQLite stores whole numbers as integers
        if value is not None and not isinstance(value, _PYTHON_TYPES[kind]):
            return None
        record[name] = value
    record["id"] = row_id
    return record

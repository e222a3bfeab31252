"""SQL statements for the rows of the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from ccnvr.edge.storage.database import Database, Statement, StoreError
from ccnvr.edge.storage.salvage import Record
from ccnvr.edge.storage.schema import Places, columns, places, row_checksum


def insert(table: str, record: Record) -> Statement:
    """Return the statement that adds a record with its checksum, unless its key is taken."""
    # A key that is taken is no error here: after a crash the instrument repeats the scans that
    # were not acknowledged.
    text, in_order, covered = _insertion(table)
    row = in_order(record)
    return text, (*row, row_checksum(covered, row))


@cache
def _insertion(table: str) -> tuple[str, Callable[[Record], tuple[object, ...]], Places]:
    """Return the statement that inserts into a table, and what makes a record its row."""
    names = tuple(name for name in columns(table) if name not in ("id", "checksum"))
    marks = "?, " * len(names)
    text = (
        f"INSERT INTO {table} ({', '.join(names)}, checksum) VALUES ({marks}?)"  # noqa: S608 - our own text
        " ON CONFLICT DO NOTHING"
    )
    return text, itemgetter(*names), places(names)


def select(
    database: Database, table: str, condition: str, values: tuple[object, ...], order: str = ""
) -> list[dict[str, Any]]:
    """Return the rows of a table for which an SQL condition holds, as columns by name."""
    names = list(columns(table))
    rows = database.query(
        f"SELECT {', '.join(names)} FROM {table} WHERE {condition} {order}",  # noqa: S608 - our own text
        values,
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def repeated_id(path: Path, scan_id: str) -> StoreError:
    """Return the error of a scan whose id another scan in the store has."""
    return StoreError(
        f"scan {scan_id} is in store {path} already, with other data: the instrument's "
        "boot counter did not change when it was started again; correct its firmware, or name "
        "another store"
    )

"""The store: each scan once, with its raw counts and prediction, and a cursor for each stream.

A scan is committed before anyone sees it. Its id is unique, so a scan that the instrument sends
again after a crash is not stored again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ccnvr.edge.storage import host_clock
from ccnvr.edge.storage.context import CHECK
from ccnvr.edge.storage.database import Database, Statement
from ccnvr.edge.storage.health import Patience
from ccnvr.edge.storage.records import (
    counts_of,
    delivered_record,
    instrument_columns,
    same_counts,
)
from ccnvr.edge.storage.salvage import Record, is_sound
from ccnvr.edge.store.jobs import FORGET, JobNote
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.references import StoredReferences
from ccnvr.edge.store.rows import insert, repeated_id, select
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan


class Store:
    """A store, open in one thread.

    Args:
        path: the store's file; it is made if it does not exist.
        owner: keep other daemons out until `close`. Other threads of the owning process open the
            store for themselves, without `owner`.
        patience: how to wait for trouble to pass, such as a full disk; None raises it at once.

    `references` are its dark and white references, and `job` is the note of the job that is being
    carried out.

    Raises:
        StoreError: another daemon owns the store, the file is not a store, or the disk refuses it.
    """

    def __init__(
        self, path: Path, *, owner: bool = False, patience: Patience | None = None
    ) -> None:
        self.path = path
        self.database = Database(path, owner=owner, patience=patience)
        self.references = StoredReferences(self.database)
        self.job = JobNote(self.database)
        self._instrument: tuple[InstrumentInfo, int] | None = None

    def holds(self, info: InstrumentInfo, scan: Scan) -> bool:
        """Return whether a sample's scan is stored; one whose record is damaged is not.

        Raises:
            StoreError: another scan is stored under its id.
        """
        scan_id = info.scan_id(scan.number)
        # The counts are compared as well as the id, because a boot counter that was reset gives an
        # id to two different scans.
        found = select(self.database, "scans", "scan_id = ?", (scan_id,))
        if not found or not is_sound(found[0]):
            return False
        if not same_counts(counts_of(found[0]), scan):
            raise repeated_id(self.path, scan_id)
        return True

    def add(
        self,
        new: NewScan,
        mean: NewScan | None = None,
        *,
        delivered: Mapping[str, int] = MappingProxyType({}),
        ends_job: bool = False,
    ) -> bool:
        """Commit a scan with its prediction; on disk when this returns.

        A scan that is stored already is left as it is, unless its record is damaged.

        Args:
            new: the scan.
            mean: the record of the sample whose last replicate the scan is.
            delivered: the id of the last record that each stream has delivered.
            ends_job: whether the job that `job.begin` noted is done.

        Returns:
            Whether the scan is new: false if it was stored already.

        Raises:
            StoreError: another scan is stored under its id, or the disk is full.
        """
        record = self._record(new)
        # Everything goes into one transaction: each one costs a write to the disk, and a crash must
        # not leave a mean without its last replicate.
        before = [_advance(stream, last_id) for stream, last_id in delivered.items()]
        if mean is not None:
            before.append(insert("scans", self._record(mean)))
        if ends_job:
            before.append(FORGET)
        # The scan comes last, because the count of rows is that of the last statement.
        addition = insert("scans", record)
        if self.database.change(*before, addition):
            return True
        if self.holds(new.info, new.scan):
            return False
        # The instrument has just sent the scan again, so a sound copy replaces the damaged
        # record.
        damaged = ("DELETE FROM scans WHERE scan_id = ?", (record["scan_id"],))
        self.database.change(damaged, addition)
        return True

    def _record(self, new: NewScan) -> Record:
        record = new.as_record()
        record["instrument_id"] = self._instrument_id(new.info)
        return record

    def _instrument_id(self, info: InstrumentInfo) -> int:
        """Return the id of what an instrument states about itself, stored if it is new."""
        # By identity: a driver makes one object for each connection, and comparing them costs more.
        if self._instrument is None or self._instrument[0] is not info:
            # The statement is keyed by its digest, so that an instrument that is connected again
            # adds no row.
            record = {**instrument_columns(info), "time": host_clock.now().wall.isoformat()}
            self.database.change(insert("instruments", record))
            rows = self.database.query(
                "SELECT id FROM instruments WHERE digest = ?", (record["digest"],)
            )
            self._instrument = info, int(rows[0][0])
        return self._instrument[1]

    def missing_before(self, info: InstrumentInfo, scan: Scan) -> int:
        """Return how many numbers of this power-on, up to a scan's, are in no record.

        Scans that another program took are among them, and those that looked for light with the
        lamp off; scans that were pruned are not.
        """
        start = info.scan_id(0)[:-1]
        # The range of ids that begin with `start`, which the index on them finds; "." follows "-".
        rows = self.database.query(
            "SELECT CAST(substr(scan_id, ?) AS INTEGER) FROM scans"
            " WHERE scan_id >= ? AND scan_id < ?"
            " UNION SELECT number FROM reference_scans WHERE serial = ? AND boot = ?",
            (len(start) + 1, start, f"{start[:-1]}.", info.serial, info.boot),
        )
        # As long as the first row is there, nothing was pruned and numbers count from 1. After
        # pruning, only those from the oldest number that is left can be judged.
        ((oldest,),) = self.database.query("SELECT min(id) FROM scans")
        numbers = {int(number) for (number,) in rows}
        first = 1 if oldest in (None, 1) else min(numbers, default=scan.number)
        return sum(number not in numbers for number in range(first, scan.number))

    def seal(self) -> None:
        """Commit a page without content, so that the last page of the log is no scan's.

        After a power cut that damages this page, the scans before it are still whole.
        """
        self.database.change(
            (
                "INSERT INTO state VALUES ('seals', 1)"
                " ON CONFLICT (name) DO UPDATE SET value = value + 1",
                (),
            )
        )

    def prune(self, most_bytes: int, delivered: int, most: int) -> int:
        """Delete the oldest delivered scans if the store is larger than allowed.

        What belongs to them goes too: their repredictions, and references that no scan needs.

        Args:
            most_bytes: the allowed size.
            delivered: the id of the last record that all streams have delivered.
            most: the largest number of scans to delete.

        Returns:
            The number of scans deleted.
        """
        ((pages, free, size),) = self.database.query(
            "SELECT page_count, freelist_count, page_size FROM pragma_page_count,"
            " pragma_freelist_count, pragma_page_size"
        )
        # Free pages do not count: deleting adds to them, and the file itself does not shrink.
        if (pages - free) * size <= most_bytes:
            return 0
        # The newest scan stays, because the next id follows from it; those of the check sample
        # stay, because the limits of its chart follow from the first ones.
        oldest = (
            "(SELECT id FROM scans WHERE id <= ? AND id < (SELECT max(id) FROM scans)"
            " AND purpose IS NULL ORDER BY id LIMIT ?)"
        )
        deleted = self.database.change(
            (
                "DELETE FROM repredictions WHERE scan_id IN"  # noqa: S608 - our own text
                f" (SELECT scan_id FROM scans WHERE id IN {oldest})",
                (delivered, most),
            ),
            (f"DELETE FROM scans WHERE id IN {oldest}", (delivered, most)),  # noqa: S608
        )
        self.references.prune()
        return deleted

    def scans_with(self, white_id: int, most: int) -> int:
        """Return how many of the last `most` scans used a white reference."""
        # Not of all scans, because no index leads from a reference to its scans.
        query = "SELECT white_id FROM scans ORDER BY id DESC LIMIT ?"
        return sum(used == white_id for (used,) in self.database.query(query, (most,)))

    def check_history(self, instrument: str, name: str, bundle: str) -> list[dict[str, Any]]:
        """Return the records of a check sample with an instrument and a bundle, oldest first."""
        condition = "purpose = ? AND instrument = ? AND sample_id = ? AND bundle_sha256 = ?"
        rows = select(
            self.database, "scans", condition, (CHECK, instrument, name, bundle), "ORDER BY id"
        )
        return [delivered_record(row) for row in rows if is_sound(row)]

    def remember(self, name: str, value: int) -> None:
        """Keep a number for programs that read the store without the daemon's configuration."""
        # An unchanged value is not written again, to spare the disk.
        if self.database.query("SELECT value FROM state WHERE name = ?", (name,)) != [(value,)]:
            self.database.change(("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value)))

    def cursor(self, stream: str) -> int:
        """Return the id of the last record that a stream has delivered; 0 before the first."""
        rows = self.database.query("SELECT last_id FROM cursors WHERE stream = ?", (stream,))
        return int(rows[0][0]) if rows else 0

    def advance(self, stream: str, last_id: int) -> None:
        """Commit that a stream has delivered all records up to `last_id`."""
        self.database.change(_advance(stream, last_id))

    def records_after(self, last_id: int, limit: int = 100) -> list[tuple[int, dict[str, Any]]]:
        """Return up to `limit` records that follow `last_id`, in order, each with its id.

        Replicates and scans of the check sample are left out. A damaged record has no predictions,
        and the flag `rescan:damaged_record`.
        """
        # By id and not by time, because the wall clock may be set back between two records.
        condition = "id > ? AND purpose IS NULL AND replicate_of IS NULL"
        rows = select(
            self.database, "scans", condition, (last_id,), f"ORDER BY id LIMIT {int(limit)}"
        )
        return [(int(row["id"]), delivered_record(row)) for row in rows]

    def record(self, scan_id: str) -> dict[str, Any] | None:
        """Return the record of a scan as streams deliver it; None if it is not stored."""
        rows = select(self.database, "scans", "scan_id = ?", (scan_id,))
        return delivered_record(rows[0]) if rows else None

    def close(self) -> None:
        """Close the store; if this is its owner, other daemons can open it from now on."""
        self.database.close()


def _advance(stream: str, last_id: int) -> Statement:
    return ("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (stream, last_id))

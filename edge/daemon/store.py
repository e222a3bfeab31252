"""The store: each scan once, with its raw counts and prediction, and a cursor for each stream.

A scan is committed before anyone sees it. Its id is unique, so a scan that the instrument sends
again after a crash is not stored again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.storage import host_clock
from ccnvr.edge.storage.context import CHECK, NO_CONTEXT, SampleIdentity, ScanContext
from ccnvr.edge.storage.database import Database, Statement, StoreError
from ccnvr.edge.storage.health import Patience
from ccnvr.edge.storage.records import (
    StoredReference,
    clock_columns,
    counts_of,
    delivered_record,
    instrument_columns,
    measured,
    same_counts,
    stored_reference,
)
from ccnvr.edge.storage.salvage import Record, is_sound
from ccnvr.edge.storage.schema import checksum, columns
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings

_SCAN_COLUMNS = tuple(name for name in columns("scans") if name != "id")

_REFERENCE_COLUMNS = tuple(name for name in columns("reference_scans") if name != "id")

_INSTRUMENT_COLUMNS = tuple(name for name in columns("instruments") if name != "id")

_SPARE_REFERENCES = 8
"""How many references are read beyond those asked for, in case some are damaged."""


@dataclass(frozen=True)
class NewScan:
    """A scan to be stored, with its prediction.

    Attributes:
        info: the instrument.
        scan: the scan, or the mean of a sample's replicates.
        prediction: its prediction.
        references: the ids of its dark and white references, or None if it has none.
        bundle: the SHA-256 of the bundle's manifest.
        latency_ms: the time from the scan's arrival to its prediction, in ms.
        context: the sample, the position and the purpose.
        scan_id: the id of a mean; "" for a scan, which has the instrument's.
    """

    info: InstrumentInfo
    scan: Scan
    prediction: Prediction
    references: tuple[int, int] | None
    bundle: str
    latency_ms: float
    context: ScanContext = NO_CONTEXT
    scan_id: str = ""

    @property
    def record_id(self) -> str:
        """The id under which it is stored."""
        return self.scan_id or self.info.scan_id(self.scan.number)

    def as_record(self) -> Record:
        """Return the columns of the store, with the present time."""
        # This computer's time, because a scan carries none of its own.
        moment, verdict = host_clock.now(), self.prediction.verdict
        dark_id, white_id = self.references or (None, None)
        return {
            "scan_id": self.record_id,
            "time": moment.wall.isoformat(timespec="milliseconds"),
            "instrument": self.info.serial,
            **measured(self.scan),
            "dark_id": dark_id,
            "white_id": white_id,
            "bundle_sha256": self.bundle,
            "predictions": predictions_text(self.prediction),
            "flags": json.dumps(self.prediction.flags),
            "verdict": json.dumps(asdict(verdict)) if verdict else None,
            "latency_ms": float(self.latency_ms),
            **clock_columns(moment),
            **self.context.as_columns(),
        }


def predictions_text(prediction: Prediction) -> str:
    """Return the estimates of a prediction as the JSON text that the store keeps."""
    estimates = {name: _rounded(one) for name, one in prediction.items()}
    # The separators without spaces serve the same end as the rounding: fewer bytes to write.
    return json.dumps(estimates, separators=(",", ":"))


def _rounded(estimate: Estimate) -> dict[str, object]:
    """Return an estimate with as many digits as its network computes; each byte wears the disk."""
    return {
        name: float(f"{value:.7g}") if isinstance(value, float) else value
        for name, value in asdict(estimate).items()
    }


class Store:
    """A store, open in one thread.

    Args:
        path: the store's file; it is made if it does not exist.
        owner: keep other daemons out until `close`. Other threads of the owning process open the
            store for themselves, without `owner`.
        patience: how to wait for trouble to pass, such as a full disk; None raises it at once.

    Raises:
        StoreError: another daemon owns the store, the file is not a store, or the disk refuses it.
    """

    def __init__(
        self, path: Path, *, owner: bool = False, patience: Patience | None = None
    ) -> None:
        self.path = path
        self.database = Database(path, owner=owner, patience=patience)
        self._instrument: tuple[InstrumentInfo, int] | None = None

    def holds(self, info: InstrumentInfo, scan: Scan) -> bool:
        """Return whether a sample's scan is stored; one whose record is damaged is not.

        Raises:
            StoreError: another scan is stored under its id.
        """
        scan_id = info.scan_id(scan.number)
        # The counts are compared as well as the id, because a boot counter that was reset gives an
        # id to two different scans.
        found = self._select("scans", "scan_id = ?", (scan_id,))
        if not found or not is_sound(found[0]):
            return False
        if not same_counts(counts_of(found[0]), scan):
            raise self._repeated_id(scan_id)
        return True

    def add_scan(
        self,
        info: InstrumentInfo,
        scan: Scan,
        prediction: Prediction,
        references: tuple[int, int] | None,
        bundle: str,
        latency_ms: float,
        delivered: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Commit a sample's scan with its prediction; on disk when this returns.

        A scan that is stored already is left as it is, unless its record is damaged.

        Args:
            info: the instrument.
            scan: the scan.
            prediction: its prediction.
            references: the ids of its dark and white references, or None if it has none.
            bundle: the SHA-256 of the bundle's manifest.
            latency_ms: the time from the scan's arrival to its prediction, in ms.
            delivered: the id of the last record that each stream has delivered, committed with the
                scan.

        Raises:
            StoreError: another scan is stored under its id, or the disk is full.
        """
        new = NewScan(info, scan, prediction, references, bundle, latency_ms)
        self.add(new, delivered=delivered)

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
            ends_job: whether the job that `begin_job` noted is done.

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
            before.append(_insert("scans", _SCAN_COLUMNS, self._record(mean)))
        if ends_job:
            before.append(("DELETE FROM jobs", ()))
        # The scan comes last, because the count of rows is that of the last statement.
        insert = _insert("scans", _SCAN_COLUMNS, record)
        if self.database.change(*before, insert):
            return True
        if self.holds(new.info, new.scan):
            return False
        # The instrument has just sent the scan again, so a sound copy replaces the damaged
        # record.
        damaged = ("DELETE FROM scans WHERE scan_id = ?", (record["scan_id"],))
        self.database.change(damaged, insert)
        return True

    def begin_job(self, info: InstrumentInfo, sample: SampleIdentity, replicates: int) -> None:
        """Note which sample is about to be scanned, in case the daemon dies before its record."""
        self.database.change(
            (
                # A fixed key, because the daemon carries out one job at a time.
                "INSERT OR REPLACE INTO jobs VALUES (1, ?, ?, ?, ?)",
                (info.serial, info.boot, replicates, json.dumps(asdict(sample))),
            )
        )

    def begun_job(self, info: InstrumentInfo) -> tuple[SampleIdentity, int] | None:
        """Return sample and number of replicates of a job that did not end, or None.

        Only a job of this power-on of the instrument counts.
        """
        rows = self.database.query(
            "SELECT sample, replicates FROM jobs WHERE serial = ? AND boot = ?",
            (info.serial, info.boot),
        )
        try:
            return (build(SampleIdentity, json.loads(rows[0][0])), rows[0][1]) if rows else None
        except ValueError:  # damaged: the scans are kept, without the sample's name
            return None

    def end_job(self) -> None:
        """Forget the job that `begin_job` noted, if there is one."""
        if self.database.query("SELECT 1 FROM jobs"):
            self.database.change(("DELETE FROM jobs", ()))

    def _record(self, new: NewScan) -> Record:
        return {**new.as_record(), "instrument_id": self._instrument_id(new.info)}

    def _instrument_id(self, info: InstrumentInfo) -> int:
        """Return the id of what an instrument states about itself, stored if it is new."""
        # By identity: a driver makes one object for each connection, and comparing them costs more.
        if self._instrument is None or self._instrument[0] is not info:
            # The statement is keyed by its digest, so that an instrument that is connected again
            # adds no row.
            record = {**instrument_columns(info), "time": host_clock.now().wall.isoformat()}
            self.database.change(_insert("instruments", _INSTRUMENT_COLUMNS, record))
            rows = self.database.query(
                "SELECT id FROM instruments WHERE digest = ?", (record["digest"],)
            )
            self._instrument = info, int(rows[0][0])
        return self._instrument[1]

    def missing_before(self, info: InstrumentInfo, scan: Scan) -> int:
        """Return how many numbers of this power-on, up to a scan's, are in no record.

        Scans that another program took are among them; scans that were pruned are not.
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

    def prune(self, most_bytes: int, delivered: Mapping[str, int], most: int) -> int:
        """Delete the oldest delivered scans if the store is larger than allowed.

        Args:
            most_bytes: the allowed size.
            delivered: the id of the last record that each stream has delivered.
            most: the largest number of scans to delete.

        Returns:
            The number of scans deleted.
        """
        ((pages, free, size),) = self.database.query(
            "SELECT page_count, freelist_count, page_size FROM pragma_page_count,"
            " pragma_freelist_count, pragma_page_size"
        )
        # Free pages do not count: deleting adds to them, and the file itself does not shrink.
        if (pages - free) * size <= most_bytes or not delivered:
            return 0
        # The newest scan stays, because the next id follows from it; those of the check sample
        # stay, because the limits of its chart follow from the first ones.
        return self.database.change(
            (
                "DELETE FROM scans WHERE id IN (SELECT id FROM scans WHERE id <= ?"
                " AND id < (SELECT max(id) FROM scans) AND purpose IS NULL ORDER BY id LIMIT ?)",
                # The slowest stream decides, since what it has not sent yet exists nowhere else.
                (min(delivered.values()), most),
            )
        )

    def add_reference(
        self,
        info: InstrumentInfo,
        scan: Scan,
        suspect: str | None = None,
        panel_reflectance: float | None = None,
    ) -> StoredReference:
        """Commit a dark or white scan; one that is stored already is left as it is.

        Args:
            info: the instrument.
            scan: the scan.
            suspect: why later white references must not be compared with this one, if so.
            panel_reflectance: the reflectance of the panel of a white reference.

        Raises:
            StoreError: another scan is stored under its id, or the disk is full.
        """
        moment = host_clock.now()
        record = {
            "serial": info.serial,
            "boot": info.boot,
            "number": scan.number,
            "kind": int(scan.kind),
            "time": moment.wall.isoformat(),
            **measured(scan),
            **clock_columns(moment),
            "suspect": suspect,
            "panel_reflectance": panel_reflectance,
        }
        self.database.change(_insert("reference_scans", _REFERENCE_COLUMNS, record))
        # Read back rather than assumed: the insert does nothing where the number is taken, and the
        # row that is there may be of another scan.
        stored = self._references(
            "serial = ? AND boot = ? AND number = ?", (info.serial, info.boot, scan.number), 1
        )
        if (
            not stored
            or stored[0].scan.kind is not scan.kind
            or not same_counts(stored[0].scan.counts, scan)
        ):
            raise self._repeated_id(info.scan_id(scan.number))
        return stored[0]

    def newest_reference(
        self, info: InstrumentInfo, kind: ScanKind, settings: Settings
    ) -> StoredReference | None:
        """Return the newest reference of this power-on of the instrument with these settings."""
        found = self._references(
            "serial = ? AND boot = ? AND kind = ? AND integration_us = ? AND averages = ?",
            (info.serial, info.boot, kind, settings.integration_us, settings.averages),
            1,
        )
        return found[0] if found else None

    def earlier_references(
        self, info: InstrumentInfo, kind: ScanKind, settings: Settings, limit: int
    ) -> list[StoredReference]:
        """Return up to `limit` references that are not suspect, newest first.

        They may be from any power-on of the instrument, also the present one.
        """
        return self._references(
            "serial = ? AND kind = ? AND integration_us = ? AND averages = ? AND suspect IS NULL"
            " AND id > coalesce((SELECT value FROM state WHERE name = ?), 0)",
            (
                info.serial,
                kind,
                settings.integration_us,
                settings.averages,
                _forgotten(info, kind),
            ),
            limit,
        )

    def scans_with(self, white_id: int, most: int) -> int:
        """Return how many of the last `most` scans used a white reference."""
        # Not of all scans, because no index leads from a reference to its scans.
        query = "SELECT white_id FROM scans ORDER BY id DESC LIMIT ?"
        return sum(used == white_id for (used,) in self.database.query(query, (most,)))

    def check_history(self, instrument: str, name: str, bundle: str) -> list[dict[str, Any]]:
        """Return the records of a check sample with an instrument and a bundle, oldest first."""
        condition = "purpose = ? AND instrument = ? AND sample_id = ? AND bundle_sha256 = ?"
        rows = self._select("scans", condition, (CHECK, instrument, name, bundle), "ORDER BY id")
        return [delivered_record(row) for row in rows if is_sound(row)]

    def remember(self, name: str, value: int) -> None:
        """Keep a number for whoever reads the store without the daemon's configuration."""
        # An unchanged value is not written again, to spare the disk.
        if self.database.query("SELECT value FROM state WHERE name = ?", (name,)) != [(value,)]:
            self.database.change(("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value)))

    def forget_earlier(self, info: InstrumentInfo, kind: ScanKind) -> None:
        """Compare no later reference of a kind with those stored until now."""
        # A mark beside the records, because their checksums cover what they hold.
        self.database.change(
            (
                "INSERT INTO state SELECT ?, coalesce(max(id), 0) FROM reference_scans WHERE true"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (_forgotten(info, kind),),
            )
        )

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
        rows = self._select("scans", condition, (last_id,), f"ORDER BY id LIMIT {int(limit)}")
        return [(int(row["id"]), delivered_record(row)) for row in rows]

    def record(self, scan_id: str) -> dict[str, Any] | None:
        """Return the record of a scan as streams deliver it; None if it is not stored."""
        rows = self._select("scans", "scan_id = ?", (scan_id,))
        return delivered_record(rows[0]) if rows else None

    def close(self) -> None:
        """Close the store; if this is its owner, other daemons can open it from now on."""
        self.database.close()

    def _references(
        self, condition: str, values: tuple[object, ...], limit: int
    ) -> list[StoredReference]:
        """Return up to `limit` references for which an SQL condition holds, newest first."""
        order = f"ORDER BY id DESC LIMIT {limit + _SPARE_REFERENCES}"
        rows = self._select("reference_scans", condition, values, order)
        return [stored_reference(row) for row in rows if is_sound(row)][:limit]

    def _select(
        self, table: str, condition: str, values: tuple[object, ...], order: str = ""
    ) -> list[dict[str, Any]]:
        names = list(columns(table))
        rows = self.database.query(
            f"SELECT {', '.join(names)} FROM {table} WHERE {condition} {order}",  # noqa: S608 - our own text
            values,
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _repeated_id(self, scan_id: str) -> StoreError:
        return StoreError(
            f"scan {scan_id} is in store {self.path} already, with other data: the instrument's "
            "boot counter did not change when it was started again; correct its firmware, or name "
            "another store"
        )


def _insert(table: str, names: tuple[str, ...], record: Record) -> Statement:
    """Return the statement that adds a record with its checksum, unless its key is taken."""
    # A key that is taken is no error here: after a crash the instrument repeats the scans that
    # were not acknowledged.
    whole = {**record, "checksum": checksum(record)}
    places = ", ".join("?" * len(names))
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places}) ON CONFLICT DO NOTHING",  # noqa: S608 - our own text
        tuple(whole[name] for name in names),
    )


def _advance(stream: str, last_id: int) -> Statement:
    return ("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (stream, last_id))


def _forgotten(info: InstrumentInfo, kind: ScanKind) -> str:
    """Return the name under which the last reference that no longer compares is kept."""
    return f"forgotten {kind.name.lower()} of {info.serial}"

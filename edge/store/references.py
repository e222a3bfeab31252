"""The dark and white references in the store."""

from __future__ import annotations

from ccnvr.edge.storage import host_clock
from ccnvr.edge.storage.database import Database
from ccnvr.edge.storage.records import (
    StoredReference,
    clock_columns,
    measured,
    same_counts,
    stored_reference,
)
from ccnvr.edge.storage.salvage import is_sound
from ccnvr.edge.store.rows import insert, repeated_id, select
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings

_SPARE = 8
"""How many references are read beyond those asked for, in case some are damaged."""

_KEPT = 16
"""How many references of each kind are kept without their scans; a white one is compared with
fewer."""


class StoredReferences:
    """The table `reference_scans` of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
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
        self._database.change(insert("reference_scans", record))
        # Read back rather than assumed: the insert does nothing where the number is taken, and the
        # row that is there may be of another scan.
        stored = self._find(
            "serial = ? AND boot = ? AND number = ?", (info.serial, info.boot, scan.number), 1
        )
        if (
            not stored
            or stored[0].scan.kind is not scan.kind
            or not same_counts(stored[0].scan.counts, scan)
        ):
            raise repeated_id(self._database.path, info.scan_id(scan.number))
        return stored[0]

    def newest(
        self, info: InstrumentInfo, kind: ScanKind, settings: Settings
    ) -> StoredReference | None:
        """Return the newest reference of this power-on of the instrument with these settings."""
        found = self._find(
            "serial = ? AND boot = ? AND kind = ? AND integration_us = ? AND averages = ?",
            (info.serial, info.boot, kind, settings.integration_us, settings.averages),
            1,
        )
        return found[0] if found else None

    def earlier(
        self, info: InstrumentInfo, kind: ScanKind, settings: Settings, limit: int
    ) -> list[StoredReference]:
        """Return up to `limit` references that are not suspect, newest first.

        They may be from any power-on of the instrument, also the present one.
        """
        return self._find(
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

    def forget_earlier(self, info: InstrumentInfo, kind: ScanKind) -> None:
        """Compare no later reference of a kind with those stored until now."""
        # A mark beside the records, because their checksums cover what they hold.
        self._database.change(
            (
                "INSERT INTO state SELECT ?, coalesce(max(id), 0) FROM reference_scans WHERE true"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (_forgotten(info, kind),),
            )
        )

    def prune(self) -> int:
        """Delete the references of power-ons of which no scan is left; return how many.

        The newest ones of each instrument and settings stay, for later ones to be compared with.
        """
        # A scan has references of its own power-on, which its id begins with. So the index on ids
        # answers; a search for the scans of a reference would read the whole table.
        spent = self._database.query(
            "SELECT serial, boot FROM (SELECT DISTINCT serial, boot FROM reference_scans)"
            " WHERE NOT EXISTS (SELECT 1 FROM scans WHERE"
            " scan_id >= serial || '-' || boot || '-' AND scan_id < serial || '-' || boot || '.')"
        )
        if not spent:
            return 0
        ranked = self._database.query(
            "SELECT id, serial, boot, row_number() OVER (PARTITION BY"
            " serial, kind, integration_us, averages, suspect IS NULL ORDER BY id DESC)"
            " FROM reference_scans"
        )
        gone = {tuple(one) for one in spent}
        doomed = [(number,) for number, *of, rank in ranked if rank > _KEPT and tuple(of) in gone]
        if not doomed:
            return 0
        # SQLite would read all scans once for each reference to see that none has it.
        self._database.change(("PRAGMA foreign_keys = OFF", ()))
        try:
            self._database.change(
                *(("DELETE FROM reference_scans WHERE id = ?", one) for one in doomed)
            )
        finally:
            self._database.change(("PRAGMA foreign_keys = ON", ()))
        return len(doomed)

    def _find(
        self, condition: str, values: tuple[object, ...], limit: int
    ) -> list[StoredReference]:
        """Return up to `limit` references for which an SQL condition holds, newest first."""
        order = f"ORDER BY id DESC LIMIT {limit + _SPARE}"
        rows = select(self._database, "reference_scans", condition, values, order)
        return [stored_reference(row) for row in rows if is_sound(row)][:limit]


def _forgotten(info: InstrumentInfo, kind: ScanKind) -> str:
    """Return the name under which the last reference that no longer compares is kept."""
    return f"forgotten {kind.name.lower()} of {info.serial}"

"""The scans of a store with what is needed to compute their spectra again.

In: a store that `ccnvr run` filled; a daemon may use it meanwhile. Out: a `StoredScan` for each
sample, in the order of the ids, with reflectance from its counts and references.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.inference.pipeline import References
from ccnvr.edge.storage.context import ScanContext, context_of
from ccnvr.edge.storage.counts import decode
from ccnvr.edge.storage.database import Database
from ccnvr.edge.storage.health import Patience
from ccnvr.edge.storage.records import counts_of, delivered_record, stored_reference
from ccnvr.edge.storage.salvage import INSTRUMENTS, REFERENCES, SCANS, Record, is_sound
from ccnvr.edge.storage.schema import columns
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Quantity, Scan, ScanKind, Settings

DEFAULT_PANEL = 0.99
"""The reflectance of the white panel where the store does not say; that of `[reference]`."""

# A store may be larger than the memory, and one long read would keep SQLite from starting its log
# anew while the daemon writes.
_AT_ONCE = 200


class NotComputed(Exception):
    """A scan has no spectrum; the text says why, as a sentence about several scans."""


@frozen(eq=False)
class StoredScan:
    """A sample's scan in a store.

    Attributes:
        record: the record as streams deliver it.
        context: the sample, the position and the purpose.
        scan: what the instrument measured.
        info: what the instrument stated about itself; `boot` and the limits of its settings were
            not stored.
        references: its dark and white scans; None for an instrument that measures reflectance.
    """

    record: dict[str, Any]
    context: ScanContext
    scan: Scan
    info: InstrumentInfo
    references: References | None

    @property
    def name(self) -> str:
        """The sample's id, or the scan's id where it has none."""
        return self.context.sample.id or str(self.record["scan_id"])

    def reflectance(self) -> Array:
        """Return the reflectance `(bands,)`, NaN where the white reference has no light.

        Raises:
            NotComputed: the detector was saturated, so that it would be wrong.
        """
        if self.scan.saturated:
            raise NotComputed("were saturated")
        counts = self.scan.counts
        if self.info.quantity is Quantity.ABSORBANCE:
            return np.asarray(10.0**-counts)
        if self.references is None:
            return counts
        with np.errstate(divide="ignore", invalid="ignore"):
            values = self.references.reflectance(counts, np.arange(counts.size))
        return np.where(np.isfinite(values), values, np.nan)


@dataclass
class StoredScans:
    """The samples of a store; iterate over it once.

    Replicates and the check sample are passed over: a sample's record is the mean of its
    replicates.

    Args:
        path: the store.
        panel: the reflectance of the white panel, for references that do not state it.
        serial: only the scans of this instrument; "" for those of all.
        after: only records whose numbers in the store are larger.
        patience: how to wait for a store that cannot be read; None raises it at once.

    Attributes:
        left_out: how many scans have no spectrum, by the reason.

    Raises:
        UsageError: there is no such file.
        StoreError: the file is not a store, or cannot be read.
    """

    path: Path
    panel: float = DEFAULT_PANEL
    serial: str = ""
    after: int = 0
    patience: Patience | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    _instruments: dict[tuple[object, str, int], InstrumentInfo | None] = field(default_factory=dict)
    _references: dict[str, tuple[tuple[int, int], References]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # SQLite would make an empty file.
        if not self.path.is_file():
            raise UsageError(
                f"there is no store {self.path}; name the file that ccnvr run --store names"
            )
        self.database = Database(self.path, patience=self.patience)

    def close(self) -> None:
        """Close the store."""
        self.database.close()

    def __iter__(self) -> Iterator[StoredScan]:
        """Yield the scans that have a spectrum; count the others in `left_out`."""
        last = self.after
        while rows := self._rows(SCANS, f"id > ? ORDER BY id LIMIT {_AT_ONCE}", (last,)):
            last = int(str(rows[-1]["id"]))
            for row in rows:
                if self.serial and row["instrument"] != self.serial:
                    continue
                try:
                    scan = self._stored(row)
                except NotComputed as reason:
                    self.leave_out(str(reason))
                    continue
                if scan is not None:
                    yield scan

    def scan(self, number: int) -> StoredScan | None:
        """Return the record of this number in the store; None if it is not a sample's record.

        Raises:
            NotComputed: it has no spectrum.
        """
        rows = self._rows(SCANS, "id = ?", (number,))
        return self._stored(rows[0]) if rows else None

    def replicates(self, mean: StoredScan) -> list[StoredScan]:
        """Return the replicates that a record is the mean of, without those that were rejected.

        Raises:
            NotComputed: one of them has no spectrum, or is not in the store any more.
        """
        found = []
        for scan_id in mean.context.replicates.get("used", []):
            rows = self._rows(SCANS, "scan_id = ?", (scan_id,))
            if not rows or not is_sound(rows[0]):
                raise NotComputed("are means of replicates that are lost or damaged in the store")
            found.append(self._with_spectrum(rows[0], context_of(rows[0])))
        return found

    def leave_out(self, reason: str) -> None:
        """Count a scan that has no spectrum."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def report(self) -> str:
        """Return which scans were left out and why, or ""."""
        reasons = [f"{count} {reason}" for reason, count in self.left_out.items()]
        return f"{sum(self.left_out.values())} scans were left out: {'; '.join(reasons)}"

    def _stored(self, row: Record) -> StoredScan | None:
        """Return a row as a scan, or None if it is not a sample's record."""
        if not is_sound(row):
            raise NotComputed("are damaged in the store")
        context = context_of(row)
        if context.replicate_of is not None or context.purpose is not None:
            return None
        return self._with_spectrum(row, context)

    def _with_spectrum(self, row: Record, context: ScanContext) -> StoredScan:
        temperature, counts = row["temperature_c"], counts_of(row)
        scan = Scan(
            _number_of(str(row["scan_id"])),
            ScanKind.SAMPLE,
            counts,
            Settings(int(str(row["integration_us"])), int(str(row["averages"]))),
            bool(row["saturated"]),
            math.nan if temperature is None else float(str(temperature)),
        )
        info = self._instrument(row, counts.size)
        if info is None:
            raise NotComputed(
                "are of an instrument whose wavelengths the store does not know; connect it and "
                "run ccnvr run --count 1 with this store once"
            )
        references = None
        if info.quantity is Quantity.COUNTS:
            references = self._pair(row)
        return StoredScan(delivered_record(row), context, scan, info, references)

    def _instrument(self, row: Record, bands: int) -> InstrumentInfo | None:
        """Return what the instrument of a scan stated, or None if nothing is known of it.

        A scan of an earlier version names no statement; that of the same serial number and number
        of bands then stands for it.
        """
        key = (row["instrument_id"], str(row["instrument"]), bands)
        if key not in self._instruments:
            # The newest statement comes first, since an instrument may have been calibrated again.
            found = self._rows(
                INSTRUMENTS,
                "id = ? OR (? IS NULL AND serial = ?) ORDER BY id DESC",
                (key[0], key[0], key[1]),
            )
            stated = [info for one in found if is_sound(one) for info in [_info(one)]]
            fitting = (info for info in stated if info.wavelengths_nm.size == bands)
            self._instruments[key] = next(fitting, None)
        return self._instruments[key]

    def _pair(self, row: Record) -> References:
        if row["dark_id"] is None or row["white_id"] is None:
            raise NotComputed("have no references")
        serial, key = str(row["instrument"]), (int(str(row["dark_id"])), int(str(row["white_id"])))
        known = self._references.get(serial)
        if known is None or known[0] != key:
            pair = [
                stored_reference(found)
                for number in key
                for found in self._rows(REFERENCES, "id = ?", (number,))
                if is_sound(found)
            ]
            if len(pair) != 2:
                raise NotComputed("have references that are lost or damaged in the store")
            dark, white = pair
            # The reflectance of the panel is stored since schema 5 only.
            panel = white.panel_reflectance or self.panel
            # Only the last pair of each instrument: a store may hold thousands, and the scans of a
            # pair follow each other.
            known = self._references[serial] = key, References(dark.scan, white.scan, panel)
        return known[1]

    def _rows(self, table: str, condition: str, values: tuple[object, ...]) -> list[Record]:
        names = list(columns(table))
        rows = self.database.query(
            f"SELECT {', '.join(names)} FROM {table} WHERE {condition}",  # noqa: S608 - our own text
            values,
        )
        return [dict(zip(names, row, strict=True)) for row in rows]


def _info(row: Mapping[str, Any]) -> InstrumentInfo:
    return InstrumentInfo(
        model=row["model"],
        serial=row["serial"],
        firmware=row["firmware"],
        boot=0,
        wavelengths_nm=decode(row["wavelengths_format"], row["wavelengths"], 1),
        saturation_counts=row["saturation_counts"],
        # The limits of the settings are not stored; these admit whatever a stored scan was taken
        # with.
        shortest_integration_us=1,
        longest_integration_us=60_000_000,
        most_averages=1_000_000,
        quantity=Quantity(row["quantity"]),
        joins_nm=tuple(json.loads(row["joins_nm"])),
    )


def _number_of(scan_id: str) -> int:
    """Return the number in a scan's id; 0 for a mean of replicates, which has none of its own."""
    number = scan_id.rpartition("-")[2]
    # Bounded, because a record from before checksums may hold any text as its id.
    return int(number) if number.isdecimal() and len(number) < 20 else 0

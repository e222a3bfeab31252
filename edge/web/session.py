"""What the page shows of the store: records, their spectra, and the session to download.

A SQLite connection belongs to one thread, so a thread of its own reads the store for all requests.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ccnvr.edge.daemon.store import Store
from ccnvr.edge.inference.pipeline import reflectance
from ccnvr.edge.storage.context import CHECK
from ccnvr.edge.storage.counts import decode
from ccnvr.edge.storage.records import counts_of
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.instrument import Quantity

T = TypeVar("T")
Record = dict[str, Any]

MOST_AT_ONCE = 200
"""The most records that are read at once."""

MOST_DOWNLOADED = 5_000
"""The most records of a download; `ccnvr export-data` writes whole stores."""

MOST_POINTS = 400
"""The most points of a drawn spectrum: about one for each pixel of a phone."""


class Session:
    """A reader of one store.

    Args:
        path: the store.
        known: the reflectance of soils that the model knows: wavelengths `(bands,)` in nm, and the
            lowest and highest reflectance `(bands,)`; None draws no range.
    """

    def __init__(
        self, path: Path, known: Callable[[], tuple[Array, Array, Array] | None] = lambda: None
    ) -> None:
        self._path = path
        self._known = known
        self._store: Store | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="page-store")

    async def after(self, last_id: int) -> list[tuple[int, Record]]:
        """Return up to `MOST_AT_ONCE` records that follow one, with their ids."""
        return await self._ask(lambda store: store.records_after(last_id, MOST_AT_ONCE))

    async def newest(self) -> int:
        """Return the id of the newest record; 0 if there is none."""
        return await self._ask(_newest)

    async def spectrum(self, number: int) -> dict[str, Any] | None:
        """Return wavelengths and reflectance of a record, and the range of soils that are known.

        A band whose reflectance cannot be computed is null. None if there is no such record, or
        its instrument or references are not stored.
        """
        found = await self._ask(lambda store: _spectrum(store, number))
        if found is None:
            return None
        wavelengths, values = found
        shown = np.unique(
            np.linspace(0, wavelengths.size - 1, min(MOST_POINTS, wavelengths.size)).astype(int)
        )
        known = self._known()
        return {
            "wavelengths_nm": np.round(wavelengths[shown], 2).tolist(),
            "reflectance": [
                round(value, 5) if math.isfinite(value) else None
                for value in values[shown].tolist()
            ],
            "range": None
            if known is None
            else {
                name: np.round(column, 5).tolist()
                for name, column in zip(("wavelengths_nm", "low", "high"), known, strict=True)
            },
        }

    async def checks(self) -> dict[str, list[float]]:
        """Return the latest values of the check sample by property, oldest first."""
        return await self._ask(_checks)

    async def csv(self) -> bytes:
        """Return the last records as a CSV table."""
        return _as_csv(await self._last())

    async def geojson(self) -> bytes:
        """Return the last records as GeoJSON; one without a position has no geometry."""
        return json.dumps(_as_geojson(await self._last())).encode("ascii")

    def close(self) -> None:
        """Close the store."""
        self._thread.submit(self._close)
        self._thread.shutdown()

    async def _last(self) -> list[Record]:
        def read(store: Store) -> list[Record]:
            first = max(0, _newest(store) - MOST_DOWNLOADED)
            return [record for _, record in store.records_after(first, MOST_DOWNLOADED)]

        return await self._ask(read)

    async def _ask(self, question: Callable[[Store], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._answer, question)

    def _answer(self, question: Callable[[Store], T]) -> T:
        if self._store is None:
            self._store = Store(self._path)
        return question(self._store)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()


def _newest(store: Store) -> int:
    ((number,),) = store.database.query("SELECT coalesce(max(id), 0) FROM scans")
    return int(number)


def _checks(store: Store) -> dict[str, list[float]]:
    rows = store.database.query(
        "SELECT predictions FROM scans WHERE purpose = ? ORDER BY id DESC LIMIT ?",
        (CHECK, MOST_AT_ONCE),
    )
    values: dict[str, list[float]] = {}
    for (text,) in reversed(rows):
        for name, estimate in json.loads(text).items():
            values.setdefault(name, []).append(float(estimate["value"]))
    return values


def _spectrum(store: Store, number: int) -> tuple[Array, Array] | None:
    """Return wavelengths `(bands,)` in nm and reflectance `(bands,)` of a record."""
    names = ("counts", "counts_format", "averages")
    rows = store.database.query(
        "SELECT s.counts, s.counts_format, s.averages, d.counts, d.counts_format, d.averages,"
        " w.counts, w.counts_format, w.averages, w.panel_reflectance,"
        " i.wavelengths, i.wavelengths_format, i.quantity"
        " FROM scans s JOIN instruments i ON i.id = s.instrument_id"
        " LEFT JOIN reference_scans d ON d.id = s.dark_id"
        " LEFT JOIN reference_scans w ON w.id = s.white_id WHERE s.id = ?",
        (number,),
    )
    if not rows:
        return None
    row = rows[0]
    wavelengths = decode(row[11] or 0, row[10], 1)
    counts = counts_of(dict(zip(names, row[:3], strict=True)))
    quantity = Quantity(row[12])
    if quantity is Quantity.REFLECTANCE:
        return wavelengths, counts
    if quantity is Quantity.ABSORBANCE:
        return wavelengths, 10.0**-counts
    if row[3] is None or row[6] is None:
        return None
    dark, white = (
        counts_of(dict(zip(names, row[start : start + 3], strict=True))) for start in (3, 6)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return wavelengths, reflectance(counts, dark, white, 1.0 if row[9] is None else row[9])


_FIELDS = ("scan_id", "time", "instrument")
_SAMPLE_FIELDS = ("id", "top_cm", "bottom_cm", "operator", "note")
_PLACE_FIELDS = ("latitude", "longitude", "accuracy_m")


def _as_csv(records: list[Record]) -> bytes:
    names = list(dict.fromkeys(name for record in records for name in record["predictions"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    bounds = ("value", "low", "high", "unit")
    writer.writerow(
        [
            *_FIELDS,
            *(f"sample_{name}" for name in _SAMPLE_FIELDS),
            *_PLACE_FIELDS,
            *(f"{name}_{bound}" for name in names for bound in bounds),
            "verdict",
            "flags",
        ]
    )
    for record in records:
        estimates = [record["predictions"].get(name, {}) for name in names]
        verdict = record.get("verdict") or {}
        cells = [
            *(record[name] for name in _FIELDS),
            *(record.get("sample", {}).get(name) for name in _SAMPLE_FIELDS),
            *(record.get("position", {}).get(name) for name in _PLACE_FIELDS),
            *(estimate.get(bound) for estimate in estimates for bound in bounds),
            verdict.get("sample"),
            " ".join(record["flags"]),
        ]
        writer.writerow([_harmless(cell) for cell in cells])
    return text.getvalue().encode()


def _harmless(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{cell}"
    return "" if cell is None else cell


def _as_geojson(records: list[Record]) -> dict[str, Any]:
    """Return records as a FeatureCollection: RFC 7946."""
    features = []
    for record in records:
        place = record.get("position")
        geometry = place and {
            "type": "Point",
            "coordinates": [place["longitude"], place["latitude"]],
        }
        properties = {key: value for key, value in record.items() if key != "position"}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {"type": "FeatureCollection", "features": features}

"""What the page shows of the store: records, their spectra, and the session to download.

A SQLite connection belongs to one thread, so a thread of its own reads the store for all requests.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ccnvr.edge.history.places import as_csv, as_geojson
from ccnvr.edge.history.stored_scans import NotComputed, StoredScan, StoredScans
from ccnvr.edge.store.store import Store
from ccnvr.firmware_bridge.arrays import Array

T = TypeVar("T")
Record = dict[str, Any]
Examples = Callable[[Array], tuple[Array, Array] | None]

MOST_AT_ONCE = 200
"""The most records that are read at once."""

MOST_DOWNLOADED = 5_000
"""The most records of a download; `ccnvr export-data` writes whole stores."""

MOST_POINTS = 400
"""The most points of a drawn spectrum: about one for each pixel of a phone."""


class PageRecords:
    """A reader of one store.

    Args:
        path: the store.
        examples: returns, for an instrument's wavelengths, those of a few soils that the model
            knows `(bands,)` in nm, and their reflectance `(soils, bands)`; None draws none.
    """

    def __init__(self, path: Path, examples: Examples = lambda wavelengths_nm: None) -> None:
        self._path = path
        self._examples = examples
        self._store: Store | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="page-store")

    async def after(self, last_id: int) -> list[tuple[int, Record]]:
        """Return up to `MOST_AT_ONCE` records that follow one, with their ids."""
        return await self._ask(lambda store: store.records_after(last_id, MOST_AT_ONCE))

    async def newest(self) -> int:
        """Return the id of the newest record; 0 if there is none."""
        return await self._ask(lambda store: store.database.newest_scan())

    async def spectrum(self, number: int) -> dict[str, Any] | None:
        """Return wavelengths and reflectance of a record, and a few soils to compare it with.

        A band whose reflectance cannot be computed is null. None if there is no such record, or
        its instrument or references are not stored.
        """
        found = await self._ask(lambda store: _spectrum(self._path, number))
        if found is None:
            return None
        wavelengths, values = found
        # Every so many pixels and no mean: a spike of the detector should show.
        shown = np.unique(
            np.linspace(0, wavelengths.size - 1, min(MOST_POINTS, wavelengths.size)).astype(int)
        )
        examples = self._examples(wavelengths)
        return {
            "wavelengths_nm": np.round(wavelengths[shown], 2).tolist(),
            "reflectance": [
                round(value, 5) if math.isfinite(value) else None
                for value in values[shown].tolist()
            ],
            "examples": None
            if examples is None
            else {
                "wavelengths_nm": examples[0].tolist(),
                "reflectance": np.round(examples[1], 5).tolist(),
            },
        }

    async def checks(self, chart: Mapping[str, Any]) -> dict[str, list[float]]:
        """Return the latest values of the check sample by property, oldest first.

        Args:
            chart: the chart that the daemon shows. Its limits are for one check sample with one
                instrument and one bundle, so only these values are returned.
        """
        of = [str(chart.get(key, "")) for key in ("instrument", "name", "bundle")]
        return _by_property(await self._ask(lambda store: store.check_history(*of)))

    async def csv(self) -> bytes:
        """Return the last records as a CSV table."""
        return (await self._ask(lambda store: as_csv(self._last(store)))).encode()

    async def geojson(self) -> bytes:
        """Return the last records as GeoJSON; one without a position has no geometry."""
        return (await self._ask(lambda store: as_geojson(self._last(store)))).encode()

    def close(self) -> None:
        """Close the store."""
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _last(self, store: Store) -> list[StoredScan]:
        # The last ones by number; pruned ones make the download shorter, never older.
        after = max(0, store.database.newest_scan() - MOST_DOWNLOADED)
        with closing(StoredScans(self._path, after=after)) as scans:
            return list(scans)

    async def _ask(self, question: Callable[[Store], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._answer, question)

    def _answer(self, question: Callable[[Store], T]) -> T:
        # At the first question, because the daemon makes the store when it starts.
        if self._store is None:
            self._store = Store(self._path)
        return question(self._store)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()


def _by_property(records: Sequence[Record]) -> dict[str, list[float]]:
    """Return the values of the last `MOST_AT_ONCE` records by property, in their order."""
    values: dict[str, list[float]] = {}
    for record in records[-MOST_AT_ONCE:]:
        for name, estimate in record["predictions"].items():
            values.setdefault(name, []).append(float(estimate["value"]))
    return values


def _spectrum(path: Path, number: int) -> tuple[Array, Array] | None:
    """Return wavelengths `(bands,)` in nm and reflectance `(bands,)` of a record."""
    # Opened for each: the page asks for one spectrum when a person touches a row.
    with closing(StoredScans(path)) as scans:
        try:
            scan = scans.scan(number)
            return None if scan is None else (scan.info.wavelengths_nm, scan.reflectance())
        except NotComputed:
            return None

"""What a library's reader returns, soils on one grid, and how readers gather it: by blocks, so that
nothing is held twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.arrays import Array

ROWS_AT_ONCE = 256

_GROWTH_BYTES = 1 << 24


@dataclass(frozen=True)
class Soils:
    """`spectra` is absorbance `(n, grid bands)`; `measured` maps a property to `(n,)` values, NaN
    where not measured.

    `parts` marks the soils `(n,)` of each official part. `notes` says what the reader did to the
    values, if that is not the same for every file of the kind.
    """

    sample_ids: list[str]
    spectra: Array
    measured: dict[str, Array]
    parts: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    notes: str = ""


class Rows:
    """An array `(n, columns)` that grows by blocks of rows and is never in memory twice."""

    def __init__(self, columns: int) -> None:
        self._array = np.empty((0, columns))
        self._used = 0

    def append(self, block: Array) -> None:
        """Add rows at the end."""
        end = self._used + len(block)
        if end > len(self._array):
            growth = max(_GROWTH_BYTES // (8 * self._array.shape[1]), len(self._array) // 16)
            # In place: for memory of this size the C library moves page tables and copies nothing.
            self._array.resize(
                (max(end, len(self._array) + growth), self._array.shape[1]), refcheck=False
            )
        self._array[self._used : end] = block
        self._used = end

    def finish(self) -> Array:
        """All rows; append no more."""
        self._array.resize((self._used, self._array.shape[1]), refcheck=False)
        return self._array

    @property
    def filled(self) -> Array:
        """The rows so far, to be changed in place before the next is appended."""
        return self._array[: self._used]


class Gathering:
    """Soils as they come, one by one: absorbance at a table's bands, resampled in blocks by
    `matrix` `(grid bands, bands)`.

    With `average`, the scans of one sample id become one soil, their mean absorbance.
    """

    def __init__(self, matrix: Array, properties: Sequence[str], average: bool = False) -> None:
        self._matrix = matrix
        self._properties = properties
        self._spectra, self._values = Rows(len(matrix)), Rows(len(properties))
        self._average = average
        self._soil_of: dict[str, int] = {}
        self._scans: list[int] = []
        self._sample_ids: list[str] = []
        self._waiting: list[tuple[int, Array]] = []
        self._waiting_values: list[Sequence[float]] = []

    def add(self, sample_id: str, spectrum: Array, values: Sequence[float]) -> None:
        """One scan; `values` in the order of `properties`, NaN where not measured, the same for all
        scans of a soil.
        """
        soil = self._soil_of.get(sample_id) if self._average else None
        if soil is None:
            soil = len(self._sample_ids)
            if self._average:
                self._soil_of[sample_id] = soil
            self._sample_ids.append(sample_id)
            self._scans.append(0)
            self._waiting_values.append(values)
        self._scans[soil] += 1
        self._waiting.append((soil, spectrum))
        if len(self._waiting) == ROWS_AT_ONCE:
            self._flush()

    def finish(self) -> Soils:
        """All soils, without parts."""
        self._flush()
        self._spectra.filled[:] /= np.maximum(np.array(self._scans, dtype=np.float64), 1.0)[:, None]
        measured = dict(zip(self._properties, self._values.finish().T, strict=True))
        return Soils(self._sample_ids, self._spectra.finish(), measured)

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._waiting_values:
            self._values.append(np.array(self._waiting_values, dtype=np.float64))
            self._spectra.append(np.zeros((len(self._waiting_values), len(self._matrix))))
        resampled = np.array([spectrum for _, spectrum in self._waiting]) @ self._matrix.T
        np.add.at(self._spectra.filled, [soil for soil, _ in self._waiting], resampled)
        self._waiting, self._waiting_values = [], []

"""Soils on one grid: the record that travels through training, and how readers gather one.

Readers gather spectra in blocks, so that no library is in memory twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.libraries.properties import PROPERTIES

ROWS_AT_ONCE = 256

_GROWTH_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class Soils:
    """Spectra of soils on one grid with laboratory values, one row per spectrum."""

    grid: Grid
    """The wavelengths of the spectra."""

    sample_ids: list[str]
    """The sample of each spectrum, `LIBRARY/ID`; scans of one sample share it."""

    origin: list[str]
    """The library that each spectrum comes from."""

    spectra: Array
    """Absorbance `(n, grid.bands)`."""

    values: Array
    """Laboratory values `(n, len(properties))`, NaN where not measured.

    Those of `properties.KNOWN` are in its units, others in the unit that a recipe states.
    """

    properties: tuple[str, ...]
    """The property in each column of `values`; a library has those that it measured."""

    notes: Mapping[str, str] = field(default_factory=dict)
    """By library: how the values of a user's file were converted."""

    parts: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """By part: which rows `(n,)` belong to this official part of the library."""

    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By label, such as `country`: the value for each spectrum, by which parts are selected."""

    sites: Sequence[str] | None = None
    """The profile that each spectrum comes from, if known; a profile is never split over folds."""

    groups: Integers | None = None
    """The number of the soil or profile of each spectrum, `(n,)`, if it has been determined."""

    @classmethod
    def of_library(
        cls,
        name: str,
        grid: Grid,
        sample_ids: list[str],
        spectra: Array,
        measured: Mapping[str, Array],
    ) -> Soils:
        """Return the soils of one library.

        `measured` maps a property to its values `(n,)`; a property that is not in it was not
        measured.
        """
        properties = tuple(dict.fromkeys([*filter(measured.__contains__, PROPERTIES), *measured]))
        values = np.stack([measured[known] for known in properties], axis=1)
        return cls(grid, sample_ids, [name] * len(sample_ids), spectra, values, properties)

    @classmethod
    def none(cls, grid: Grid, properties: tuple[str, ...] = ()) -> Soils:
        """Return a record without rows."""
        spectra, values = np.empty((0, grid.bands)), np.empty((0, len(properties)))
        return cls(grid, [], [], spectra, values, properties)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def rows(self, rows: NDArray[np.bool_] | Integers) -> Soils:
        """Return the soils of some rows, given by a mask `(n,)` or by their numbers; no parts."""
        numbers = np.flatnonzero(rows) if rows.dtype == bool else rows
        return replace(
            self,
            sample_ids=[self.sample_ids[row] for row in numbers],
            origin=[self.origin[row] for row in numbers],
            spectra=self.spectra[numbers],
            values=self.values[numbers],
            parts={},
            labels={},
            sites=None if self.sites is None else [self.sites[row] for row in numbers],
            groups=None if self.groups is None else self.groups[numbers],
        )

    def of(self, properties: Sequence[str]) -> Soils:
        """Return all soils with the values of these properties only, in this order."""
        values = np.empty((len(self), len(properties)))
        for column, name in enumerate(properties):
            values[:, column] = self.column(name)
        return replace(self, values=values, properties=tuple(properties))

    def column(self, name: str) -> Array:
        """Return the values `(n,)` of one property; all are NaN if no soil was measured for it."""
        if name not in self.properties:
            return np.full(len(self), np.nan)
        column: Array = self.values[:, self.properties.index(name)]
        return column


@dataclass(frozen=True, eq=False)
class Split:
    """Soils to learn from, and soils to judge the result by."""

    name: str
    train: Soils
    test: Soils


class Rows:
    """A growing array `(n, columns)`, filled in blocks of rows and never in memory twice."""

    def __init__(self, columns: int) -> None:
        self._array = np.empty((0, columns))
        self._used = 0

    def append(self, block: Array) -> None:
        """Add rows at the end."""
        end = self._used + len(block)
        if end > len(self._array):
            # Large steps, so that it seldom grows; at most 16 MB or a sixteenth of it are too much.
            growth = max(_GROWTH_BYTES // (8 * self._array.shape[1]), len(self._array) // 16)
            # In place: for blocks of this size the C library moves page tables and copies nothing.
            self._array.resize(
                (max(end, len(self._array) + growth), self._array.shape[1]), refcheck=False
            )
        self._array[self._used : end] = block
        self._used = end

    def finish(self) -> Array:
        """Return all rows; nothing may be appended afterwards."""
        self._array.resize((self._used, self._array.shape[1]), refcheck=False)
        return self._array

    @property
    def filled(self) -> Array:
        """The rows so far, which may be changed in place until the next is appended."""
        return self._array[: self._used]


class Gathering:
    """A collector of soils that are added one by one and resampled in blocks.

    Args:
        library: the name of the library.
        grid: the wavelengths of the result.
        matrix: resamples absorbance at the table's bands, `(grid bands, bands)`.
        properties: the properties that values are given for.
        average: whether the scans of one sample id become one soil, their mean absorbance.
    """

    def __init__(
        self,
        library: str,
        grid: Grid,
        matrix: Array,
        properties: Sequence[str],
        average: bool = False,
    ) -> None:
        self._library, self._grid = library, grid
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
        """Add one scan; `values` are in the order of `properties`, NaN where not measured.

        With `average`, the values of a soil's first scan are kept.
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
        """Return all soils, without parts."""
        self._flush()
        self._spectra.filled[:] /= np.maximum(np.array(self._scans, dtype=np.float64), 1.0)[:, None]
        measured = dict(zip(self._properties, self._values.finish().T, strict=True))
        spectra = self._spectra.finish()
        return Soils.of_library(self._library, self._grid, self._sample_ids, spectra, measured)

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._waiting_values:
            self._values.append(np.array(self._waiting_values, dtype=np.float64))
            self._spectra.append(np.zeros((len(self._waiting_values), len(self._matrix))))
        resampled = np.array([spectrum for _, spectrum in self._waiting]) @ self._matrix.T
        # Not `+=`, which would count only one of several scans of a soil in this block.
        np.add.at(self._spectra.filled, [soil for soil, _ in self._waiting], resampled)
        self._waiting, self._waiting_values = [], []

"""Read published tables, CSV files that may be gzipped, row by row.

An error names the row and the column. Every length is bounded, and memory holds one row at a time.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import IO

import numpy as np

from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.edge.spectrum_files.tables.source import bounded_lines
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.libraries.sensor import View

_MISSING = frozenset({"", "NA", "NaN", "nan", "n.d.", "ND"})


@dataclass(frozen=True)
class Bands:
    """The columns of a table that a view needs."""

    names: list[str]
    """The names of the columns, by wavelength."""

    cells: Callable[[list[str]], tuple[str, ...]]
    """Returns the cells of these columns in a row."""

    matrix: Array
    """The matrix `(grid bands, columns)` from these columns to the grid."""


class Table:
    """A table whose first row names its columns.

    Raises:
        DataError: the file cannot be read, or has no columns.
    """

    def __init__(self, path: Path, delimiter: str = ",") -> None:
        self.path = path
        self._delimiter = delimiter
        self.header = next((cells for _, cells in self._lines()), [])
        self._column = {name: column for column, name in enumerate(self.header)}
        if not self.header:
            raise DataError(f"{path} is empty; fetch it again")

    def __contains__(self, name: str) -> bool:
        return name in self._column

    def require(self, *names: str) -> None:
        """Refuse a table that lacks one of these columns, or has it twice.

        Raises:
            DataError: names the first such column.
        """
        for name in names:
            if name not in self._column:
                raise DataError(
                    f"{self.path} has no column {name}; it must be the file of that name as "
                    "published"
                )
            if self.header.count(name) > 1:
                raise DataError(
                    f"{self.path} row 1 has the column {name} more than once; fetch it again"
                )

    def bands(self, view: View, prefix: str, suffix: str = "") -> Bands:
        """Return the columns named `prefix` + nm + `suffix` that the view needs.

        Raises:
            DataError: a name with this prefix does not hold a number of nm.
            WavelengthError: the columns do not cover the grid, or are too coarse for the sensor.
        """
        named = [name for name in self.header if name.startswith(prefix) and name.endswith(suffix)]
        wavelengths = {name: _float(name[len(prefix) : len(name) - len(suffix)]) for name in named}
        if prefix and (
            wrong := [name for name, wavelength in wavelengths.items() if wavelength is None]
        ):
            raise DataError(
                f"{self.path} row 1 column {wrong[0]} must hold a wavelength in nm; fetch it again"
            )
        found = sorted(
            (wavelength, name) for name, wavelength in wavelengths.items() if wavelength is not None
        )
        matrix = view.matrix(np.array([wavelength for wavelength, _ in found]))
        # Only the bands that the view needs, because others may be empty.
        needed = np.flatnonzero(np.any(matrix != 0.0, axis=0))
        names = [found[band][1] for band in needed]
        return Bands(names, itemgetter(*(self._column[name] for name in names)), matrix[:, needed])

    def rows(self) -> Iterator[Row]:
        """Yield the rows below the header, without blank lines.

        Raises:
            DataError: a row has more or fewer cells than the header, or the file is damaged.
        """
        lines = self._lines()
        next(lines, None)
        for number, cells in lines:
            if len(cells) != len(self.header):
                raise DataError(
                    f"{self.path} row {number} has {len(cells)} columns where the header has "
                    f"{len(self.header)}; fetch it again"
                )
            yield Row(self, number, cells)

    def column(self, name: str) -> int:
        """Return the number of a column, counted from 0."""
        return self._column[name]

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        opener: Callable[..., IO[str]] = gzip.open if self.path.name.endswith(".gz") else open
        number = 0
        try:
            # Spreadsheet programs begin a file with a byte-order mark, which utf-8-sig skips.
            with opener(self.path, "rt", newline="", encoding="utf-8-sig") as stream:
                for number, cells in enumerate(
                    csv.reader(bounded_lines(stream), delimiter=self._delimiter), start=1
                ):
                    if cells:
                        yield number, cells
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"{self.path} cannot be read after row {number} ({error}); fetch it again"
            ) from error


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    table: Table
    number: int
    cells: list[str]

    def text(self, name: str) -> str:
        """Return a cell without the blanks around it."""
        return self.cells[self.table.column(name)].strip()

    def value(self, name: str) -> float:
        """Return a cell's number; NaN if it is empty, NA or below the limit of detection (`< LOD`).

        Raises:
            DataError: it is neither a number nor one of these.
        """
        cell = self.text(name)
        if cell in _MISSING or cell.startswith("<"):
            return float("nan")
        value = _float(cell)
        if value is None:
            raise DataError(
                f"{self.table.path} row {self.number} column {name} is {cell!r} and must be a "
                "number or empty; fetch it again"
            )
        return value

    def spectrum(self, bands: Bands) -> Array:
        """Return the numbers `(bands,)`, NaN where a cell is empty."""
        try:
            values = np.fromiter(map(float, bands.cells(self.cells)), np.float64, len(bands.names))
        except ValueError:
            values = np.full(1, np.nan)
        # Slower, cell by cell, only if one is missing or malformed.
        return (
            values
            if np.all(np.isfinite(values))
            else np.array([self.value(name) for name in bands.names])
        )


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None

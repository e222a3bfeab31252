"""Spectra in a CSV file: a `sample_id` column, a column for each wavelength named by its nm, and any others."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.errors import UsageError

Array = NDArray[np.float64]

QUANTITIES = {"reflectance": (0.0, 2.0), "percent": (0.0, 200.0), "absorbance": (-0.3, 6.0)}
"""What a file may hold, with the range of values that a surface can have; the ends are outside it."""


@dataclass(frozen=True)
class SpectraTable:
    """`spectra` is `(n, bands)` as written in the file; wavelengths increase. `columns` are the others, as text."""

    sample_ids: list[str]
    wavelengths_nm: Array
    spectra: Array
    columns: dict[str, list[str]]

    def reflectance(self, quantity: str, bands: slice = slice(None)) -> Array:
        """The spectra's `bands` as reflectance fractions, given what the file holds: one of `QUANTITIES`.

        Raises:
            UsageError: a value is none that the quantity can have; names sample and wavelength.
        """
        spectra, (low, high) = self.spectra[:, bands], QUANTITIES[quantity]
        possible = (spectra > low) & (spectra < high)
        if not np.all(possible):
            row, band = np.unravel_index(int(np.argmin(possible)), spectra.shape)
            wavelength = self.wavelengths_nm[bands][band]
            raise UsageError(
                f"sample {self.sample_ids[row]!r} has {quantity} {spectra[row, band]:g} at {wavelength:g} nm, "
                f"which must lie between {low:g} and {high:g}; correct it, or name what the file holds: {', '.join(QUANTITIES)}"
            )
        if quantity == "percent" and np.max(spectra) <= 1.5:
            raise UsageError(
                f"no value exceeds {np.max(spectra):g}, so these are fractions and not percent; use --quantity reflectance"
            )
        if quantity == "absorbance":
            return np.power(10.0, -spectra)
        return spectra / 100.0 if quantity == "percent" else spectra


def read_spectra(path: Path) -> SpectraTable:
    """Read a file of spectra.

    Raises:
        UsageError: no such file, a missing or repeated column, or a value that is not a finite number; names row and column.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            return _read(path, csv.reader(stream))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); give a CSV file of spectra") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV text ({error}); save the table as CSV in UTF-8") from error


def _read(path: Path, rows: Iterator[list[str]]) -> SpectraTable:
    header = [name.strip() for name in next(rows, [])]
    if len(header) == 1 and ";" in header[0]:
        raise UsageError(f"{path} is separated by semicolons; save it with commas between columns and points in numbers")
    if "sample_id" not in header:
        raise UsageError(f"{path} has no column sample_id; its first row must name the columns, sample_id among them")
    named = [name for name in header if name and _wavelength(name) is None]
    if repeated := [name for name in named if named.count(name) > 1]:
        raise UsageError(f"{path} has the column {repeated[0]} more than once; keep one of them")
    bands = {column: wavelength for column, name in enumerate(header) if (wavelength := _wavelength(name)) is not None}
    if len(bands) < 2 or len(set(bands.values())) != len(bands):
        raise UsageError(
            f"{path} has {len(bands)} wavelength columns of {len(set(bands.values()))} wavelengths; name each once, by its nm "
            "alone, as 1100 or 1102.5"
        )
    order = sorted(bands, key=lambda column: bands[column])
    others = [column for column in range(len(header)) if column not in bands]
    columns: dict[str, list[str]] = {header[column]: [] for column in others}
    spectra: list[Array] = []
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise UsageError(f"{path} row {number} has {len(row)} columns where the header has {len(header)}; correct the row")
        for column in others:
            columns[header[column]].append(row[column].strip())
        spectra.append(_numbers(path, number, row, order, header))
    if not spectra:
        raise UsageError(f"{path} holds no spectra below its header; add a row for each")
    wavelengths = np.array([bands[column] for column in order])
    return SpectraTable(columns.pop("sample_id"), wavelengths, np.array(spectra), columns)


def _wavelength(name: str) -> float | None:
    try:
        value = float(name)
    except ValueError:
        return None
    return value if value > 0.0 and np.isfinite(value) else None


def _numbers(path: Path, number: int, row: list[str], order: list[int], header: list[str]) -> Array:
    values = np.empty(len(order))
    for position, column in enumerate(order):
        try:
            values[position] = float(row[column])
        except ValueError:
            values[position] = np.nan
        if not np.isfinite(values[position]):
            raise UsageError(
                f"{path} row {number} column {header[column]} is {row[column]!r} and must be a number; correct or drop the row"
            )
    return values

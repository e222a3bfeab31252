"""Libraries of the user: a table (CSV, text, Excel or Parquet) that names its soils, with spectra
and columns of the laboratory's values.

Files are read in blocks, each resampled before the next is read, so memory holds little more than
the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.spectrum_files.messages import cleaned, listed, shown
from ccnvr.edge.spectrum_files.spectra_table import SpectraTable
from ccnvr.edge.spectrum_files.tables.layout import NAMED
from ccnvr.edge.spectrum_files.tables.numbers import number
from ccnvr.edge.spectrum_files.tables.text_table import read_blocks
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.own import parquet
from ccnvr.train.libraries.own.columns import Column, NotUnderstood, understand
from ccnvr.train.libraries.properties import LARGEST, PROPERTIES
from ccnvr.train.libraries.sensor import View, bands_used
from ccnvr.train.libraries.soils import Rows, Soils

ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")
"""How the name of a user's file ends, in contrast to that of a published library."""


def read(path: Path, quantity: str, view: View) -> Soils:
    """Return the file's soils; `quantity` is what its spectra are if the file does not say, one of
    `spectra_table.QUANTITIES`.

    Raises:
        UsageError: it is malformed, which names row and column, or holds no property or one twice,
            or not `quantity`.
        WavelengthError: its wavelengths do not cover the grid, or cannot show what the view's
            instrument sees.
    """
    with _advice():
        return _read(path, quantity, view)


@contextmanager
def _advice() -> Iterator[None]:
    """Say where options are given that a message names, since training takes none of them."""
    try:
        yield
    except UsageError as error:
        message = cleaned(str(error))
        if any(f"--{option}" in message for option in ("axis", "soils", "id", "sheet")):
            message += " (ccnvr convert takes it, and writes a table that is read here)"
        raise UsageError(message) from error


def _read(path: Path, quantity: str, view: View) -> Soils:
    tables = parquet.read(path) if path.suffix == ".parquet" else read_blocks(path, NAMED)
    first = next(tables)
    chosen = _choose(first)
    matrix = view.matrix(first.wavelengths_nm)
    bands = bands_used(matrix, view.grid)
    sample_ids: list[str] = []
    spectra, measured = Rows(view.grid.bands), Rows(len(PROPERTIES))
    for table in chain([first], tables):
        reflectance = table.reflectance(table.quantity or quantity, bands)
        spectra.append(absorbance(reflectance) @ matrix[:, bands].T)
        sample_ids += [f"{path.name}/{sample}" for sample in table.sample_ids]
        block = np.full((len(table.rows), len(PROPERTIES)), np.nan)
        for known, (name, column) in chosen.items():
            block[:, PROPERTIES.index(known)] = _laboratory(table, name, column)
        measured.append(block)
    columns = measured.finish().T
    values = {name: columns[PROPERTIES.index(name)] for name in chosen}
    # The name keeps its ending, so that no file can pass for a published library.
    soils = Soils.of_library(path.name, view.grid, sample_ids, spectra.finish(), values)
    notes = "; ".join(
        f"{known} from {name}: {column.note}" for known, (name, column) in chosen.items()
    )
    return replace(soils, notes={path.name: notes})


def _choose(first: SpectraTable) -> dict[str, tuple[str, Column]]:
    """Return the column of each property that the file has, with its name.

    Raises:
        UsageError: there is none, a property has several, or a column may be one and is not
            understood.
    """
    path, chosen = first.path, dict[str, tuple[str, Column]]()
    for name, cells in first.columns.items():
        try:
            column = understand(name)
        except NotUnderstood as error:
            if not any(map(_is_number, cells)):
                continue
            raise UsageError(f"{path} has a column {shown(name)[1:-1]}, which {error}") from None
        if column is None:
            continue
        if column.property in chosen:
            raise UsageError(
                f"{path} has {column.property} twice, in columns {chosen[column.property][0]} and "
                f"{name}; keep one of them"
            )
        chosen[column.property] = name, column
    if not chosen:
        raise UsageError(
            f"{path} has none of the columns {', '.join(PROPERTIES)}, nor one such as SOM_pct or "
            "N_pct that states another unit; add the laboratory's values (its columns are "
            f"{listed(filter(None, first.columns), 8)})"
        )
    return chosen


def _is_number(cell: str) -> bool:
    try:
        return not np.isnan(number(cell))
    except ValueError:
        return False


def _laboratory(table: SpectraTable, name: str, column: Column) -> Array:
    """Return a column's values in our unit, NaN where nothing was measured."""
    largest = LARGEST[column.property] / column.factor
    values = np.full(len(table.rows), np.nan)
    for row, cell in enumerate(table.columns[name]):
        try:
            values[row] = number(cell, "," if "," in cell and "." not in cell else ".")
        except ValueError:
            values[row] = -np.inf
        if not (np.isnan(values[row]) or 0.0 <= values[row] <= largest):
            raise UsageError(
                f"{table.path} row {table.rows[row]} column {name} is {shown(cell)} and must be a "
                f"number from 0 to {largest:.4g}, in {column.unit}, or empty"
            )
    return values * column.factor

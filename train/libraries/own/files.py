"""Libraries of the user: a table (CSV, text, Excel or Parquet) that names its soils, with spectra
and columns of the laboratory's values.

Files are read in blocks, each resampled before the next is read, so memory holds little more than
the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from ccnvr.train.libraries.properties import KNOWN, PROPERTIES, Property
from ccnvr.train.libraries.sensor import View, bands_used
from ccnvr.train.libraries.soils import Rows, Soils

ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")
"""How the name of a user's file ends, in contrast to that of a published library."""


def read(path: Path, quantity: str, view: View, defined: Mapping[str, Property]) -> Soils:
    """Return the file's soils; `quantity` is what its spectra are if the file does not say, one of
    `spectra_table.QUANTITIES`.

    Properties that a recipe has `defined` are read too, and their ranges hold.

    Raises:
        UsageError: it is malformed, which names row and column, or holds no property or one twice,
            or not `quantity`.
        WavelengthError: its wavelengths do not cover the grid, or cannot show what the view's
            instrument sees.
    """
    with _advice():
        return _read(path, quantity, view, defined)


def wavelengths(path: Path) -> Array:
    """Return the wavelengths `(bands,)` of a file's spectra, in nm, increasing.

    Raises:
        UsageError: it is malformed, which names row and column.
    """
    with _advice():
        return next(_tables(path)).wavelengths_nm


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


def _read(path: Path, quantity: str, view: View, defined: Mapping[str, Property]) -> Soils:
    tables = _tables(path)
    first = next(tables)
    chosen = _choose(first, defined)
    limits = {known: defined.get(known) or KNOWN[known] for known in chosen}
    matrix = view.matrix(first.wavelengths_nm)
    bands = bands_used(matrix, view.grid)
    sample_ids: list[str] = []
    spectra, measured = Rows(view.grid.bands), Rows(len(chosen))
    for table in chain([first], tables):
        reflectance = table.reflectance(table.quantity or quantity, bands)
        spectra.append(absorbance(reflectance) @ matrix[:, bands].T)
        sample_ids += [f"{path.name}/{sample}" for sample in table.sample_ids]
        block = [
            _laboratory(table, name, column, limits[known])
            for known, (name, column) in chosen.items()
        ]
        measured.append(np.stack(block, axis=1))
    values = dict(zip(chosen, measured.finish().T, strict=True))
    # The name keeps its ending, so that no file can pass for a published library.
    soils = Soils.of_library(path.name, view.grid, sample_ids, spectra.finish(), values)
    notes = "; ".join(
        f"{known} from {name}: {column.note}"
        for known, (name, column) in chosen.items()
        if np.isfinite(values[known]).any()
    )
    return replace(soils, notes={path.name: notes})


def _tables(path: Path) -> Iterator[SpectraTable]:
    return parquet.read(path) if path.suffix == ".parquet" else read_blocks(path, NAMED)


def _choose(first: SpectraTable, defined: Mapping[str, Property]) -> dict[str, tuple[str, Column]]:
    """Return the column of each property that the file has, with its name.

    Raises:
        UsageError: there is none, a property has several, or a column may be one and is not
            understood.
    """
    path, chosen = first.path, dict[str, tuple[str, Column]]()
    for name, cells in first.columns.items():
        try:
            column = understand(name, defined)
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
        names = ", ".join(dict.fromkeys((*PROPERTIES, *defined)))
        raise UsageError(
            f"{path} has none of the columns {names}, nor one such as SOM_pct or N_pct that states "
            "another unit; add the laboratory's values (its columns are "
            f"{listed(filter(None, first.columns), 8)})"
        )
    return chosen


def _is_number(cell: str) -> bool:
    try:
        return not np.isnan(number(cell))
    except ValueError:
        return False


def _laboratory(table: SpectraTable, name: str, column: Column, known: Property) -> Array:
    """Return a column's values in our unit, NaN where nothing was measured."""
    smallest, largest = known.lowest / column.factor, known.highest / column.factor
    values = np.full(len(table.rows), np.nan)
    for row, cell in enumerate(table.columns[name]):
        try:
            values[row] = number(cell, "," if "," in cell and "." not in cell else ".")
        except ValueError:
            values[row] = -np.inf
        inside = smallest <= values[row] <= largest and np.isfinite(values[row])
        if not (np.isnan(values[row]) or inside):
            raise UsageError(
                f"{table.path} row {table.rows[row]} column {name} is {shown(cell)} and must be a "
                f"number from {smallest:.4g} to {largest:.4g}, in {column.unit}, or empty"
            )
    return values * column.factor

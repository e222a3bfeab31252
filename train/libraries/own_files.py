"""Libraries of the user: a CSV or Parquet file with `sample_id`, a column for each wavelength named
by its nm, and properties.

A property's column is named as ours, in our unit, or by a name that states its unit or method:
`COLUMNS`. Both kinds of file are read in blocks, each resampled before the next is read, so memory
holds little more than the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.spectrum_files.spectra_table import SpectraTable
from ccnvr.edge.spectrum_files.tables.layout import NAMED, Layout, layout
from ccnvr.edge.spectrum_files.tables.text_table import read_blocks
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.properties import LARGEST, PROPERTIES, UNITS
from ccnvr.train.libraries.sensor import View, bands_used
from ccnvr.train.libraries.soils import ROWS_AT_ONCE, Rows, Soils

ENDINGS = (".csv", ".parquet")

# For each column, so that not all of a row group is read at once.
_BUFFER = 1 << 14


@dataclass(frozen=True)
class Column:
    """How a column's numbers become a property's: times `factor`; `unit` is the column's own."""

    property: str
    factor: float
    unit: str
    note: str


def _columns() -> dict[str, Column]:
    carbon = (
        ("OC", 1.0, "organic carbon"),
        ("SOC", 1.0, "organic carbon"),
        ("TC", 1.0, "total carbon, so carbonates count"),
    )
    matter = (
        ("SOM", 0.58, "organic matter x 0.58 (van Bemmelen)"),
        ("OM", 0.58, "organic matter x 0.58 (van Bemmelen)"),
    )
    found = {name: Column(name, 1.0, unit, "as the file states it") for name, unit in UNITS.items()}
    for name, share, note in (*carbon, *matter):
        found[f"{name}_g_kg"] = Column("OC", share, "g/kg", note)
        found[f"{name}_pct"] = Column("OC", share * 10.0, "%", f"{note}, % x 10")
    for name in ("N", "TN"):
        found[f"{name}_g_kg"] = Column("N", 1.0, "g/kg", "total nitrogen")
        found[f"{name}_pct"] = Column("N", 10.0, "%", "total nitrogen, % x 10")
    found["CEC_cmol_kg"] = Column("CEC", 1.0, "cmol(+)/kg", "as the file states it")
    found["CEC_meq_100g"] = Column("CEC", 1.0, "meq/100g", "meq/100g = cmol(+)/kg")
    found["CEC_mmol_kg"] = Column("CEC", 0.1, "mmol(+)/kg", "mmol(+)/kg / 10")
    for solution in ("H2O", "CaCl2", "KCl"):
        found[f"pH_{solution}"] = Column("pH", 1.0, "pH", f"in {solution}")
    found["clay_pct"] = Column("clay", 1.0, "%", "as the file states it")
    found["clay_g_kg"] = Column("clay", 0.1, "g/kg", "g/kg / 10")
    return found


COLUMNS = _columns()
"""Every name of a property's column."""


def read(path: Path, quantity: str, view: View) -> Soils:
    """The file's soils; `quantity` is what its spectra are, one of `spectra_table.QUANTITIES`.

    Raises:
        UsageError: it is malformed, which names row and column, or holds no property or one twice,
            or not `quantity`.
        WavelengthError: its wavelengths do not cover the grid, or cannot show what the view's
            instrument sees.
    """
    tables = _read_parquet(path) if path.suffix == ".parquet" else read_blocks(path, NAMED)
    first = next(tables)
    chosen = _choose(path, list(first.columns))
    matrix = view.matrix(first.wavelengths_nm)
    bands = bands_used(matrix, view.grid)
    sample_ids: list[str] = []
    spectra, measured = Rows(view.grid.bands), Rows(len(PROPERTIES))
    for table in chain([first], tables):
        reflectance = table.reflectance(quantity, bands)
        spectra.append(absorbance(reflectance) @ matrix[:, bands].T)
        sample_ids += [f"{path.name}/{sample}" for sample in table.sample_ids]
        block = np.full((len(table.rows), len(PROPERTIES)), np.nan)
        for name, column in chosen.items():
            block[:, PROPERTIES.index(name)] = _laboratory(table, column)
        measured.append(block)
    columns = measured.finish().T
    values = {name: columns[PROPERTIES.index(name)] for name in chosen}
    # The name keeps its ending, so that no file can pass for a published library.
    soils = Soils.of_library(path.name, view.grid, sample_ids, spectra.finish(), values)
    notes = "; ".join(
        f"{name} from {column}: {COLUMNS[column].note}" for name, column in chosen.items()
    )
    return replace(soils, notes={path.name: notes})


def _choose(path: Path, columns: list[str]) -> dict[str, str]:
    """The column of each property that the file has."""
    chosen: dict[str, str] = {}
    spelt = {name.casefold(): name for name in COLUMNS}
    for column in columns:
        name = spelt.get(column.casefold())
        if name is None:
            continue
        if name != column:
            raise UsageError(
                f"{path} has a column {column}, which is read only as {name}; rename it so, or "
                "otherwise"
            )
        known = COLUMNS[column].property
        if known in chosen:
            raise UsageError(
                f"{path} has {known} twice, in columns {chosen[known]} and {column}; keep one of "
                "them"
            )
        chosen[known] = column
    if not chosen:
        raise UsageError(
            f"{path} has none of the columns {', '.join(PROPERTIES)}, nor one such as SOM_pct or "
            "N_pct that states another unit; add the laboratory's values"
        )
    return chosen


def _laboratory(table: SpectraTable, name: str) -> Array:
    """A column's values in our unit; an empty cell is a value that was not measured."""
    column = COLUMNS[name]
    largest = LARGEST[column.property] / column.factor
    values = np.full(len(table.rows), np.nan)
    for row, cell in enumerate(table.columns[name]):
        try:
            values[row] = float(cell or "nan")
        except ValueError:
            values[row] = -np.inf
        if cell and not 0.0 <= values[row] <= largest:
            raise UsageError(
                f"{table.path} row {table.rows[row]} column {name} is {cell!r} and must be a "
                f"number from 0 to {largest:.4g}, in {column.unit}, or empty"
            )
    return values * column.factor


def _read_parquet(path: Path) -> Iterator[SpectraTable]:
    """As `text_table.read_blocks`; rows count from 1, since no header is a row. Memory holds about
    one row group, decoded.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            f"{path} needs pyarrow; run: pip install 'ccnvr[parquet]', or save it as CSV"
        ) from None
    first = 1
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER) as file:
            found = layout(path, file.schema_arrow.names, NAMED)
            for group in range(file.num_row_groups):
                # One call a row group: over several, pyarrow keeps what it has read.
                for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], use_threads=False):
                    if batch.num_rows:
                        yield _of_batch(path, found, batch, first)
                    first += batch.num_rows
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error}); give a Parquet file of spectra"
        ) from error
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path} is no Parquet file ({error}); give one of spectra") from error
    if first == 1:
        raise UsageError(f"{path} holds no spectra; add a row for each")


def _of_batch(path: Path, found: Layout, batch: Any, first: int) -> SpectraTable:
    spectra = np.empty((batch.num_rows, len(found.bands)))
    for band, column in enumerate(found.bands):
        spectra[:, band] = _numbers(path, found.header[column], batch.column(column), first)
    columns = {
        name: [_text(value) for value in batch.column(column).to_pylist()]
        for name, column in found.others.items()
    }
    rows = range(first, first + batch.num_rows)
    assert found.id_column is not None, "NAMED asks for one"
    sample_ids = columns.pop(found.header[found.id_column])
    return SpectraTable(path, rows, sample_ids, found.wavelengths_nm, spectra, columns)


def _numbers(path: Path, name: str, column: Any, first: int) -> Array:
    try:
        values = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(
            f"{path} column {name} holds {column.type} and must hold numbers; convert it"
        ) from None
    if not np.all(np.isfinite(values)):
        row = int(np.argmin(np.isfinite(values)))
        raise UsageError(
            f"{path} row {first + row} column {name} is {column[row]} and must be a number; "
            "correct or drop the row"
        )
    return values


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)

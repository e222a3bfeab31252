"""Spectra in a table: text in columns, or a sheet of a workbook, with soils in rows or in columns.

Files are read in blocks of rows; `read_spectra` joins them for those who need all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ccnvr.edge.spectrum_files.messages import NoSpectra
from ccnvr.edge.spectrum_files.spectra_table import SpectraTable, joined
from ccnvr.edge.spectrum_files.tables import columns, workbook
from ccnvr.edge.spectrum_files.tables.layout import (
    AS_IT_SAYS,
    Layout,
    NoAxis,
    TableOptions,
    layout,
)
from ccnvr.edge.spectrum_files.tables.numbers import RaggedRow
from ccnvr.edge.spectrum_files.tables.source import Block, Source, bad_cell, open_text
from ccnvr.firmware_bridge.arrays import median
from ccnvr.firmware_bridge.errors import UsageError

_FEWEST_VALUES = 3
_ALIKE = 0.5
_SAME_SIZE = 10.0


def read_spectra(path: Path, options: TableOptions = AS_IT_SAYS) -> SpectraTable:
    """Read a whole file of spectra.

    Raises:
        UsageError: as for `read_blocks`.
    """
    return joined(list(read_blocks(path, options)))


def read_blocks(path: Path, options: TableOptions = AS_IT_SAYS) -> Iterator[SpectraTable]:
    """Read a table of spectra a block of rows at a time; there is at least one block.

    Raises:
        NoSpectra: it is a table of other things.
        UsageError: there is no such file, it can be read in several ways or in none, or a value is
            not a number; names row and column.
    """
    with _opened(path, options) as source:
        found = _arrangement(source, options)
        if found is None:
            yield columns.read(source, options)
            return
        noted = replace(found.reading, notes=(*source.notes, *found.reading.notes))
        yield from _blocks(source, replace(found, reading=noted))


def _opened(path: Path, options: TableOptions) -> AbstractContextManager[Source]:
    if path.suffix.lower() in workbook.ENDINGS:
        return workbook.open_sheet(path, options.sheet)
    return open_text(path)


def _arrangement(source: Source, options: TableOptions) -> Layout | None:
    """Return the layout of a table with soils in rows, None for one with soils in columns.

    Raises:
        UsageError: it is neither, or may be both.
    """
    if options.soils == "columns":
        return None
    in_columns = options.soils is None and columns.possible(source, options)
    try:
        found = layout(source.path, source.header, options, source.decimal)
    except (NoAxis, NoSpectra) as error:
        if in_columns:
            return None
        if _holds_values(source):
            raise UsageError(
                f"{source.path} has values in its first line, which must name the columns: put a "
                "line on top with sample_id and the wavelength of each band in nm"
            ) from None
        if (reason := columns.why_not(source, options)) is not None:
            raise UsageError(reason) from None
        raise error
    if in_columns and _in_doubt(source, found):
        raise UsageError(
            f"{source.path} has numbers of wavelengths both in its first line and in its first "
            "column; give --soils rows if each soil is a row, --soils columns if each is a column"
        )
    return None if in_columns and columns.named(source) else found


def _in_doubt(source: Source, found: Layout) -> bool:
    """Whether soils may be in columns although the first line holds an axis."""
    if columns.named(source) or found.id_column is not None:
        return False
    return len(found.bands) < 10 * len(source.preview())


def _holds_values(source: Source) -> bool:
    """Whether the first line is like the next, and so names nothing."""
    preview = source.preview()
    first = [_number(cell, source.decimal) for cell in source.header]
    second = [_number(cell, source.decimal) for cell in preview[0][1]] if preview else []
    numeric = [value for value in first if value is not None]
    below = [value for value in second if value is not None]
    if len(numeric) < max(_FEWEST_VALUES, len(first) // 2) or len(below) < _FEWEST_VALUES:
        return False
    steps = np.diff(numeric)
    if np.all(steps > 0.0) or np.all(steps < 0.0):
        # It may be an axis, unless the next line has nearly the same numbers.
        size = min(len(numeric), len(below))
        one, other = np.abs(numeric[:size]), np.abs(below[:size])
        return bool(np.all(np.abs(one - other) <= _ALIKE * np.maximum(one, other)))
    # Wavelengths in nm are some hundred times as large as what is measured there.
    sizes = [float(median(np.abs(values).ravel())) for values in (numeric, below)]
    return max(sizes) <= _SAME_SIZE * min(sizes)


def _number(cell: str, decimal: str) -> float | None:
    try:
        value = float(cell.replace(decimal, "."))
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _blocks(source: Source, found: Layout) -> Iterator[SpectraTable]:
    blocks = source.blocks()
    read = 0
    while True:
        try:
            block = next(blocks, None)
        except RaggedRow as error:
            raise _ragged(source, error) from None
        if block is None:
            break
        yield _table(source, found, block, read)
        read += len(block.rows)
    if not read:
        raise UsageError(f"{source.path} holds no spectra below its header; add a row for each")


def _table(source: Source, found: Layout, block: Block, read: int) -> SpectraTable:
    bands = np.array(found.bands)
    spectra = block.numbers(bands)
    if not np.all(np.isnan(spectra) | np.isfinite(spectra)):
        row, band = np.argwhere(np.isinf(spectra))[0].tolist()
        column = found.bands[band]
        raise bad_cell(source.path, block.rows[row], found.header[column], block.text(row, column))
    rows = range(len(block.rows))
    others = {
        name: [block.text(row, column).strip() for row in rows]
        for name, column in found.others.items()
    }
    if found.id_column is None:
        sample_ids = [str(read + row + 1) for row in rows]
    else:
        sample_ids = others.pop(found.header[found.id_column])
    return SpectraTable(
        source.path,
        block.rows,
        sample_ids,
        found.wavelengths_nm,
        spectra,
        others,
        found.quantity,
        reading=found.reading,
    )


def _ragged(source: Source, error: RaggedRow) -> UsageError:
    message = (
        f"{source.path} row {error.row} has {error.found} columns where the header has "
        f"{len(source.header)}; correct the row"
    )
    if error.found > len(source.header):
        message += ", or part columns by semicolons if its numbers have decimal commas"
    return UsageError(message)

"""Spectra in a CSV file: a `sample_id` column, a column for each wavelength named by its nm, and
any others.

Files are read in blocks of rows; `read_spectra` joins them for those who need all at once.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import IO

import numpy as np

from ccnvr.edge.spectrum_files.spectra_table import SpectraTable
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError

_ROWS_AT_ONCE = 256
# First bytes of what is given for CSV.
_NO_CSV = {
    b"PAR1": "a Parquet file, which only ccnvr train and finetune read, by the ending .parquet",
    b"PK\x03\x04": "a workbook, or another ZIP archive",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
_SEPARATORS = {";": "semicolons", "\t": "tabs"}

_LONGEST_LINE = 1 << 22
_MOST_COLUMNS = 20_000


def read_spectra(path: Path) -> SpectraTable:
    """Read a whole file of spectra.

    Raises:
        UsageError: as for `read_blocks`.
    """
    blocks = list(read_blocks(path))
    return SpectraTable(
        path,
        [row for block in blocks for row in block.rows],
        [sample for block in blocks for sample in block.sample_ids],
        blocks[0].wavelengths_nm,
        np.concatenate([block.spectra for block in blocks]),
        {
            name: [cell for block in blocks for cell in block.columns[name]]
            for name in blocks[0].columns
        },
    )


def read_blocks(path: Path) -> Iterator[SpectraTable]:
    """Read a file of spectra a block of rows at a time; there is at least one block.

    Raises:
        UsageError: no such file, a missing or repeated column, or a value that is not a finite
            number; names row and column.
    """
    try:
        with (
            open(path, "rb") as raw,
            TextIOWrapper(raw, encoding="utf-8-sig", newline="") as stream,
        ):
            if kind := next(
                (kind for head, kind in _NO_CSV.items() if raw.peek(4).startswith(head)), None
            ):
                raise UsageError(f"{path} is {kind}; save the table as CSV in UTF-8")
            rows = csv.reader(bounded_lines(stream))
            try:
                yield from _blocks(path, rows)
            except UnicodeDecodeError as error:
                # Text is decoded ahead of the lines, and the next is not counted yet.
                raise UsageError(
                    f"{path} is no text in UTF-8 from line {rows.line_num + 1} on ({error}); save "
                    "the table as CSV in UTF-8"
                ) from error
            except LongLine as error:
                raise UsageError(
                    f"{path}: {error}; save the table as CSV, a line for each row"
                ) from error
            except csv.Error as error:
                raise UsageError(
                    f"{path} is no CSV at line {rows.line_num} ({error}); correct the line"
                ) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); give a CSV file of spectra"
        ) from error


class LongLine(csv.Error):
    """A line is longer than any table's; the message gives its number, which the reader has not
    counted.
    """


def bounded_lines(stream: IO[str]) -> Iterator[str]:
    """A text file's lines, none of them longer than any table's: a file without line ends is not
    read into memory.

    Raises:
        LongLine: a line is longer; names it.
    """
    number = 0
    while line := stream.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise LongLine(f"line {number} has {_LONGEST_LINE:,} characters or more")
        yield line


@dataclass(frozen=True)
class Layout:
    """Which columns are wavelengths, in increasing order, and which are others."""

    header: list[str]
    bands: list[int]
    others: dict[str, int]
    wavelengths_nm: Array


def layout(path: Path, header: list[str]) -> Layout:
    """What a file's column names say.

    Raises:
        UsageError: no sample_id, no wavelengths, or a column that stands twice.
    """
    header = [name.strip() for name in header]
    if not any(header):
        raise UsageError(
            f"{path} is empty, or its first line is; it must name the columns: sample_id, and "
            "wavelengths in nm"
        )
    for separator, name in _SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise UsageError(
                f"{path} is separated by {name}; save it with commas between columns and points "
                "in numbers"
            )
    if len(header) > _MOST_COLUMNS:
        raise UsageError(
            f"{path} has {len(header)} columns, more than {_MOST_COLUMNS}; give soils in rows, "
            "bands in columns"
        )
    named = [name for name in header if name and _wavelength(name) is None]
    if repeated := [name for name in named if named.count(name) > 1]:
        raise UsageError(f"{path} has the column {repeated[0]} more than once; keep one of them")
    bands = {
        column: wavelength
        for column, name in enumerate(header)
        if (wavelength := _wavelength(name)) is not None
    }
    others = {name: column for column, name in enumerate(header) if column not in bands}
    first = ", ".join(repr(name[:40]) for name in list(others)[:4]) or "none"
    if "sample_id" not in others:
        raise UsageError(f"{path} has no column sample_id; name one so, of these: {first}")
    if len(bands) < 2:
        raise UsageError(
            f"{path} has {len(bands)} columns named by nm alone, as 1100 or 1102.5, and needs two "
            "or more; rename those of the "
            f"spectra (its others begin with {first})"
        )
    if len(set(bands.values())) != len(bands):
        raise UsageError(
            f"{path} has {len(bands)} wavelength columns of {len(set(bands.values()))} "
            "wavelengths; name each once"
        )
    order = sorted(bands, key=lambda column: bands[column])
    return Layout(header, order, others, np.array([bands[column] for column in order]))


def _blocks(path: Path, rows: Iterator[list[str]]) -> Iterator[SpectraTable]:
    found = layout(path, next(rows, []))
    numbered = ((number, row) for number, row in enumerate(rows, start=2) if row)
    empty = True
    while block := _block(path, found, islice(numbered, _ROWS_AT_ONCE)):
        empty = False
        yield block
    if empty:
        raise UsageError(f"{path} holds no spectra below its header; add a row for each")


def _block(path: Path, found: Layout, rows: Iterator[tuple[int, list[str]]]) -> SpectraTable | None:
    """The next rows, None if there are none; each is turned into numbers before the next
    is read.
    """
    numbers: list[int] = []
    spectra: list[Array] = []
    columns: dict[str, list[str]] = {name: [] for name in found.others}
    band_cells = itemgetter(*found.bands)
    for number, row in rows:
        if len(row) != len(found.header):
            raise UsageError(
                f"{path} row {number} has {len(row)} columns where the header has "
                f"{len(found.header)}; correct the row"
            )
        numbers.append(number)
        for name, column in found.others.items():
            columns[name].append(row[column].strip())
        spectra.append(_numbers(path, number, row, found, band_cells(row)))
    if not numbers:
        return None
    return SpectraTable(
        path, numbers, columns.pop("sample_id"), found.wavelengths_nm, np.array(spectra), columns
    )


def _wavelength(name: str) -> float | None:
    try:
        value = float(name)
    except ValueError:
        return None
    return value if value > 0.0 and np.isfinite(value) else None


def _numbers(
    path: Path, number: int, row: list[str], found: Layout, cells: tuple[str, ...]
) -> Array:
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        values = np.array([_or_nan(cell) for cell in cells])
    finite = np.isfinite(values)
    if not np.all(finite):
        column = found.bands[int(np.argmin(finite))]
        raise UsageError(
            f"{path} row {number} column {found.header[column]} is {row[column]!r} and must be a "
            "number; correct or drop "
            "the row"
        )
    return values


def _or_nan(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")

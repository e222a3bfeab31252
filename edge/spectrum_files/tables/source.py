"""Opens a text table and gives its rows: the first ones as text, the rest in blocks of numbers."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.spectrum_files.formats.known import not_a_table
from ccnvr.edge.spectrum_files.messages import shown
from ccnvr.edge.spectrum_files.tables.dialect import SPACES, cells, sniff
from ccnvr.edge.spectrum_files.tables.numbers import CellBlock, RaggedRow, number
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError

ROWS_AT_ONCE = 128
# A row of 100,000 bands, at 20 characters each, has 2 MB.
LONGEST_LINE = 1 << 22
LARGEST_IN_MEMORY = 64 << 20
"""Bytes of a file that is read whole: one in UTF-16, or a transposed table."""

_LINES_LOOKED_AT = 24
_BYTES_LOOKED_AT = 1 << 21
_UTF_16 = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_UNKNOWN_CHARACTER = "\N{REPLACEMENT CHARACTER}"
_UTF_8_MARK = b"\xef\xbb\xbf"

Numbered = tuple[int, list[str]]


ROW_NAMES = "row.names"
"""The name of a column to which R gives none."""


def _begins_as_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] in "-+.,"


class LongLine(csv.Error):
    """A line is longer than any table's; the message gives its number."""


def bounded_lines(stream: IO[str]) -> Iterator[str]:
    """Give a text file's lines, of which none is longer than any table's: a file without line ends
    is not read into memory.

    Raises:
        LongLine: a line is longer; names it.
    """
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise LongLine(f"line {number} has {LONGEST_LINE:,} characters or more")
        yield line


class Block(Protocol):
    """Some rows of a table."""

    rows: list[int]

    def text(self, row: int, column: int) -> str:
        """Return one cell."""

    def numbers(self, columns: NDArray[np.int64]) -> Array:
        """Return the cells of some columns, NaN where missing, infinite where no number."""


class Source(Protocol):
    """A table whose header is known: text or a workbook's sheet."""

    path: Path
    header: list[str]
    header_row: int
    decimal: str
    notes: list[str]

    def preview(self) -> list[Numbered]:
        """Return the first rows below the header; they are given again by the others."""

    def blocks(self) -> Iterator[Block]:
        """Give the rows below the header."""

    def all_rows(self) -> Iterator[Numbered]:
        """Give the rows below the header as text."""


class RowsBlock:
    """Rows of text.

    Raises:
        RaggedRow: a row has more or fewer cells than `columns`; gives its number in the file.
    """

    def __init__(self, numbered: list[Numbered], columns: int, decimal: str) -> None:
        self.rows = [at for at, _ in numbered]
        self._decimal = decimal
        self._cells = []
        for at, row in numbered:
            row = _fitted(row, columns)
            if len(row) != columns:
                raise RaggedRow(at, len(row))
            self._cells.append(row)

    def text(self, row: int, column: int) -> str:
        """Return one cell."""
        return self._cells[row][column]

    def numbers(self, columns: NDArray[np.int64]) -> Array:
        """Return the cells of some columns, NaN where missing, infinite where no number."""
        values = np.empty((len(self._cells), columns.size))
        for at, row in enumerate(self._cells):
            for place, column in enumerate(columns.tolist()):
                try:
                    values[at, place] = number(row[column], self._decimal)
                except ValueError:
                    values[at, place] = np.inf
        return values


class LinesBlock:
    """Lines of text without quotation marks."""

    def __init__(
        self, numbered: list[tuple[int, bytes]], delimiter: str, columns: int, decimal: str
    ) -> None:
        self.rows = [at for at, _ in numbered]
        self._decimal = decimal
        separator = delimiter.encode()
        lines = [line for _, line in numbered]
        if delimiter == SPACES:
            separator, lines = b"\t", [b"\t".join(line.split()) for line in lines]
        try:
            self._block = CellBlock(lines, separator, columns)
        except RaggedRow:
            # Spreadsheets leave separators behind the last cell of some rows.
            fitted = [
                separator.join(_fitted(line.rstrip(b"\r\n").split(separator), columns))
                for line in lines
            ]
            try:
                self._block = CellBlock(fitted, separator, columns)
            except RaggedRow as error:
                raise RaggedRow(self.rows[error.row], error.found) from None

    def text(self, row: int, column: int) -> str:
        """Return one cell."""
        return decoded(self._block.text(row, column))

    def numbers(self, columns: NDArray[np.int64]) -> Array:
        """Return the cells of some columns, NaN where missing, infinite where no number."""
        return self._block.numbers(columns, self._decimal)


def _fitted(row: list, columns: int) -> list:  # type: ignore[type-arg]
    """Return a row without the empty cells beyond its header."""
    while len(row) > columns and not row[-1].strip():
        row = row[:-1]
    return row


def decoded(text: bytes) -> str:
    """Return text in UTF-8, or else in the encoding of Western Europe's older Windows programs."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")


class TextSource:
    """A text table, read line by line."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self.notes: list[str] = []
        self._lines = _numbered(path, stream)
        first: list[tuple[int, bytes]] = []
        size = 0
        for line in self._lines:
            # Blank lines are passed over here, because they would say nothing about the dialect.
            if not line[1].strip(b" \t\r\n"):
                continue
            first.append(line)
            size += len(line[1])
            # Wide tables reach the limit in bytes first, and a few of their lines say enough.
            if len(first) == _LINES_LOOKED_AT or size > _BYTES_LOOKED_AT:
                break
        if not first:
            raise UsageError(
                f"{path} is empty; it must name the columns: sample_id, and wavelengths in nm"
            )
        self._check_text(first)
        try:
            dialect = sniff([decoded(line) for _, line in first])
        except csv.Error as error:
            raise self._no_csv(first[-1][0], error) from error
        if dialect is None:
            self.delimiter, self.decimal = ",", "."
        else:
            self.delimiter, self.decimal = dialect.delimiter, dialect.decimal
            if dialect.above:
                lines = "a line" if dialect.above == 1 else f"{dialect.above} lines"
                self.notes.append(f"passed over {lines} above the table")
            first = first[dialect.stated + dialect.above :]
        self.header_row, header = first[0]
        self.header = cells(decoded(header), self.delimiter)
        self._first = first[1:]
        self._name_rows()

    def _check_text(self, lines: list[tuple[int, bytes]]) -> None:
        """Refuse a table whose encoding is unknown."""
        for at, line in lines:
            if _UNKNOWN_CHARACTER in decoded(line):
                raise UsageError(
                    f"{self.path} is not UTF-8 text from line {at} on; save the table as CSV in "
                    "UTF-8"
                )

    def _no_csv(self, at: int, error: csv.Error) -> UsageError:
        return UsageError(f"{self.path} is not CSV at line {at} ({error}); correct the line")

    def _name_rows(self) -> None:
        """Complete a header that lacks the name of the first column, as R writes row names."""
        preview = self.preview()
        if not preview or any(len(row) != len(self.header) + 1 for _, row in preview):
            return
        labels = [row[0].strip() for _, row in preview]
        # R writes either counting numbers or labels. Other numbers in the first column would be
        # data, and then the rows are merely longer than the header.
        counted = labels == [str(at) for at in range(1, len(labels) + 1)]
        if counted or not any(map(_begins_as_number, labels)):
            self.header.insert(0, ROW_NAMES)
            self.notes.append("the first column has no name, as R writes row names")

    def preview(self) -> list[Numbered]:
        """Return the first rows below the header; they are given again by the others."""
        return [(at, cells(decoded(line), self.delimiter)) for at, line in self._first]

    def blocks(self) -> Iterator[Block]:
        """Give the rows below the header in blocks."""
        columns = len(self.header)
        lines = chain(self._first, self._lines)
        while block := list(islice(lines, ROWS_AT_ONCE)):
            if any(b'"' in line for _, line in block):
                # A quotation may hold separators and line ends.
                yield from self._quoted(chain(block, lines), columns)
                return
            if block := [line for line in block if not self._blank(line[1])]:
                yield LinesBlock(block, self.delimiter, columns, self.decimal)

    def all_rows(self) -> Iterator[Numbered]:
        """Give the rows below the header as text."""
        return self._rows(chain(self._first, self._lines))

    def _quoted(self, lines: Iterable[tuple[int, bytes]], columns: int) -> Iterator[Block]:
        rows = self._rows(lines)
        while block := list(islice(rows, ROWS_AT_ONCE)):
            yield RowsBlock(block, columns, self.decimal)

    def _rows(self, lines: Iterable[tuple[int, bytes]]) -> Iterator[Numbered]:
        if self.delimiter == SPACES:
            yield from ((at, decoded(line).split()) for at, line in lines if line.strip())
            return
        at = self.header_row

        def text() -> Iterator[str]:
            nonlocal at
            for at, line in lines:  # noqa: B007 - kept for the row that the reader gives
                yield decoded(line)

        try:
            for row in csv.reader(text(), delimiter=self.delimiter):
                if any(cell.strip() for cell in row):
                    # A quoted cell may span lines; the number is that of its last line, where the
                    # reader stopped.
                    yield at, row
        except csv.Error as error:
            raise self._no_csv(at, error) from error

    def _blank(self, line: bytes) -> bool:
        return not line.strip(b" \t\r\n" + self.delimiter.encode())


def _numbered(path: Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise UsageError(
                f"{path}: line {number} has {LONGEST_LINE:,} characters or more; save the table as "
                "CSV, a line for each row"
            )
        # UTF-16 was converted before, so a zero byte means that the file is no text.
        if b"\0" in line:
            raise UsageError(
                f"{path} is not text from line {number} on; save the table as CSV in UTF-8"
            )
        # The mark that Windows programs write would become a part of the first column's name.
        yield number, line.removeprefix(_UTF_8_MARK) if number == 1 else line


@contextmanager
def open_text(path: Path) -> Iterator[TextSource]:
    """Open a text table and find out how it is written.

    Raises:
        UsageError: there is no such file, it is empty or no text, or a line is too long.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(8_192)
            if (kind := not_a_table(path, head)) is not None:
                raise UsageError(f"{path} {kind}")
            stream.seek(0)
            yield TextSource(path, _as_utf_8(path, stream, head))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); give a CSV file of spectra"
        ) from error


def _as_utf_8(path: Path, stream: IO[bytes], head: bytes) -> IO[bytes]:
    encoding = _UTF_16.get(head[:2])
    if encoding is None:
        return stream
    # UTF-16 cannot be split into lines as bytes, so the file is converted as a whole. The byte
    # beyond the limit shows that a file exceeds it. No more is asked for than the file has, because
    # Python allocates what is asked for.
    size = os.fstat(stream.fileno()).st_size
    data = stream.read(min(size, LARGEST_IN_MEMORY) + 1)
    if len(data) > LARGEST_IN_MEMORY:
        raise UsageError(f"{path} is text in UTF-16 of more than 64 MiB; save it as CSV in UTF-8")
    try:
        return io.BytesIO(data.decode(encoding).encode())
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} begins like UTF-16 but cannot be decoded ({error.reason}); save it as CSV in "
            "UTF-8"
        ) from error


def bad_cell(path: Path, row: int, column: str, cell: str) -> UsageError:
    """Return the error that names a cell that should be a number."""
    return UsageError(
        f"{path} row {row} column {shown(column, 30)[1:-1]} is {shown(cell)} and must be a number; "
        "correct or drop the row"
    )

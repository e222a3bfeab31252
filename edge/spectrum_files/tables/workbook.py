"""Sheets of Excel workbooks, read in openpyxl's read-only mode, which holds one row at a time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ccnvr.edge.spectrum_files.messages import listed, shown
from ccnvr.edge.spectrum_files.tables.source import ROWS_AT_ONCE, Block, Numbered, RowsBlock
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.firmware_bridge.installation import extra_command

ENDINGS = (".xlsx", ".xlsm")

_LARGEST_UNPACKED = 512 << 20
_ROWS_LOOKED_AT = 24


class SheetSource:
    """One sheet of a workbook."""

    decimal = "."

    def __init__(self, path: Path, name: str, sheet: Any) -> None:
        self.path = path
        self.notes = [f"read from the sheet {shown(name)}"]
        rows = self._filled(sheet)
        first = list(islice(rows, _ROWS_LOOKED_AT))
        width = max((len(row) for _, row in first), default=0)
        # A title stands above the table in a cell of its own.
        while len(first) > 1 and width > 2 and sum(map(bool, first[0][1])) < 2:
            first = first[1:]
        if not first:
            raise UsageError(f"{path} has an empty sheet {shown(name)}; give another by --sheet")
        self.header_row, self.header = first[0]
        self._first, self._rest = first[1:], rows

    def preview(self) -> list[Numbered]:
        """Return the first rows below the header."""
        return self._first

    def blocks(self) -> Iterator[Block]:
        """Give the rows below the header in blocks."""
        rows = self.all_rows()
        while block := list(islice(rows, ROWS_AT_ONCE)):
            yield RowsBlock(block, len(self.header), self.decimal)

    def all_rows(self) -> Iterator[Numbered]:
        """Give the rows below the header as text, as many cells as the header has."""
        for at, row in chain(self._first, self._rest):
            yield at, row + [""] * (len(self.header) - len(row))

    @staticmethod
    def _filled(sheet: Any) -> Iterator[Numbered]:
        for at, row in enumerate(sheet.iter_rows(values_only=True), start=1):
            cells = [_text(cell) for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                yield at, cells


@contextmanager
def open_sheet(path: Path, name: str | None) -> Iterator[SheetSource]:
    """Open the sheet of that name, or the only one that holds anything.

    Raises:
        UsageError: openpyxl is missing, the file is not a workbook, or several sheets hold tables.
    """
    try:
        import openpyxl
    except ImportError:
        raise UsageError(
            f"{path} needs openpyxl; save it as CSV, or run: {extra_command('xlsx')}"
        ) from None
    _check_size(path)
    try:
        # A stream of our own is closed whatever openpyxl raises.
        with open(path, "rb") as stream:
            workbook = openpyxl.load_workbook(stream, read_only=True, data_only=True)
            chosen = _chosen(path, workbook, name)
            yield SheetSource(path, chosen, workbook[chosen])
    except (CcnvrError, GeneratorExit):
        raise
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); copy it again") from error
    except Exception as error:  # whatever openpyxl raises, perhaps only as rows are read
        raise UsageError(
            f"{path} cannot be read as an Excel workbook ({type(error).__name__}); save it as CSV"
        ) from error


def _check_size(path: Path) -> None:
    """Refuse a workbook that unpacks into more than any table has, before it is unpacked."""
    try:
        if path.stat().st_size == 0:
            raise UsageError(f"{path} is empty; copy it again")
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); copy it again") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UsageError(
            f"{path} is not an Excel workbook ({error}); save the table as CSV"
        ) from error
    if unpacked > _LARGEST_UNPACKED:
        raise UsageError(
            f"{path} unpacks to more than {_LARGEST_UNPACKED >> 20} MiB; save the table as CSV"
        )


def _chosen(path: Path, workbook: Any, name: str | None) -> str:
    names: list[str] = [sheet.title for sheet in workbook.worksheets]
    if name is not None:
        if name not in names:
            raise UsageError(
                f"{path} has no sheet {shown(name)}; --sheet can be one of these: {listed(names)}"
            )
        return name
    filled = [title for title in names if _is_wide(workbook[title])]
    if len(filled) != 1:
        raise UsageError(
            f"{path} has {len(filled) or 'no'} sheets with tables, of the sheets {listed(names)}; "
            "name one by --sheet"
        )
    return filled[0]


def _is_wide(sheet: Any) -> bool:
    """Whether one of the sheet's first rows has two cells or more."""
    rows = islice(sheet.iter_rows(values_only=True), _ROWS_LOOKED_AT)
    return any(sum(cell is not None for cell in row) >= 2 for row in rows)


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell).strip()

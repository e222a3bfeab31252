"""How a text table is written: what separates its columns and its decimals, where it begins."""

from __future__ import annotations

import csv
import re
from collections import Counter

from ccnvr.edge.spectrum_files.tables.numbers import number
from ccnvr.firmware_bridge.frozen import frozen

SPACES = " "
"""The delimiter of columns that any number of blanks parts."""

_STATED = re.compile(r'^"?sep=(.)"?\s*$', re.IGNORECASE | re.DOTALL)
# In order of preference where a table can be read by several.
_DIALECTS = ((",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), (SPACES, "."),
             (SPACES, ","))  # fmt: skip
_FEWEST_CONSISTENT = 0.6


@frozen
class Dialect:
    """The separators of columns and decimals, and how many lines stand above the table: one that
    states the separator, and others.
    """

    delimiter: str
    decimal: str
    stated: int = 0
    above: int = 0


def cells(line: str, delimiter: str) -> list[str]:
    """Return the cells of one line.

    Raises:
        csv.Error: a quotation is not closed, or a cell is too long.
    """
    if delimiter == SPACES:
        return line.split()
    return next(csv.reader([line], delimiter=delimiter), [])


def sniff(lines: list[str]) -> Dialect | None:
    """Return the dialect of a table's first lines, None if they show no columns.

    Raises:
        csv.Error: a line cannot be split.
    """
    stated = _STATED.match(lines[0]) if lines else None
    first = 1 if stated else 0
    dialects = [
        dialect for dialect in _DIALECTS if stated is None or dialect[0] == stated.group(1)
    ] or ([(stated.group(1), "."), (stated.group(1), ",")] if stated else [])
    best: tuple[float, Dialect] | None = None
    for delimiter, decimal in dialects:
        split = [_filled(cells(line, delimiter)) for line in lines[first:]]
        found = _score(split, decimal)
        if found is not None and (best is None or found[0] > best[0] + 1e-9):
            best = found[0], Dialect(delimiter, decimal, first, found[1])
    return None if best is None else best[1]


def _filled(row: list[str]) -> list[str]:
    """Return a row without the empty cells behind its last."""
    while row and not row[-1].strip():
        row = row[:-1]
    return row


def _score(split: list[list[str]], decimal: str) -> tuple[float, int] | None:
    """Return the share of numbers among the cells, and how many lines stand above the table; None
    if the lines do not have one number of cells.
    """
    if not split:
        return None
    lower = split[len(split) // 2 :]
    width, count = Counter(map(len, lower)).most_common(1)[0]
    if width < 2 or count < _FEWEST_CONSISTENT * len(lower):
        return None
    above = next((at for at, row in enumerate(split) if len(row) >= max(2, width - 1)), 0)
    table = split[above:]
    rows = table[1:] or table
    numeric = sum(_is_number(cell, decimal) for row in rows for cell in row)
    return numeric / max(1, sum(map(len, rows))), above


def _is_number(cell: str, decimal: str) -> bool:
    try:
        number(cell, decimal)
    except ValueError:
        return False
    return True

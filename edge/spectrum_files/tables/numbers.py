"""Turns the cells of many rows of a text table into numbers at once.

A plain decimal number of at most 15 digits is an integer below 2**53 over a power of ten, and both
are exact in double precision, so one division rounds it as correctly as `float` does (Clinger 1990,
"How to read floating point numbers accurately", PLDI). Whatever else a cell holds goes to `float`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.arrays import Array

MISSING = frozenset(
    ("", "na", "n/a", "#n/a", "nan", "null", "none", "-", "--", ".", "?", "missing", "-9999")
)
"""Cells, in lower case, that say that nothing was measured."""

_MOST_DIGITS = 15
# More cells at once would leave the processor's cache.
_CELLS_AT_ONCE = 1 << 14
_TENS = 10.0 ** np.arange(_MOST_DIGITS + 1)
_MINUS, _POINT = b"-."

# Eight bytes are looked at as one word: a repeated byte stands for eight of them.
_WORD = 8
_ASCII_ZEROS = np.uint64(0x3030303030303030)
_ABOVE_NINE = np.uint64(0x7676767676767676)
_HIGH_BITS = np.uint64(0x8080808080808080)


class RaggedRow(Exception):
    """A row has `found` cells, which is not the number of the header."""

    def __init__(self, row: int, found: int) -> None:
        super().__init__(row, found)
        self.row, self.found = row, found


def number(cell: str, decimal: str = ".") -> float:
    """Return the number in one cell; NaN if it is `MISSING`.

    Raises:
        ValueError: the cell holds anything else, or a number that is not finite.
    """
    text = cell.strip()
    if text.lower() in MISSING:
        return float("nan")
    value = float(text.replace(decimal, ".") if decimal != "." else text)
    # Python reads 1_000 as a number, and nobody writes it into a table.
    if not np.isfinite(value) or "_" in text:
        raise ValueError(cell)
    return value


def _number_or_infinity(cell: str, decimal: str) -> float:
    try:
        return number(cell, decimal)
    except ValueError:
        return float("inf")


class CellBlock:
    """Lines without quotes, split into cells.

    Raises:
        RaggedRow: a line has more or fewer cells than `columns`; names the first such line.
    """

    def __init__(self, lines: list[bytes], delimiter: bytes, columns: int) -> None:
        stripped = [line.rstrip(b"\r\n") for line in lines]
        # In front, room for the words that end with the first cell.
        self._text = bytes(2 * _WORD) + delimiter.join([*stripped, b""])
        codes = np.frombuffer(self._text, np.uint8)
        ends = np.flatnonzero(codes == delimiter[0])
        line_ends = np.cumsum([len(line) + 1 for line in stripped]) + 2 * _WORD - 1
        found = np.diff(np.searchsorted(ends, line_ends, side="right"), prepend=0)
        if np.any(found != columns):
            row = int(np.argmax(found != columns))
            raise RaggedRow(row, int(found[row]))
        starts = np.empty_like(ends)
        starts[0], starts[1:] = 2 * _WORD, ends[:-1] + 1
        self._ends = ends.reshape(len(lines), columns)
        self._starts = starts.reshape(len(lines), columns)
        self._codes = codes
        self._delimiter = delimiter
        self._words = np.ndarray((len(self._text) - _WORD + 1,), "<u8", self._text, strides=(1,))

    def text(self, row: int, column: int) -> bytes:
        """Return one cell as it stands in the file."""
        return self._text[self._starts[row, column] : self._ends[row, column]]

    def numbers(self, columns: NDArray[np.int64], decimal: str) -> Array:
        """Return the cells of some columns as `(rows, columns)` numbers, NaN where `MISSING`.

        A cell that is not a number becomes infinite: the caller names it with `text`.
        """
        points = np.flatnonzero(self._codes == ord(decimal))
        # One more, so that there is always a next point.
        points = np.append(points, len(self._text))
        values = np.empty((len(self._starts), columns.size))
        at_once = max(1, _CELLS_AT_ONCE // max(columns.size, 1))
        for first in range(0, len(values), at_once):
            block = slice(first, first + at_once)
            starts, ends = self._starts[block][:, columns], self._ends[block][:, columns]
            parsed = self._parse(starts.ravel(), ends.ravel(), points)
            values[block] = parsed.reshape(starts.shape)
        for row in np.flatnonzero(np.isnan(values).any(axis=1)):
            odd = np.flatnonzero(np.isnan(values[row]))
            values[row, odd] = self._by_cell(int(row), columns[odd], decimal)
        return values

    def _by_cell(self, row: int, columns: NDArray[np.int64], decimal: str) -> list[float]:
        line = self._text[self._starts[row, 0] : self._ends[row, -1]].split(self._delimiter)
        cells = [line[column] for column in columns.tolist()]
        if decimal == ".":
            try:
                values = list(map(float, cells))
            except ValueError:
                pass
            else:
                if np.all(np.isfinite(values)) and not any(b"_" in cell for cell in cells):
                    return values
        return [_number_or_infinity(cell.decode("latin-1"), decimal) for cell in cells]

    def _parse(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], points: NDArray[np.int64]
    ) -> Array:
        """Return the numbers of the plain decimal cells, NaN for all others."""
        point = self._next_points(starts, ends, points)
        has_point = point < ends
        point = np.minimum(point, ends)
        negative = np.take(self._codes, starts) == _MINUS
        before = point - starts - negative
        behind = ends - point - has_point
        whole, whole_is_plain = self._digits(point, before)
        part, part_is_plain = self._digits(ends, behind)
        plain = whole_is_plain & part_is_plain & (before + behind >= 1)
        plain &= before + behind <= _MOST_DIGITS
        scale = _TENS[np.where(plain, behind, 0)]
        values = (whole * scale + part) / scale
        return np.where(plain, np.where(negative, -values, values), np.nan)

    @staticmethod
    def _next_points(
        starts: NDArray[np.int64], ends: NDArray[np.int64], points: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the first point from the start of each cell on."""
        first = int(np.searchsorted(points, starts[0]))
        aligned = points[first : first + starts.size]
        # Most often each cell has one point, and no other column has any.
        if aligned.size == starts.size and np.all((aligned >= starts) & (aligned < ends)):
            return aligned
        return points[np.searchsorted(points, starts)]

    def _digits(
        self, ends: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the whole numbers of the `counts` characters before `ends`, and which are digits
        alone.
        """
        longest = counts.max(initial=0)
        if longest <= 1:
            digit = np.take(self._codes, ends - 1) - np.uint8(ord("0"))
            return np.where(counts == 1, digit, 0.0), (digit < 10) | (counts < 1)
        low, plain = self._word(ends, np.minimum(counts, _WORD))
        if longest <= _WORD:
            return low, plain
        high, high_is_plain = self._word(ends - _WORD, np.clip(counts - _WORD, 0, _WORD))
        return high * 1e8 + low, plain & high_is_plain & (counts <= 2 * _WORD)

    def _word(
        self, ends: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return as `_digits`, of up to eight characters."""
        word = self._words[np.maximum(ends - _WORD, 0)] ^ _ASCII_ZEROS
        # The last characters are the word's highest bytes. A shift by all 64 bits is undefined.
        unused = (_WORD * (_WORD - np.maximum(counts, 1))).astype(np.uint64)
        word = np.where(counts > 0, (word >> unused) << unused, np.uint64(0))
        plain = ((word + _ABOVE_NINE) | word) & _HIGH_BITS == 0
        # Digits are joined into pairs, pairs into fours, and fours into eight.
        word = (word * np.uint64(10) + (word >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
        word = (word * np.uint64(100) + (word >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
        word = (word * np.uint64(10_000) + (word >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
        return word.astype(np.float64), plain

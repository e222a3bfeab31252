"""Savitzky-Golay filters as matrices, and matrices that are zero outside a band."""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial

import numpy as np

from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.frozen import frozen

# Large enough for BLAS to be fast, and small enough that the rows share most of their columns.
_ROWS_AT_ONCE = 64

_ROWS_IN_A_BLOCK = 16
"""Rows of each channel in a block; fewer cost more calls of BLAS, more cost zeros to multiply."""


def savgol_matrix(bands: int, window: int, polyorder: int, deriv: int, step: float) -> Array:
    """Return the matrix `(bands, bands)` of a Savitzky-Golay filter.

    Savitzky & Golay 1964, Anal. Chem. 36:1627-1639. At the ends, the polynomial of the outermost
    window is evaluated, as `scipy.signal.savgol_filter(mode="interp", delta=step)` does. `step` is
    the distance between bands, so that derivatives are per unit of it.

    Raises:
        ValueError: the window is even, longer than the spectrum, or not longer than the
            polynomial's order.
    """
    if window % 2 == 0 or window > bands or polyorder >= window or not 0 <= deriv <= polyorder:
        raise ValueError(
            f"Savitzky-Golay window {window}, order {polyorder}, derivative {deriv} do not fit "
            f"{bands} bands: the window must be odd, at most the number of bands, and above the "
            "order, and the order at least the derivative"
        )
    half = window // 2
    # The window runs from -1 to 1 to keep the least-squares problem well conditioned: powers of
    # the band number itself would grow too large.
    offsets = np.linspace(-1.0, 1.0, window) if half else np.zeros(1)
    # Row k of the pseudo-inverse maps a window's values to the k-th coefficient of its
    # least-squares polynomial.
    to_coefficients = np.linalg.pinv(np.vander(offsets, polyorder + 1, increasing=True))
    orders = np.arange(deriv, polyorder + 1)
    factors = (
        np.array([factorial(k) / factorial(k - deriv) for k in orders])
        / (step * max(half, 1)) ** deriv
    )
    # One row for each place in the window at which the polynomial is evaluated.
    rows = [
        (factors * (place / max(half, 1)) ** (orders - deriv).astype(np.float64))
        @ to_coefficients[orders]
        for place in range(-half, half + 1)
    ]
    matrix = np.zeros((bands, bands))
    for row in range(bands):
        # At the ends the window stays inside, and the polynomial is evaluated off its centre.
        centre = min(max(row, half), bands - 1 - half)
        matrix[row, centre - half : centre + half + 1] = rows[row - centre + half]
    return matrix


@frozen(eq=False)
class BandedRows:
    """Rows of a matrix that are zero but for a few columns close together, without most zeros.

    `columns` and `weights` are `(rows, width)`: each row's columns and what stands there.
    """

    columns: Integers
    weights: Array

    @classmethod
    def of(cls, matrix: Array) -> BandedRows:
        """Return the rows of a matrix; all windows get the width of the widest."""
        nonzero = matrix != 0.0
        first = nonzero.argmax(axis=1)
        last = matrix.shape[1] - 1 - nonzero[:, ::-1].argmax(axis=1)
        width = int((last - first).max()) + 1
        # A window that would reach beyond the last column begins earlier; its further weights are
        # zero.
        columns = np.minimum(first, matrix.shape[1] - width)[:, None] + np.arange(width)
        return cls(columns, np.take_along_axis(matrix, columns, axis=1))

    @property
    def first_column(self) -> int:
        """The first column that any row reads."""
        return int(self.columns.min())

    @property
    def last_column(self) -> int:
        """The last column that any row reads."""
        return int(self.columns.max())

    def part(self, start: int, count: int) -> BandedRows:
        """Return up to `count` rows from `start` on."""
        rows = slice(start, start + count)
        return BandedRows(self.columns[rows], self.weights[rows])

    def place_in(self, block: Array, first_column: int) -> None:
        """Write the rows, transposed, into zeros `(columns, rows)` that begin at a column."""
        rows = np.arange(len(self.columns))[:, None]
        block[self.columns - first_column, rows] = self.weights


def banded_product(left: Array, right: Array) -> Array:
    """Return `left @ right` for a banded `left`.

    It is computed for blocks of rows and the columns that they use; with 4,200 bands, the full
    product would take half a minute.
    """
    product = np.zeros((left.shape[0], right.shape[1]))
    for start in range(0, left.shape[0], _ROWS_AT_ONCE):
        block = left[start : start + _ROWS_AT_ONCE]
        used = np.flatnonzero(block.any(axis=0))
        # A block may be all zero, as the weights of a correction may.
        if used.size:
            inner = slice(used[0], used[-1] + 1)
            product[start : start + _ROWS_AT_ONCE] = block[:, inner] @ right[inner]
    return product


def in_blocks(channels: Sequence[BandedRows], column_count: int) -> tuple[Integers, Array]:
    """Return the blocks of a few rows of every channel, each dense over the columns that it reads.

    All channels have equally many rows. The columns are `(blocks, width)`, the matrices, which
    multiply from the right, `(blocks, width, channels x rows of a block)`.
    """
    count = len(channels[0].columns)
    rows = min(_ROWS_IN_A_BLOCK, count)
    parts = [[one.part(start, rows) for one in channels] for start in range(0, count, rows)]
    first = np.array([min(part.first_column for part in block) for block in parts])
    last = np.array([max(part.last_column for part in block) for block in parts])
    width = int((last - first).max()) + 1
    # A block that would reach beyond the last column begins earlier; its further weights are zero.
    first = np.minimum(first, column_count - width)
    matrices = np.zeros((len(parts), width, len(channels), rows))
    for matrix, start, block in zip(matrices, first, parts, strict=True):
        for channel, part in enumerate(block):
            part.place_in(matrix[:, channel], int(start))
    return first[:, None] + np.arange(width), matrices.reshape(len(parts), width, -1)

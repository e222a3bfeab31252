"""Savitzky-Golay filters as matrices, and fast products with banded matrices."""

from __future__ import annotations

from functools import cached_property
from math import factorial

import numpy as np

from ccnvr.firmware_bridge.arrays import Array

# Large enough for BLAS to be fast, and small enough that the rows share most of their columns.
_ROWS_AT_ONCE = 64


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
    matrix = np.zeros((bands, bands))
    for row in range(bands):
        # At the ends the window stays inside, and the polynomial is evaluated off its centre.
        centre = min(max(row, half), bands - 1 - half)
        powers = ((row - centre) / max(half, 1)) ** (orders - deriv).astype(np.float64)
        matrix[row, centre - half : centre + half + 1] = (factors * powers) @ to_coefficients[
            orders
        ]
    return matrix


class BandedOperator:
    """A matrix whose rows are zero outside a short window, for fast products.

    The windows of all rows have one common width. They are gathered from the input and multiplied
    by their weights, in buffers that are allocated once.
    """

    def __init__(self, matrix: Array) -> None:
        self.shape = matrix.shape
        nonzero = matrix != 0.0
        first = nonzero.argmax(axis=1)
        last = matrix.shape[1] - 1 - nonzero[:, ::-1].argmax(axis=1)
        width = int((last - first).max()) + 1
        # A window that would reach beyond the last column begins earlier; its further weights are
        # zero.
        first = np.minimum(first, matrix.shape[1] - width)
        self._columns = first[:, None] + np.arange(width)
        self._weights = np.take_along_axis(matrix, self._columns, axis=1)
        self._window = np.empty_like(self._weights)

    def __call__(self, vector: Array, out: Array) -> Array:
        """Multiply a vector `(columns,)` and write the product to `out`, `(rows,)`."""
        # No index is out of range, but the default mode "raise" would copy through another buffer.
        np.take(vector, self._columns, out=self._window, mode="clip")
        return np.einsum("ij,ij->i", self._window, self._weights, out=out)

    def many(self, vectors: Array) -> Array:
        """Return the products `(n, rows)` of vectors `(n, columns)`.

        The windows of neighbouring rows overlap, so a block of rows is a small dense product.
        """
        product = np.empty((len(vectors), self.shape[0]))
        for rows, columns, block in self._blocks:
            product[:, rows] = vectors[:, columns] @ block
        return product

    @cached_property
    def _blocks(self) -> list[tuple[slice, slice, Array]]:
        """Rows, the columns that they use, and their dense transpose; made if `many` is called."""
        blocks = []
        for start in range(0, self.shape[0], _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            columns, weights = self._columns[rows], self._weights[rows]
            first, last = columns.min(), columns.max() + 1
            block = np.zeros((len(columns), last - first))
            np.put_along_axis(block, columns - first, weights, axis=1)
            blocks.append((rows, slice(first, last), block.T))
        return blocks


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

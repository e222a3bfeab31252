"""Resampling, correction and filters of any number of channels, fused into one operator.

In: absorbance at one instrument's bands. Out: every channel on the model's grid, before SNV.

All of these steps are linear. The filters are short, so their matrix is zero but for a band along
its diagonal. It is cut into blocks of a few bands of the grid, each of which holds the rows of all
channels and is dense over the columns that they read. A spectrum then takes one gather, which
interpolates, and one product of small matrices, for the model's input and the domain together.

It computes in float64: docs/decisions/0091-one-operator-for-all-that-reads-a-spectrum.md says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.filters import BandedRows, banded_product, in_blocks
from ccnvr.edge.chemometrics.grid import Grid, interpolation, resampling_matrix
from ccnvr.firmware_bridge.arrays import Array, Integers

_SPECTRA_AT_ONCE = 32
"""Spectra that are gathered together; those of more do not stay in the cache of a small core."""


class FusedOperator:
    """A linear map from an instrument's bands to all channels. Not for several threads at once.

    With resampling R, the filter F of a channel, and the correction's W, V and b, a spectrum s
    becomes `F (I - V V^T) W R s + F b`. V has few columns, so its part is computed beside the rest.

    Args:
        filters: F of each channel, `(bands, bands)` of the grid; taken one by one, for their size.
        grid: the model's grid.
        wavelengths_nm: the instrument's bands, in nm, increasing.
        correction: the bundle's correction, on the model's grid.

    Raises:
        WavelengthError: the wavelengths do not cover the grid.
    """

    def __init__(
        self,
        filters: Iterable[Array],
        grid: Grid,
        wavelengths_nm: Array,
        correction: Correction | None = None,
    ) -> None:
        rows, of_vectors = [], []
        for matrix in filters:
            if correction is not None:
                # On the few columns of V and b, so that no dense matrix of all bands is needed.
                of_vectors.append(
                    matrix @ np.column_stack([correction.directions, correction.offset])
                )
                matrix = banded_product(matrix, correction.windows())
            rows.append(BandedRows.of(matrix))
        self.offsets: Array | None = None
        """What is added to every spectrum, `(channels, bands)`; None without a correction."""
        self._to_scores: Array | None = None
        if correction is not None:
            vectors = np.stack(of_vectors)
            self.offsets = vectors[..., -1].copy()
            if correction.directions.shape[1]:
                self._loadings = vectors[..., :-1].copy()
                onto_grid = resampling_matrix(wavelengths_nm, grid)
                self._to_scores = onto_grid.T @ (correction.windows().T @ correction.directions)
        self._channels, self._bands = len(rows), grid.bands
        columns, self._matrices = in_blocks(rows, grid.bands)
        left_and_right, weights = interpolation(wavelengths_nm, grid)
        self._gathered_from: Integers = left_and_right[:, columns]
        self._gather_weights: Array = weights[:, columns]
        self._for_one = self._workspace(1)

    def __call__(self, spectra: Array) -> Array:
        """Return the channels `(n, channels, bands)` of absorbance `(n, instrument bands)`.

        The result for one spectrum lies in a buffer that the next call overwrites.
        """
        filtered = self.change(spectra)
        if self.offsets is not None:
            filtered += self.offsets
        return filtered

    def change(self, changes: Array) -> Array:
        """Return what is added to the channels when `changes` are added to absorbance.

        The shapes are those of a call. The offset of the correction is not added again.
        """
        spectra = np.asarray(changes, dtype=np.float64)
        if len(spectra) == 1:
            filtered = self._fill(spectra)
        else:
            filtered = np.empty((len(spectra), self._channels, self._bands))
            for first in range(0, len(spectra), _SPECTRA_AT_ONCE):
                block = spectra[first : first + _SPECTRA_AT_ONCE]
                filtered[first : first + len(block)] = self._fill(block)
        if self._to_scores is not None:
            scores = spectra @ self._to_scores
            filtered -= np.tensordot(scores, self._loadings, axes=(1, 2))
        return filtered

    def _workspace(self, count: int) -> _Workspace:
        blocks, _, rows = self._matrices.shape
        taken = np.empty((count, *self._gathered_from.shape))
        product = np.empty((blocks, count, rows))
        filtered = np.empty((count, self._channels, blocks * rows // self._channels))
        by_block = product.reshape(blocks, count, self._channels, -1)
        return _Workspace(
            taken,
            left=taken[:, 0],
            right=taken[:, 1],
            gathered=taken[:, 0].swapaxes(0, 1),
            product=product,
            by_channel=by_block.transpose(1, 2, 0, 3),
            in_blocks=filtered.reshape(count, self._channels, blocks, -1),
            # Rows beyond the grid's last band have no weights and are left out.
            filtered=filtered[..., : self._bands],
        )

    def _fill(self, spectra: Array) -> Array:
        """Return the channels of a few spectra, `(n, channels, bands)`, in a buffer."""
        space = self._for_one if len(spectra) == 1 else self._workspace(len(spectra))
        # No index is out of range, but the mode "raise" would copy through another buffer.
        spectra.take(self._gathered_from, axis=1, out=space.taken, mode="clip")
        np.multiply(space.taken, self._gather_weights, out=space.taken)
        np.add(space.left, space.right, out=space.left)
        np.matmul(space.gathered, self._matrices, out=space.product)
        np.copyto(space.in_blocks, space.by_channel)
        return space.filtered


class _Workspace(NamedTuple):
    """The arrays that a product of a certain number of spectra goes through, and views of them.

    A view takes as long to make as a small product, so they are made once.

    Attributes:
        taken: the bands on both sides of each band that a block reads, `(n, 2, blocks, width)`.
        left: those on the left, later the interpolated bands, `(n, blocks, width)`.
        right: those on the right.
        gathered: the interpolated bands by block, `(blocks, n, width)`.
        product: the filtered bands, `(blocks, n, channels x rows of a block)`.
        by_channel: the same as `(n, channels, blocks, rows of a block)`.
        in_blocks: the result in that form.
        filtered: the result, `(n, channels, bands)`.
    """

    taken: Array
    left: Array
    right: Array
    gathered: Array
    product: Array
    by_channel: Array
    in_blocks: Array
    filtered: Array

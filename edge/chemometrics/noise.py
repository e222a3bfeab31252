"""White noise: measured in a spectrum itself, and its effect on the outputs of a model.

Over seven bands a few nanometres apart, the absorbance of a soil is nearly a polynomial of degree
five, and noise is not. So the residual of such a polynomial measures the noise;
docs/decisions/0058-intervals-know-of-noise.md shows the residuals of clean library spectra.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.filters import BandedRows, in_blocks
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.firmware_bridge.arrays import Array

LARGEST_RESPONSE = 100.0
"""The largest response that is reported, in standardised units."""

# Six differences remove a polynomial of degree five. At 4 nm seven bands span 24 nm, about the
# width of the narrowest features of soil.
_BANDS = 7
_LEAST_STEP_NM = 4.0
_WIDEST_STEP_NM = 6.5
# Decision 0058 shows what these give for the libraries' spectra.
_BLOCKS = 8
_FEWEST_IN_A_BLOCK = 6
_MEDIAN_OF_NORMAL = 0.6745
"""The median of the absolute value of a standard normal variable."""

# Each draw is one more pass of the network; 16 give the root mean square to about 18 %.
_DRAWS = 16


class NoiseMeter:
    """A measure of the noise in one instrument's spectra, whose bands may be spaced unevenly.

    Each band is compared with those at least 4 nm away, because an instrument that interpolates
    between its pixels makes closer bands alike. Bands more than 6.5 nm apart are not used, because
    over seven of them the absorbance of soils is not a polynomial.
    """

    def __init__(self, wavelengths_nm: Array) -> None:
        windows = _windows(wavelengths_nm)
        # In an interpolated spectrum, windows that fall on pixels show all of the noise, and those
        # between pixels less. So windows are sorted by phase, and the noisiest phase counts.
        phases = max(1, round(float(np.median(np.diff(windows[:, :2]))))) if windows.size else 1
        per_block = len(windows) // (_BLOCKS * phases)
        if per_block < _FEWEST_IN_A_BLOCK:
            per_block = 0
        self._bands = wavelengths_nm.size
        self._by_block = (_BLOCKS, per_block, phases)
        if not per_block:
            return
        kept = windows[: per_block * _BLOCKS * phases]
        # The weights change from window to window where bands are spaced unevenly. In blocks, the
        # polynomials of all windows are one product of small matrices.
        rows = BandedRows(kept, _divided_differences(wavelengths_nm[kept]))
        self._columns, self._matrices = in_blocks([rows], wavelengths_nm.size)
        centres_nm = wavelengths_nm[kept].reshape(_BLOCKS, -1).mean(axis=1)
        # Interpolation between the blocks is linear in their values, so it is a matrix.
        self._between_centres: Array = np.array(
            [np.interp(wavelengths_nm, centres_nm, block) for block in np.eye(_BLOCKS)]
        )
        self._mean_square: Array = self._between_centres @ self._between_centres.T / self._bands

    def __call__(self, absorbance: Array) -> Array:
        """Return the standard deviation of the noise at each band of spectra `(..., bands)`, in
        absorbance and of the same shape.

        It is that of the blocks, interpolated between them, and 0 if there are too few bands.
        """
        blocks = self.of_blocks(absorbance.reshape(-1, self._bands))
        return self.at_bands(blocks).reshape(absorbance.shape)

    def at_bands(self, of_blocks: Array) -> Array:
        """Return the noise at each band, `(..., bands)`, from that of the blocks, `(..., 8)`."""
        if not self._by_block[1]:
            return np.zeros((*of_blocks.shape[:-1], self._bands))
        between: Array = of_blocks @ self._between_centres
        return between

    def overall(self, of_blocks: Array) -> Array:
        """Return the root mean square over the bands of the noise in blocks `(n, 8)`, `(n,)`."""
        # As from the noise at each band, whose mean square is a quadratic form of the blocks'.
        if not self._by_block[1]:
            return np.zeros(len(of_blocks))
        products = of_blocks @ self._mean_square
        products *= of_blocks
        overall: Array = np.sqrt(np.add.reduce(products, axis=1))
        return overall

    def of_blocks(self, absorbance: Array) -> Array:
        """Return the noise in each of eight blocks of spectra `(n, bands)`, `(n, 8)`.

        The blocks differ because detectors are noisier at their ends. Within one the median is
        taken, so that a spike or a sharp absorption band has little influence.
        """
        blocks, per_block, phases = self._by_block
        if not per_block:
            return np.zeros((len(absorbance), blocks))
        count, kept = len(absorbance), blocks * per_block * phases
        gathered = absorbance.take(self._columns, axis=1, mode="clip").swapaxes(0, 1)
        residuals = np.matmul(gathered, self._matrices).swapaxes(0, 1).reshape(count, -1)
        residuals = np.abs(residuals[:, :kept]).reshape(count, blocks, per_block, phases)
        ordered = np.sort(residuals.swapaxes(2, 3), axis=-1)
        by_phase: Array = ordered[..., (per_block - 1) // 2] + ordered[..., per_block // 2]
        by_phase *= 0.5 / _MEDIAN_OF_NORMAL
        if phases == 1:
            return by_phase[..., 0]
        noisiest = np.argmax(np.add.reduce(by_phase * by_phase, axis=1), axis=1)
        return by_phase[np.arange(count), :, noisiest]


def _windows(wavelengths_nm: Array) -> NDArray[np.int64]:
    """Return windows of seven bands, `(windows, 7)`, one from each band on.

    Each band of a window is the next that is far enough from the one before.
    """
    columns = [np.arange(wavelengths_nm.size)]
    for _ in range(_BANDS - 1):
        # A little less than the step, so that rounding does not skip a band exactly one step away.
        after = np.searchsorted(
            wavelengths_nm, wavelengths_nm[columns[-1]] + _LEAST_STEP_NM * (1.0 - 1e-6)
        )
        there = after < wavelengths_nm.size
        columns = [column[there] for column in [*columns, after]]
    windows = np.stack(columns, axis=1)
    span = wavelengths_nm[windows[:, -1]] - wavelengths_nm[windows[:, 0]]
    narrow: NDArray[np.int64] = windows[span <= (_BANDS - 1) * _WIDEST_STEP_NM]
    return narrow


def _divided_differences(wavelengths_nm: Array) -> Array:
    """Return weights `(windows, 7)` whose sum over any polynomial of degree five is 0.

    They are scaled to length 1, so that white noise keeps its standard deviation.
    """
    # A divided difference of order six is zero for degree five. In units of the step, the products
    # of distances stay near 1.
    apart = (wavelengths_nm[:, :, None] - wavelengths_nm[:, None, :]) / _LEAST_STEP_NM
    weights = 1.0 / np.prod(apart + np.eye(_BANDS), axis=2)
    unit: Array = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    return unit


class NoiseResponse:
    """The response of a model's outputs to noise in one instrument's spectra.

    If the bands are closer than those of the model's grid, noise is drawn on the grid and
    interpolated, because noise that is finer than the grid is averaged out.

    Args:
        outputs: maps absorbance `(n, bands)` to standardised outputs `(n, targets)`.
        wavelengths_nm: the instrument's bands `(bands,)`, in nm.
        grid: the model's grid.
    """

    def __init__(
        self, outputs: Callable[[Array], Array], wavelengths_nm: Array, grid: Grid
    ) -> None:
        self._outputs = outputs
        rng = np.random.default_rng(0)  # fixed, so that predictions can be repeated exactly
        if wavelengths_nm.size > grid.bands:
            on_grid = rng.normal(size=(_DRAWS, grid.bands))
            self._draws = np.array(
                [np.interp(wavelengths_nm, grid.wavelengths(), draw) for draw in on_grid]
            )
        else:
            self._draws = rng.normal(size=(_DRAWS, wavelengths_nm.size))

    def __call__(self, absorbance: Array, clean: Array, noise: Array) -> Array:
        """Return how far added noise moves each output, as root mean square, `(targets,)`.

        The draws are the same for every spectrum, so that a spectrum always has one prediction.

        Args:
            absorbance: the spectrum `(bands,)`.
            clean: the outputs for it, `(targets,)`.
            noise: the standard deviation of the noise to add, `(bands,)`.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            moves = self._outputs(absorbance + noise * self._draws) - clean
            far = np.sqrt(np.mean(moves * moves, axis=0))
        # Written so that NaN counts as the largest response.
        return np.where(far < LARGEST_RESPONSE, far, LARGEST_RESPONSE)

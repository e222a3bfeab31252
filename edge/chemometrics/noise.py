"""White noise: measured in a spectrum itself, and its effect on the outputs of a model.

Over seven bands a few nanometres apart, the absorbance of a soil is nearly a polynomial of degree
five, and noise is not. So the residual of such a polynomial measures the noise;
docs/decisions/0058-intervals-know-of-noise.md shows the residuals of clean library spectra.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.firmware_bridge.arrays import Array, Integers

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

_Number = TypeVar("_Number", np.float64, np.int64)


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
        self._per_block = per_block
        if not per_block:
            return
        kept = windows[: per_block * _BLOCKS * phases]
        # In the order in which the residuals are sorted: by block, phase and place in the block.
        self._columns: Integers = _by_phase(kept, phases)
        # A standard deviation is the median over that of a standard normal variable.
        weights = _divided_differences(wavelengths_nm[kept]) / _MEDIAN_OF_NORMAL
        self._weights = _by_phase(weights, phases)
        self._taken = np.empty(self._weights.shape)
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
        blocks = np.array(self.of_blocks(absorbance.reshape(-1, self._bands)))
        return self.at_bands(blocks).reshape(absorbance.shape)

    def at_bands(self, of_blocks: Array) -> Array:
        """Return the noise at each band, `(..., bands)`, from that of the blocks, `(..., 8)`."""
        if not self._per_block:
            return np.zeros((*of_blocks.shape[:-1], self._bands))
        between: Array = of_blocks @ self._between_centres
        return between

    def overall(self, of_blocks: Array) -> float:
        """Return the root mean square over the bands of the noise in blocks `(8,)`."""
        # As from the noise at each band, whose mean square is a quadratic form of the blocks'.
        return sqrt(of_blocks.dot(self._mean_square).dot(of_blocks)) if self._per_block else 0.0

    def of_blocks(self, absorbance: Array) -> list[Array]:
        """Return the noise in each of eight blocks, `(8,)`, of spectra `(n, bands)`.

        The blocks differ because detectors are noisier at their ends. Within one the median is
        taken, so that a spike or a sharp absorption band has little influence.
        """
        per_block, count = self._per_block, len(absorbance)
        if not per_block:
            return [np.zeros(_BLOCKS)] * count
        residuals = np.empty((count, *self._weights.shape[1:]))
        taken, columns, weights = self._taken, self._columns, self._weights
        for spectrum, found in zip(absorbance, residuals, strict=True):
            # No index is out of range, but the mode "raise" would copy through another buffer.
            spectrum.take(columns, out=taken, mode="clip")
            np.multiply(taken, weights, out=taken)
            np.add.reduce(taken, axis=0, out=found)
        ordered = np.abs(residuals, out=residuals)
        ordered.sort(axis=-1)
        medians: Array = ordered[..., per_block // 2]
        if per_block % 2 == 0:
            medians = (medians + ordered[..., per_block // 2 - 1]) * 0.5
        noisiest = np.add.reduce(medians * medians, axis=1).argmax(axis=1).tolist()
        return [of_one[:, phase] for of_one, phase in zip(medians, noisiest, strict=True)]


def _by_phase(of_windows: NDArray[_Number], phases: int) -> NDArray[_Number]:
    """Return what each window has for its seven bands, `(7, blocks, phases, windows)`.

    Consecutive windows, `(windows, 7)`, have consecutive phases.
    """
    parts = of_windows.T.reshape(_BANDS, _BLOCKS, -1, phases)
    return np.ascontiguousarray(parts.swapaxes(2, 3))


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

"""White noise in a spectrum, from the spectrum itself, and what such noise does to a model's
answers.

Over seven bands some nanometres apart a soil's absorbance is nearly a polynomial of degree five,
and noise is not: what such polynomials leave is noise
(docs/decisions/0058-intervals-know-of-noise.md has what clean library spectra leave).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.firmware_bridge.arrays import Array

LARGEST_RESPONSE = 100.0
"""In sd of a property."""

_BANDS = 7
_LEAST_STEP_NM = 4.0
_WIDEST_STEP_NM = 6.5
_BLOCKS = 8
_FEWEST_IN_A_BLOCK = 6
_MEDIAN_OF_NORMAL = 0.6745
_DRAWS = 16


class NoiseMeter:
    """Measures the noise of one instrument's spectra, whose bands may lie unevenly.

    Nearer bands are compared with those 4 nm away: an instrument that interpolates between its
    pixels makes neighbours alike.
    Bands further apart than 6.5 nm say nothing, for over seven of them soils are no polynomials.
    """

    def __init__(self, wavelengths_nm: Array) -> None:
        self._wavelengths_nm = wavelengths_nm
        self._windows = _windows(wavelengths_nm)
        self._weights = _divided_differences(wavelengths_nm[self._windows])
        # Of an interpolated spectrum, windows on its pixels have all of its noise, and those
        # between less.
        phases = (
            max(1, round(float(np.median(np.diff(self._windows[:, :2])))))
            if self._windows.size
            else 1
        )
        per_block = len(self._windows) // (_BLOCKS * phases)
        if per_block < _FEWEST_IN_A_BLOCK:
            per_block = 0
        kept = np.arange(per_block * _BLOCKS * phases).reshape(_BLOCKS, per_block, phases)
        self._kept = np.moveaxis(kept, 2, 0)
        """Windows by phase, block and place in the block."""
        self._centres_nm = (
            np.mean(wavelengths_nm[self._windows[kept]], axis=(1, 2, 3))
            if per_block
            else np.empty(0)
        )

    def __call__(self, absorbance: Array) -> Array:
        """The standard deviation of white noise in absorbance, band by band `(bands,)`; 0 where too
        few bands can tell.

        In each of eight parts of the spectrum, for detectors are noisier at their ends; in each the
        median, so that a spike or a sharp band counts little.
        """
        if not self._kept.size:
            return np.zeros(absorbance.size)
        left = np.abs(np.sum(absorbance[self._windows] * self._weights, axis=1))
        by_phase = np.median(left[self._kept], axis=2)
        most = by_phase[np.argmax(np.sum(by_phase**2, axis=1))]
        profile: Array = np.interp(self._wavelengths_nm, self._centres_nm, most) / _MEDIAN_OF_NORMAL
        return profile


def _windows(wavelengths_nm: Array) -> NDArray[np.int64]:
    """Seven bands a row `(rows, 7)`, each the next that lies far enough from the one before, from
    every band on.
    """
    columns = [np.arange(wavelengths_nm.size)]
    for _ in range(_BANDS - 1):
        # Short of the step by what rounding may take of it.
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
    """Weights of length 1 for bands at `wavelengths_nm`, both `(rows, 7)`: polynomials of degree
    five add up to 0.
    """
    apart = (wavelengths_nm[:, :, None] - wavelengths_nm[:, None, :]) / _LEAST_STEP_NM
    weights = 1.0 / np.prod(apart + np.eye(_BANDS), axis=2)
    unit: Array = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    return unit


class NoiseResponse:
    """Asks a model what noise does to its answers, on one instrument's bands: `answer` takes
    absorbance `(bands,)` to standardised outputs `(targets,)`.

    The noise of bands that lie nearer than those of the model's grid is taken for that of the grid:
    the model sees no more.
    """

    def __init__(self, answer: Callable[[Array], Array], wavelengths_nm: Array, grid: Grid) -> None:
        # For one spectrum: a bundle was tried with few at once, and its memory with them.
        self._answer = answer
        rng = np.random.default_rng(0)
        if wavelengths_nm.size > grid.bands:
            on_grid = rng.normal(size=(_DRAWS, grid.bands))
            self._draws = np.array(
                [np.interp(wavelengths_nm, grid.wavelengths(), draw) for draw in on_grid]
            )
        else:
            self._draws = rng.normal(size=(_DRAWS, wavelengths_nm.size))

    def __call__(self, absorbance: Array, clean: Array, noise: Array) -> Array:
        """How far as much `noise` `(bands,)` again moves each output from `clean`, that for
        `absorbance`; root mean square.

        The same draws for every spectrum, so that a spectrum has one answer.
        """
        # A model that says no number to a little noise knows nothing.
        with np.errstate(invalid="ignore", over="ignore"):
            moves = np.array(
                [self._answer(absorbance + draw) - clean for draw in noise * self._draws]
            )
            far = np.sqrt(np.mean(moves**2, axis=0))
        limited: Array = np.minimum(np.nan_to_num(far, nan=LARGEST_RESPONSE), LARGEST_RESPONSE)
        return limited

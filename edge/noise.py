"""White noise in a spectrum, from the spectrum itself, and what such noise does to a model's answers.

A soil's absorbance is smooth over a few bands of a model's grid and noise is not, so what is left of the sixth differences is
noise: clean library spectra leave 0.00002 to 0.0005, which is noise of theirs (docs/default-model.md).
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb, sqrt

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.preprocess import Preprocessor

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]

LARGEST_MOVE = 100.0
"""In sd of a property."""

_ORDER = 6
# By so much the differences of independent numbers deviate more than the numbers themselves.
_GROWTH = sqrt(comb(2 * _ORDER, _ORDER))
_MEDIAN_OF_NORMAL = 0.6745
_BLOCKS = 8
_FEWEST_IN_A_BLOCK = 6
_DRAWS = 16


class NoiseMeter:
    """Measures the noise of one instrument's spectra, at the distance that bands of the model's grid have.

    Bands that lie nearer are compared with those a step of the grid away: an instrument that interpolates between its pixels
    makes neighbours alike, and their differences say nothing of it.
    """

    def __init__(self, wavelengths_nm: Array, step_nm: float) -> None:
        self._stride = max(1, round(step_nm / float(np.median(np.diff(wavelengths_nm)))))

    def __call__(self, absorbance: Array) -> float:
        """The standard deviation of white noise in absorbance `(bands,)`; 0 for too few bands to tell.

        The root mean square of eight parts of the spectrum, for detectors are noisier at their ends; in each the median, so
        that a spike or a sharp band counts little.
        """
        left = absorbance
        for _ in range(_ORDER):
            left = left[self._stride :] - left[: -self._stride]
        bands = left.size // _BLOCKS
        if bands < _FEWEST_IN_A_BLOCK:
            return 0.0
        medians = np.median(np.abs(left[: bands * _BLOCKS]).reshape(_BLOCKS, bands), axis=1)
        return float(np.sqrt(np.mean(medians**2))) / (_MEDIAN_OF_NORMAL * _GROWTH)


def moved(outputs: Callable[[Float32], Float32], preprocess: Preprocessor, spectrum: Array, noise: float) -> Array:
    """How far as much noise again moves each standardised output `(targets,)` for absorbance `(bands,)`, root mean square.

    The same draws for every spectrum, so that a spectrum has one answer.
    """
    draws = np.random.default_rng(0).normal(0.0, noise, (_DRAWS, spectrum.size))
    answers = outputs(preprocess.batch(np.concatenate([spectrum[None], spectrum + draws]))).astype(np.float64)
    far = np.sqrt(np.mean((answers[1:] - answers[0]) ** 2, axis=0))
    # A model that says no number to a little noise knows nothing.
    limited: Array = np.minimum(np.nan_to_num(far, nan=LARGEST_MOVE), LARGEST_MOVE)
    return limited

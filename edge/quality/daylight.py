"""The check for daylight in a spectrum, by the colour that it gives to a soil.

In: reflectance beside the white panel. Out: whether it falls with wavelength where that of soils
rises. Daylight has more short-wave light than a lamp, so what falls in beside the probe makes the
short wavelengths look brighter.
"""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.arrays import Array, Integers

PAIRS = ((550.0, 650.0, 0.95), (910.0, 1000.0, 1.05), (1110.0, 1200.0, 1.015))
"""Pairs of wavelengths in nm, and the largest ratio of the first's reflectance to the second's.

Of 5,500 dry soils of eight libraries, 0.04, 0.1 and 0.8 % exceed them.
"""

_REACH_NM = 10.0
"""The half width of the spectrum that is averaged at each wavelength, in nm, against noise."""


class DaylightCheck:
    """A search for daylight in the spectra of one instrument.

    Args:
        wavelengths_nm: all the instrument's bands `(pixels,)`, increasing.
        usable: which bands `(pixels,)` have a usable signal.

    Attributes:
        bands: the numbers of the instrument's bands that are looked at; none if it has no pair.
    """

    def __init__(self, wavelengths_nm: Array, usable: NDArray[np.bool_]) -> None:
        rows = []
        for short_nm, long_nm, limit in PAIRS:
            short, long = (_mean_at(wavelengths_nm, usable, nm) for nm in (short_nm, long_nm))
            if short.any() and long.any():
                rows.append(short - limit * long)
        weights = np.array(rows).reshape(-1, wavelengths_nm.size)
        self.bands: Integers = np.flatnonzero(weights.any(axis=0))
        # One product with few bands for each scan.
        self._weights = weights[:, self.bands]
        self._most = np.zeros(len(weights))

    def of_counts(self, dark: Array, factor: Array) -> DaylightCheck:
        """Return the check of counts at `bands`; reflectance is `(counts - dark) x factor`."""
        check = copy(self)
        check._weights = self._weights * factor
        check._most = check._weights @ dark
        return check

    def __call__(self, values: Array) -> bool:
        """Return whether reflectance at `bands`, or counts after `of_counts`, shows daylight."""
        return bool((self._weights.dot(values) > self._most).any())


def _mean_at(wavelengths_nm: Array, usable: NDArray[np.bool_], centre_nm: float) -> Array:
    """Return the weights `(pixels,)` of the mean around a wavelength; zeros if no band is near."""
    near = usable & (np.abs(wavelengths_nm - centre_nm) <= _REACH_NM)
    weights: Array = near / max(1, int(near.sum()))
    return weights

"""Tells reflectance from absorbance by the water in every soil: read as the other, a spectrum rises
where it should dip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.arrays import Array

Levels = tuple[tuple[float, float], ...]

# Left shoulder, band and right shoulder, in nm; that at 1414 is of water and of clay's hydroxyl.
_AT_1917 = ((1830.0, 1860.0), (1905.0, 1930.0), (2070.0, 2110.0))
_AT_1414 = ((1330.0, 1360.0), (1405.0, 1425.0), (1500.0, 1540.0))

# In absorbance. Every soil of the open libraries absorbs more than 0.005 at 1917 nm, and hardly one
# that is read wrongly rises by less: test_water_bands. Plastic rises there too, but absorbs near
# 1414 nm, as no soil does that is read wrongly.
_RISES_AT_1917 = -0.005
_ABSORBS_AT_1414 = 0.002

# A rise may be the noise's, so it must exceed that by so much; and from how far beyond each
# shoulder, in nm, noise is told.
_STANDARD_ERRORS = 4.0
_AROUND_A_SHOULDER = 20.0


def upside_down(wavelengths_nm: Array, reflectance: Array) -> NDArray[np.bool_]:
    """Which spectra `(n, bands)`, all positive, rise at water's bands by more than noise, as no
    soil's does; none if 1917 nm is not seen. Where the shoulders of 1414 nm are not seen, 1917 nm
    decides alone.
    """
    at_1917, at_1414 = (
        _absorbs(wavelengths_nm, reflectance, levels) for levels in (_AT_1917, _AT_1414)
    )
    by_noise = _STANDARD_ERRORS * _standard_error(wavelengths_nm, reflectance, _AT_1917)
    return (at_1917 < np.minimum(_RISES_AT_1917, -by_noise)) & ~(at_1414 > _ABSORBS_AT_1414)


def absorption_at_1917(wavelengths_nm: Array, reflectance: Array) -> Array:
    """Return how much the spectra `(n, bands)`, all positive, absorb at 1917 nm beyond the line
    through the band's shoulders, `(n,)`; NaN where that is not seen.
    """
    return _absorbs(wavelengths_nm, reflectance, _AT_1917)


def _absorbs(wavelengths_nm: Array, reflectance: Array, levels: Levels) -> Array:
    """Absorbance of the band above the line through its shoulders, `(n,)`; NaN where one of the
    three is not seen.
    """
    seen = _seen(wavelengths_nm, levels)
    if not all(map(np.any, seen)):
        return np.full(len(reflectance), np.nan)
    means = np.stack([-np.log10(reflectance[:, inside]).mean(axis=1) for inside in seen], axis=1)
    above: Array = means @ _weights(wavelengths_nm, seen)
    return above


def _standard_error(wavelengths_nm: Array, reflectance: Array, levels: Levels) -> Array:
    """Of `_absorbs`, `(n,)`, from the bands' scatter about a straight line around each shoulder; 0
    where too few are seen.
    """
    seen = _seen(wavelengths_nm, levels)
    squares, freedom = np.zeros(len(reflectance)), 0
    for low, high in (levels[0], levels[2]):
        (around,) = _seen(wavelengths_nm, ((low - _AROUND_A_SHOULDER, high + _AROUND_A_SHOULDER),))
        if (count := int(np.count_nonzero(around))) < 3:
            continue
        line, _ = np.linalg.qr(np.vander(wavelengths_nm[around] - (low + high) / 2.0, 2))
        absorbance = -np.log10(reflectance[:, around])
        squares += np.sum((absorbance - absorbance @ line @ line.T) ** 2, axis=1)
        freedom += count - 2
    if not freedom or not all(map(np.any, seen)):
        return np.zeros(len(reflectance))
    of_a_mean = _weights(wavelengths_nm, seen) ** 2 / [np.count_nonzero(inside) for inside in seen]
    error: Array = np.sqrt(squares / freedom * of_a_mean.sum())
    return error


def _seen(wavelengths_nm: Array, levels: Levels) -> list[NDArray[np.bool_]]:
    return [(wavelengths_nm >= low) & (wavelengths_nm <= high) for low, high in levels]


def _weights(wavelengths_nm: Array, seen: list[NDArray[np.bool_]]) -> Array:
    """Of the three means, `(3,)`: the band less the line through its shoulders."""
    from_nm, at_nm, to_nm = (wavelengths_nm[inside].mean() for inside in seen)
    share = (at_nm - from_nm) / (to_nm - from_nm)
    return np.array([share - 1.0, 1.0, -share])

"""Tells reflectance from absorbance by the water in every soil: read as the other, a spectrum rises where it should dip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Left shoulder, band and right shoulder, in nm; that at 1414 is of water and of clay's hydroxyl.
_AT_1917 = ((1830.0, 1860.0), (1905.0, 1930.0), (2070.0, 2110.0))
_AT_1414 = ((1330.0, 1360.0), (1405.0, 1425.0), (1500.0, 1540.0))

# In absorbance. Every soil of the open libraries absorbs more than 0.005 at 1917 nm, and hardly one that is read wrongly rises
# by less: test_water_bands. Plastic rises there too, but absorbs near 1414 nm, as no soil does that is read wrongly.
_RISES_AT_1917 = -0.005
_ABSORBS_AT_1414 = 0.002


def upside_down(wavelengths_nm: Array, reflectance: Array) -> NDArray[np.bool_]:
    """Which spectra `(n, bands)`, all positive, rise at water's bands, as no soil's does; none if 1917 nm is not seen."""
    at_1917, at_1414 = (_absorbs(wavelengths_nm, reflectance, levels) for levels in (_AT_1917, _AT_1414))
    return (at_1917 < _RISES_AT_1917) & ~(at_1414 > _ABSORBS_AT_1414)


def _absorbs(wavelengths_nm: Array, reflectance: Array, levels: tuple[tuple[float, float], ...]) -> Array:
    """Absorbance of the band above the line through its shoulders, `(n,)`; NaN where one of the three is not seen."""
    seen = [(wavelengths_nm >= low) & (wavelengths_nm <= high) for low, high in levels]
    if not all(map(np.any, seen)):
        return np.full(len(reflectance), np.nan)
    (from_nm, at_nm, to_nm), (left, band, right) = zip(
        *((wavelengths_nm[inside].mean(), -np.log10(reflectance[:, inside]).mean(axis=1)) for inside in seen), strict=True
    )
    above: Array = band - left - (right - left) * (at_nm - from_nm) / (to_nm - from_nm)
    return above

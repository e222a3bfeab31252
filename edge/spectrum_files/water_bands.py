"""Tells reflectance from absorbance by the water in every soil: read as the other, a spectrum rises
where it should dip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.arrays import Array, median

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


# Of the band at 1917 nm in the 2,400 soils of open libraries that are seen there: its depth is
# 0.0056 and more, it is highest at 1912-1942 nm, and from 1875 to 1915 nm it rises by 0.39 to 2.03
# of its depth.
_LEAST_DEPTH = 0.002
_PEAK_NM, _OFF_PEAK_NM = 1925.0, 32.0
_RISE = (0.2, 2.3)
_FROM_NM, _TO_NM = 1870.0, 2060.0
_SMOOTHED_NM = 16.0
_FEWEST_BANDS = 8
_FEWEST_WITH_WATER = 0.5
_HIDDEN = 0.7


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


def water_is_missing(wavelengths_nm: Array, reflectance: Array) -> bool:
    """Whether most of the spectra `(n, bands)`, all positive, lack soil's water band at 1917 nm.

    Not missing is what is not seen, or hidden by noise.
    """
    found = _water(wavelengths_nm, reflectance)
    return found is not None and bool(np.mean(found[0] | found[1]) < _FEWEST_WITH_WATER)


def water_is_there(wavelengths_nm: Array, reflectance: Array) -> bool:
    """Whether most of the spectra `(n, bands)`, all positive, show soil's water band at 1917 nm."""
    found = _water(wavelengths_nm, reflectance)
    return found is not None and bool(np.mean(found[0]) >= _FEWEST_WITH_WATER)


def _water(
    wavelengths_nm: Array, reflectance: Array
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return which spectra show the water band, and in which noise may hide it, both `(n,)`.

    None if they do not cover it. The band is there if the absorbance above the line through the
    shoulders is highest near 1917 nm, and rises to it as steeply as water's does. Bands of the
    mid-infrared, read as nm, fail one or the other, as do the values of other wavelengths.
    """
    depth = _absorbs(wavelengths_nm, reflectance, _AT_1917)
    rise = _rise(wavelengths_nm, reflectance)
    inside = (wavelengths_nm >= _FROM_NM) & (wavelengths_nm <= _TO_NM)
    if np.any(np.isnan(depth + rise)) or np.count_nonzero(inside) < _FEWEST_BANDS:
        return None
    left, _, right = (
        -np.log10(reflectance[:, seen]).mean(axis=1, keepdims=True)
        for seen in _seen(wavelengths_nm, _AT_1917)
    )
    places = wavelengths_nm[inside]
    share = (places - np.mean(_AT_1917[0])) / (np.mean(_AT_1917[2]) - np.mean(_AT_1917[0]))
    above = -np.log10(reflectance[:, inside]) - (left + (right - left) * share)
    highest = places[_smoothed(above, places).argmax(axis=1)]
    there = (depth > _LEAST_DEPTH) & (np.abs(highest - _PEAK_NM) < _OFF_PEAK_NM)
    there &= (rise > _RISE[0] * depth) & (rise < _RISE[1] * depth)
    by_noise = _STANDARD_ERRORS * _standard_error(wavelengths_nm, reflectance, _AT_1917)
    undecided = (depth > 0.0) & (by_noise > _HIDDEN * depth)
    return there, undecided


def _rise(wavelengths_nm: Array, reflectance: Array) -> Array:
    """Return how much more the spectra absorb at 1915 than at 1875 nm, `(n,)`; NaN if not seen."""
    foot, top = _seen(wavelengths_nm, ((1865.0, 1885.0), (1905.0, 1925.0)))
    if not (np.any(foot) and np.any(top)):
        return np.full(len(reflectance), np.nan)
    means = [np.log10(reflectance[:, seen]).mean(axis=1) for seen in (foot, top)]
    rise: Array = means[0] - means[1]
    return rise


def _smoothed(values: Array, places: Array) -> Array:
    """Return the means of rows over `_SMOOTHED_NM`, with -inf where that leaves the row."""
    width = max(1, round(_SMOOTHED_NM / float(median(np.diff(places)))))
    sums = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    means = (sums[:, width:] - sums[:, :-width]) / width
    before = (width - 1) // 2
    after = values.shape[1] - means.shape[1] - before
    return np.pad(means, ((0, 0), (before, after)), constant_values=-np.inf)


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

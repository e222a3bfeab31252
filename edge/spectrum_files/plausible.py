"""Tells spectra that no soil has, and says what they may be instead.

The limits lie outside every soil of nirsoil, Geeves, ICRAF-ISRIC and the Vis-NIR sets of LimeSoDa
(5,900 spectra), of which the flattest, the darkest and the brightest are given beside them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.arrays import Array, median
from ccnvr.firmware_bridge.frozen import frozen

# Over 1100-2450 nm the flattest soil varies by 0.028 in absorbance, the darkest reflects 0.11
# somewhere, and the brightest 0.94.
_FLATTEST = 0.012
_DARKEST, _BRIGHTEST = 0.03, 1.05
_WIDE_ENOUGH_NM = 700.0
# A panel's spectrum is not quite flat; soils that reflect more than 0.8 vary by 0.059 and more.
_WHITE, _FLATTEST_WHITE = 0.85, 0.035

# Where water vapour takes nearly all sunlight, in nm; what is measured there by the sun is noise.
_VAPOUR = ((1335.0, 1480.0), (1770.0, 2000.0))
_UP_TO_THE_END_NM = 2_450.0
_RAW_COUNTS = 255.0


@frozen
class Fault:
    """Why a spectrum cannot be that of a soil, and what to do.

    `of_scale` if the values may be of another quantity, or on another scale; `white` if it is a
    scan of a white panel.
    """

    text: str
    remedy: str
    of_scale: bool = False
    white: bool = False


def faults(wavelengths_nm: Array, reflectance: Array) -> dict[int, Fault]:
    """Return the first of spectra `(n, bands)`, positive and finite, that cannot be a soil's."""
    if wavelengths_nm.size < 3 or wavelengths_nm[-1] - wavelengths_nm[0] < _WIDE_ENOUGH_NM:
        return {}
    highest, lowest = reflectance.max(axis=1), reflectance.min(axis=1)
    usual = median(reflectance, axis=1)
    whitish = usual > _WHITE
    flat = np.log10(highest) - np.log10(lowest) < np.where(whitish, _FLATTEST_WHITE, _FLATTEST)
    wrong = flat | (highest < _DARKEST) | (usual > _BRIGHTEST)
    wrong |= _continuum_removed(reflectance, highest)
    if not np.any(wrong):
        return {}
    row = int(np.argmax(wrong))
    return {row: _fault(reflectance[row], bool(flat[row]))}


def explained(wavelengths_nm: Array, values: Array, low: float, high: float) -> Fault | None:
    """Return why a spectrum `(bands,)` has values outside `low` to `high`, if they tell."""
    outside = ~((values > low) & (values < high)) & np.isfinite(values)
    in_vapour = _in_vapour(wavelengths_nm)
    if np.all(in_vapour[outside]):
        return Fault(
            "there the air's water vapour absorbs sunlight, so a field spectrum holds only noise",
            "use a model that leaves 1335-1480 and 1770-2000 nm out, or measure with a contact "
            "probe",
        )
    if median(values) > _RAW_COUNTS:
        return Fault(
            "these look like raw counts, or reflectance times 10,000",
            "save reflectance as a fraction, which of counts is (soil - dark) / (white - dark)",
            True,
        )
    if np.mean(values < 0.0) > 0.02 and low > -1.0:
        return Fault(
            "so many negative values come from a derivative, a scatter correction or a dark "
            "reference",
            "give the spectra as measured, since the model does its own preprocessing",
        )
    return None


def _in_vapour(wavelengths_nm: Array) -> NDArray[np.bool_]:
    inside = wavelengths_nm > _UP_TO_THE_END_NM
    for low, high in _VAPOUR:
        inside = inside | ((wavelengths_nm >= low) & (wavelengths_nm <= high))
    return inside


def _continuum_removed(reflectance: Array, highest: Array) -> NDArray[np.bool_]:
    """Which spectra touch 1 and never exceed it, as only a removed continuum does."""
    touching = np.count_nonzero(reflectance == 1.0, axis=1)
    removed: NDArray[np.bool_] = (highest == 1.0) & (touching >= 2)
    return removed


def _fault(reflectance: Array, flat: bool) -> Fault:
    highest = reflectance.max()
    if highest < _DARKEST:
        return Fault(
            f"nowhere reflects more than {highest:.3g}, and soils do", "correct its scale", True
        )
    share = 100.0 * (highest / reflectance.min() - 1.0) if flat else 0.0
    if flat and median(reflectance) > _WHITE:
        return Fault(
            f"is constant within {share:.2g} %, as a white panel is and no soil",
            "leave it out",
            white=True,
        )
    if flat:
        return Fault(
            f"is constant within {share:.2g} %, as no soil is",
            "check that the probe saw the sample",
        )
    if highest == 1.0:
        return Fault(
            "touches 1 several times, as after continuum removal",
            "give the spectra as measured, since the model does its own preprocessing",
        )
    return Fault(
        f"reflects {median(reflectance):.3g} of the light, more than a white panel",
        "correct its scale, or take the white reference again",
        True,
    )

"""The checks that a spectrum passes before a model sees it.

In: reflectance or absorbance at the bands that the model reads. Out: the reason why it is not that
of a soil, or why it cannot be trusted, as a short form for flags; None if nothing is wrong.
`checks` lists every check with its limit and its prompt.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ccnvr.edge.chemometrics.targets import GAUSSIAN_90
from ccnvr.firmware_bridge.arrays import Array, Integers

LOWEST_SIGNAL = 0.005
"""The least white minus dark signal of a usable band, as a share of the saturation counts."""

FAINT_LIGHT = 0.04
"""The least white minus dark signal of the brightest band, as a share of the saturation counts.

Below it, the integration time is too short for the lamp, and noise moves the numbers.
"""

MOST_STRAY_LIGHT = 0.005
"""The most reflectance that light beside the lamp's may add to a sample.

docs/operator-errors.md shows what more of it does to predictions.
"""

_STRAY_PARTS = 8
"""The parts of the spectrum in which stray light is looked for; light of a colour shows in some."""

BRIGHTEST = 1.2
"""The largest plausible reflectance of a soil beside the white panel."""

BRIGHT_SHARE = 0.02
"""The share of the bands that noise may carry above `BRIGHTEST`."""

DARKEST = 0.02
"""The smallest plausible median reflectance of a soil; the darkest soils have about 0.05."""

LIKE_THE_PANEL = 0.03
"""A median difference from the white panel's reflectance below which the panel was scanned."""

SPLICE_JUMP = 0.004
"""The largest step in absorbance where two detectors meet; 0.0044 is 1 % of the reflectance.

`docs/quality.md` shows the steps of library spectra, and what a step does to predictions.
"""

_SPLICE_ERRORS = 4.0
"""A step must also exceed so many standard errors, so that noise does not count as one."""

_SPLICE_REACH_NM = 20.0
"""The width of the spectrum on each side of a join that the step is measured from, in nm."""

_FEWEST_ON_A_SIDE = 4


def usual_for_a_soil(reflectance: Array, panel_reflectance: float) -> bool:
    """Return whether no band of reflectance `(bands,)` is as dark or bright as `not_a_soil` says.

    It decides nearly all spectra, by two reductions. False if a value is not a number.
    """
    lowest, highest = np.minimum.reduce(reflectance), np.maximum.reduce(reflectance)
    brightest = min(BRIGHTEST, (1.0 - LIKE_THE_PANEL) * panel_reflectance)
    return bool(lowest >= DARKEST and highest <= brightest)


def not_a_soil(reflectance: Array, panel_reflectance: float) -> str | None:
    """Return why reflectance `(bands,)` cannot be a soil's, or None if it can."""
    if usual_for_a_soil(reflectance, panel_reflectance):
        return None
    if np.count_nonzero(reflectance > BRIGHTEST) > BRIGHT_SHARE * reflectance.size:
        return "too_bright"
    if np.median(reflectance) < DARKEST:
        return "too_dark"
    if np.median(np.abs(reflectance / panel_reflectance - 1.0)) < LIKE_THE_PANEL:
        return "white_panel"
    return None


def light_beside_lamp(lamp_off: Array, dark: Array, white: Array) -> float:
    """Return the largest share of the white's light that a scan with the lamp off contains.

    The spectrum is looked at in parts of as many bands, so that noise of single bands does not
    count.

    Args:
        lamp_off: the counts of a sample with the lamp off `(bands,)`.
        dark: those of the dark reference, without any light.
        white: those of the white reference.
    """
    parts = min(_STRAY_PARTS, dark.size)
    added = [part.sum() for part in np.array_split(lamp_off - dark, parts)]
    lamp = [part.sum() for part in np.array_split(white - dark, parts)]
    return float(max(light / full for light, full in zip(added, lamp, strict=True)))


def disagree(values: Array, half_width: float) -> bool:
    """Return whether the values of one property from a sample's replicates are too unlike.

    They are if chance would put a tenth of such values further from their mean than the model's own
    90 % interval reaches.

    Args:
        values: the values `(n,)` that were predicted from single replicates.
        half_width: half the width of the interval of one of them, in the same unit.
    """
    if values.size < 2:
        return False
    return GAUSSIAN_90 * float(np.std(values, ddof=1)) > half_width


class SpliceCheck:
    """A search for steps in absorbance where the detectors of one instrument meet.

    Detectors that warm up differently, or that see different spots of the sample, give spectra
    that do not meet. A straight line is fitted on each side of a join; the lines should meet in
    the middle.

    Args:
        wavelengths_nm: all the instrument's bands `(pixels,)`, increasing.
        joins_nm: the last wavelength of each detector but the last one.

    Attributes:
        bands: the numbers of the instrument's bands that are looked at.
    """

    def __init__(self, wavelengths_nm: Array, joins_nm: Iterable[float]) -> None:
        sides = [(join_nm, *_sides(wavelengths_nm, join_nm)) for join_nm in joins_nm]
        usable = [one for one in sides if min(one[1].size, one[2].size) >= _FEWEST_ON_A_SIDE]
        near = [bands for _, left, right in usable for bands in (left, right)]
        # The bands between joins that are close together count once.
        self.bands: Integers = np.unique(np.concatenate(near)) if near else np.empty(0, np.int64)
        self._joins = [
            (
                np.searchsorted(self.bands, left),
                np.searchsorted(self.bands, right),
                _extrapolation(wavelengths_nm[left], join_nm),
                _extrapolation(wavelengths_nm[right], join_nm),
            )
            for join_nm, left, right in usable
        ]

    def __call__(self, absorbance: Array) -> bool:
        """Return whether absorbance at `bands` has a step at a join."""
        # All matrices are compiled, so that a scan costs a few products of 20 numbers.
        for left, right, to_left, to_right in self._joins:
            ends, variance = [], 0.0
            for values, hat in ((absorbance[left], to_left), (absorbance[right], to_right)):
                weights, residual = hat[0], values - hat[1:] @ values
                ends.append(float(weights @ values))
                # Two parameters of the line were fitted.
                scatter = float(residual @ residual) / (values.size - 2)
                variance += scatter * float(weights @ weights)
            if abs(ends[1] - ends[0]) > max(SPLICE_JUMP, _SPLICE_ERRORS * np.sqrt(variance)):
                return True
        return False


def _sides(wavelengths_nm: Array, join_nm: float) -> tuple[Integers, Integers]:
    """Return the numbers of the bands on each side of a join."""
    from_join = wavelengths_nm - join_nm
    # The join itself is the last band of the detector on its left.
    left = np.flatnonzero((from_join <= 0.0) & (from_join > -_SPLICE_REACH_NM))
    right = np.flatnonzero((from_join > 0.0) & (from_join <= _SPLICE_REACH_NM))
    return left, right


def _extrapolation(wavelengths_nm: Array, at_nm: float) -> Array:
    """Return the weights that give a fitted line's value at a wavelength, and its hat matrix below.

    The result is `(1 + bands, bands)`.
    """
    design = np.stack([np.ones(wavelengths_nm.size), wavelengths_nm - at_nm], axis=1)
    # By pseudo-inverse: the rows of the hat matrix are needed for the residuals anyway.
    inverse = np.linalg.pinv(design)
    return np.concatenate([inverse[:1], design @ inverse])

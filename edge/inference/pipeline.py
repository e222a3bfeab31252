"""Counts -> reflectance -> prediction, with checks that give a bad scan a `rescan` flag.

In: an instrument's scans and its dark and white references. Out: a `Prediction` for each scan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ccnvr.edge.chemometrics.grid import as_slice
from ccnvr.edge.chemometrics.preprocess import (
    SpectrumError,
    absorbance,
    unchecked_absorbance,
)
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.quality.daylight import DaylightCheck
from ccnvr.edge.quality.gate import (
    FAINT_LIGHT,
    LOWEST_SIGNAL,
    SpliceCheck,
    light_beside_lamp,
    not_a_soil,
    usual_for_a_soil,
)
from ccnvr.edge.quality.reference_checks import check_dark
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Quantity, Scan

PERFECT_PANEL = 1.0
"""The panel of instruments that measure reflectance themselves."""


@dataclass(frozen=True)
class References:
    """The dark and white scans for a sample.

    Attributes:
        dark: the dark scan.
        white: the scan of the white panel.
        panel_reflectance: the reflectance of the white panel (0 to 1).
        most_drift_c: by how much the detector's temperature may differ from that of either scan,
            in degrees Celsius, before predictions are flagged.
    """

    dark: Scan
    white: Scan
    panel_reflectance: float
    most_drift_c: float = float("inf")

    def reflectance(self, counts: Array, bands: Integers) -> Array:
        """Return the reflectance of a sample from its counts at `bands`."""
        dark, white = self.dark.counts[bands], self.white.counts[bands]
        return reflectance(counts, dark, white, self.panel_reflectance)

    def scaling(self, bands: slice | Integers) -> tuple[Array, Array]:
        """Return dark counts and a factor, from which reflectance at `bands` is
        `(counts - dark) x factor`.
        """
        dark = self.dark.counts[bands].copy()
        return dark, self.panel_reflectance / (self.white.counts[bands] - dark)

    def drift_c(self, scan: Scan) -> float:
        """Return how much warmer the detector was than at that reference from which it differs
        most, in degrees Celsius; NaN without a thermometer.
        """
        both = [scan.temperature_c - one.temperature_c for one in (self.dark, self.white)]
        return max(both, key=lambda drift: -1.0 if math.isnan(drift) else abs(drift))

    def drifted(self, scan: Scan) -> bool:
        """Return whether the detector was warmer or colder than the limit allows."""
        # A temperature that is not known is NaN, which exceeds no limit.
        now, most = scan.temperature_c, self.most_drift_c
        return abs(now - self.dark.temperature_c) > most or (
            abs(now - self.white.temperature_c) > most
        )


def reflectance(counts: Array, dark: Array, white: Array, panel_reflectance: float) -> Array:
    """Return `(counts - dark) / (white - dark) x panel_reflectance`, elementwise.

    All counts must be taken at one integration time.
    """
    ratio: Array = (counts - dark) / (white - dark) * panel_reflectance
    return ratio


class Pipeline:
    """Predictions from the scans of one instrument, with one pair of references.

    `references` is None if the instrument itself measures reflectance or absorbance.

    Raises:
        InstrumentError: a reference is saturated, the white one is too dark, or the dark one
            contains light.
        ValueError: the instrument measures counts and there are no references.
    """

    def __init__(
        self, predictor: Predictor, info: InstrumentInfo, references: References | None = None
    ) -> None:
        if references is not None:
            _check_references(references, predictor.bands, info)
        elif info.quantity is Quantity.COUNTS:
            raise ValueError("counts need a dark and a white reference")
        self._predictor = predictor
        self._references = references
        self._quantity = info.quantity
        self._pixels = info.wavelengths_nm.size
        self._bands = as_slice(predictor.bands)
        self._panel = PERFECT_PANEL if references is None else references.panel_reflectance
        if references is not None:
            self._dark, self._factor = references.scaling(self._bands)
            self._integration_us = references.white.settings.integration_us
        used_nm = info.wavelengths_nm[predictor.bands]
        # Only joins within the range that the model reads matter; one in a gap of its grid does,
        # because the step remains beyond the gap.
        joins = (join for join in info.joins_nm if used_nm[0] < join < used_nm[-1])
        self._splice = SpliceCheck(info.wavelengths_nm, joins)
        usable = np.ones(self._pixels, dtype=bool)
        self._faint = False
        if references is not None:
            signals = references.white.counts - references.dark.counts
            usable = signals >= LOWEST_SIGNAL * info.saturation_counts
            brightest = float(signals[predictor.bands].max())
            self._faint = brightest < FAINT_LIGHT * info.saturation_counts
        self._daylight = DaylightCheck(info.wavelengths_nm, usable)
        if references is not None:
            self._daylight = self._daylight.of_counts(*references.scaling(self._daylight.bands))

    def __call__(self, scan: Scan) -> Prediction:
        """Predict from a scan of a sample; a scan that cannot be used gives flags only."""
        try:
            prediction = self._predictor(self._absorbance(scan))
        except SpectrumError as error:
            return _rescan(error.reason)
        return self._with_doubts(scan, prediction)

    def batch(self, scans: Sequence[Scan]) -> list[Prediction]:
        """Predict from many scans, as single calls do but for rounding, in a fraction of the time.

        Scans that have waited, or that are predicted again, are predicted so.
        """
        predictions: list[Prediction] = [NO_REFERENCES] * len(scans)
        usable: list[int] = []
        spectra: list[Array] = []
        for number, scan in enumerate(scans):
            try:
                spectra.append(self._absorbance(scan))
                usable.append(number)
            except SpectrumError as error:
                predictions[number] = _rescan(error.reason)
        try:
            found = self._predictor.batch(np.array(spectra)) if spectra else []
        except SpectrumError:
            # One of them has no number; the others need not suffer from it.
            return [self(scan) for scan in scans]
        for number, prediction in zip(usable, found, strict=True):
            predictions[number] = self._with_doubts(scans[number], prediction)
        return predictions

    def _absorbance(self, scan: Scan) -> Array:
        """Return the absorbance of a scan at the bands that the model reads.

        Raises:
            SpectrumError: the scan cannot be used.
        """
        has_references = self._references is not None
        if has_references and scan.settings.integration_us != self._integration_us:
            # Dark counts and lamp signal scale with it, so the references no longer fit.
            raise _unusable("integration_time_changed")
        if scan.counts.shape != (self._pixels,):
            raise _unusable("wrong_length")
        if scan.saturated:
            raise _unusable("saturated")
        values = scan.counts[self._bands]
        if has_references:
            values = values - self._dark
            values *= self._factor
        reason = None
        if self._quantity is not Quantity.ABSORBANCE:
            if usual_for_a_soil(values, self._panel):
                values = unchecked_absorbance(values)
            else:
                reason = not_a_soil(values, self._panel)
                values = absorbance(values)
        # A step adds no information about a spectrum that is not a soil's.
        reason = reason or ("splice_jump" if self._has_step(scan) else None)
        if reason:
            raise _unusable(reason)
        return values

    def _with_doubts(self, scan: Scan, prediction: Prediction) -> Prediction:
        """Return a prediction with the flags of what is doubtful about its scan."""
        doubts = self._doubts(scan)
        if not doubts:
            return prediction
        return Prediction(prediction.estimates, (*prediction.flags, *doubts))

    def light_beside_lamp(self, lamp_off: Scan) -> float:
        """Return how much light beside the lamp's a scan with the lamp off shows.

        It is the reflectance that this light adds to a sample, at the bands of the model where it
        adds most; 0 for an instrument that measures reflectance itself.
        """
        if self._references is None:
            return 0.0
        if lamp_off.saturated:
            return math.inf
        bands = self._predictor.bands
        dark, white = self._references.dark.counts[bands], self._references.white.counts[bands]
        share = light_beside_lamp(lamp_off.counts[bands], dark, white)
        return share * self._references.panel_reflectance

    def drift_c(self, scan: Scan) -> float:
        """Return how far the detector's temperature has moved; NaN where nothing tells."""
        return math.nan if self._references is None else self._references.drift_c(scan)

    def _doubts(self, scan: Scan) -> list[str]:
        """Return flags for what makes the numbers of a scan doubtful."""
        doubts: list[str] = []
        if self._references is not None and self._references.drifted(scan):
            doubts.append("reference_drift")
        if self._faint:
            doubts.append("faint_light")
        if self._daylight.bands.size and self._has_daylight(scan):
            doubts.append("daylight")
        return doubts

    def _has_daylight(self, scan: Scan) -> bool:
        values = scan.counts.take(self._daylight.bands)
        if self._quantity is Quantity.ABSORBANCE:
            values = 10.0**-values
        return self._daylight(values)

    def _has_step(self, scan: Scan) -> bool:
        """Return whether the absorbance of a scan has a step where two detectors meet."""
        bands = self._splice.bands
        if not bands.size:
            return False
        values = scan.counts[bands]
        if self._references is not None:
            # Bands that the model does not read may have no light in the white reference either.
            with np.errstate(divide="ignore", invalid="ignore"):
                values = self._references.reflectance(values, bands)
        try:
            return self._splice(
                values if self._quantity is Quantity.ABSORBANCE else absorbance(values)
            )
        except SpectrumError:  # dark bands, of which the model reads none
            return False


def _check_references(references: References, bands: Integers, info: InstrumentInfo) -> None:
    """Refuse references that leave a band the model uses without a usable signal.

    Raises:
        InstrumentError: a reference is saturated, the white one is too dark, or the dark one
            contains light.
    """
    if references.white.saturated or references.dark.saturated:
        raise InstrumentError(
            "the white or dark reference is saturated; shorten the integration time"
        )
    signals = (references.white.counts - references.dark.counts)[bands]
    weakest = int(np.argmin(signals))
    signal, needed = signals[weakest], LOWEST_SIGNAL * info.saturation_counts
    if not signal >= needed:  # written so that NaN fails
        raise InstrumentError(
            f"the white reference is only {signal:.0f} counts above dark at "
            f"{info.wavelengths_nm[bands][weakest]:.0f} nm and needs {needed:.0f}; check lamp and "
            "panel, or lengthen the integration time"
        )
    check_dark(references.dark.counts[bands], references.white.counts[bands])


def _unusable(reason: str) -> SpectrumError:
    return SpectrumError(reason, f"the scan cannot be used: {reason}")


def _rescan(reason: str) -> Prediction:
    return Prediction({}, (f"rescan:{reason}",))


NO_REFERENCES = _rescan("no_reference")
"""The prediction for a scan without dark and white references."""

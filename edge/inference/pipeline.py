"""Counts -> reflectance -> prediction, with the checks that turn a bad scan into "rescan" instead
of a number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ccnvr.edge.chemometrics.preprocess import SpectrumError, absorbance
from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Quantity, Scan

LOWEST_SIGNAL = 0.005
"""White less dark, as a share of saturation, below which a band carries no usable signal."""


@dataclass(frozen=True)
class References:
    """The dark and white scans that belong to a sample, and the reflectance of the white panel."""

    dark: Scan
    white: Scan
    panel_reflectance: float


@dataclass(frozen=True)
class Prediction:
    """Estimates by property, empty where the scan must be taken again; `flags` says why, and what
    else to know.
    """

    estimates: dict[str, Estimate]
    flags: tuple[str, ...]


def reflectance(counts: Array, dark: Array, white: Array, panel_reflectance: float) -> Array:
    """`(sample - dark) / (white - dark) x panel reflectance`, elementwise; all counts at one
    integration time.
    """
    ratio: Array = (counts - dark) / (white - dark) * panel_reflectance
    return ratio


class Pipeline:
    """Predicts the scans of one instrument with one pair of references; none if it measures
    reflectance or absorbance.

    Raises:
        InstrumentError: the white reference is no brighter than the dark one.
    """

    def __init__(
        self, predictor: Predictor, info: InstrumentInfo, references: References | None = None
    ) -> None:
        self._predictor = predictor
        self._references = references
        self._quantity = info.quantity
        self._pixels = info.wavelengths_nm.size
        if references is not None:
            self._check(info, references)
        elif info.quantity is Quantity.COUNTS:
            raise ValueError("counts need a dark and a white reference")

    def _check(self, info: InstrumentInfo, references: References) -> None:
        bands = self._predictor.bands
        self._dark = references.dark.counts[bands]
        self._white = references.white.counts[bands]
        wavelengths = info.wavelengths_nm[bands]
        weakest = int(np.argmin(self._white - self._dark))
        signal, needed = (self._white - self._dark)[weakest], LOWEST_SIGNAL * info.saturation_counts
        if references.white.saturated or references.dark.saturated:
            raise InstrumentError(
                "the white or dark reference is saturated; shorten the integration time"
            )
        if not signal >= needed:
            raise InstrumentError(
                f"the white reference is only {signal:.0f} counts above dark at "
                f"{wavelengths[weakest]:.0f} nm and needs "
                f"{needed:.0f}; check lamp and panel, or lengthen the integration time"
            )

    def __call__(self, scan: Scan) -> Prediction:
        """The prediction for a sample's scan; a scan that cannot be used gives flags and
        no number.
        """
        references = self._references
        if (
            references is not None
            and scan.settings.integration_us != references.white.settings.integration_us
        ):
            return _rescan("integration_time_changed")
        if scan.counts.shape != (self._pixels,):
            return _rescan("wrong_length")
        if scan.saturated:
            return _rescan("saturated")
        values = scan.counts[self._predictor.bands]
        try:
            if references is not None:
                values = reflectance(values, self._dark, self._white, references.panel_reflectance)
            spectrum = values if self._quantity is Quantity.ABSORBANCE else absorbance(values)
            estimates, flags = self._predictor.answer(spectrum)
        except SpectrumError as error:
            return _rescan(error.reason)
        return Prediction(estimates, tuple(flags))


def _rescan(reason: str) -> Prediction:
    return Prediction({}, (f"rescan:{reason}",))


NO_REFERENCES = _rescan("no_reference")
"""For a scan whose dark and white references are not known."""

"""Absorbance of one instrument -> a prediction: a proved model bound to the instrument's bands."""

from __future__ import annotations

from math import hypot
from typing import Protocol

import numpy as np

from ccnvr.edge.bundle.archive import Bundle, BundleError
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain, Position
from ccnvr.edge.chemometrics.grid import bands_read, check_wavelengths
from ccnvr.edge.chemometrics.preprocess import Preprocessor, SpectrumError
from ccnvr.edge.chemometrics.targets import Target, estimate, half_width
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.uncertainty import NoiseUncertainty
from ccnvr.firmware_bridge.arrays import Array, Float32

_LARGEST_OUTPUT = 100.0
"""The largest plausible output, in standard deviations of the training soils.

The comparison with it also catches NaN and infinity, and keeps the exponential that undoes a
logarithm finite.
"""

_TEST_SOILS = 3


class PredictiveModel(Protocol):
    """The parts of a `ProvedModel` that a predictor uses."""

    bundle: Bundle
    correction: Correction | None
    domain: Domain | None

    def outputs(self, inputs: Float32) -> Float32:
        """Return standardised outputs `(n, targets)` for model input `(n, channels, bands)`."""
        ...


class Predictor:
    """A model bound to one instrument's wavelengths. Not safe to call from several threads.

    Args:
        model: an opened model.
        wavelengths_nm: the wavelengths of all the instrument's bands, in nm, increasing.

    Raises:
        WavelengthError: the wavelengths do not cover the segments of the model's grid.
        BundleError: the model fails on the bundle's self-test soils at these wavelengths.
    """

    def __init__(self, model: PredictiveModel, wavelengths_nm: Array) -> None:
        preprocessing = model.bundle.manifest.preprocessing
        grid = preprocessing.grid
        check_wavelengths(wavelengths_nm, grid)
        self.bands = bands_read(wavelengths_nm, grid)
        """The numbers of the instrument's bands that the model reads; the others may hold anything.
        """
        self._instrument_bands = wavelengths_nm.size
        used = wavelengths_nm[self.bands]
        self._model = model
        self._preprocess = Preprocessor(preprocessing, used, model.correction)
        self._smooth: Preprocessor | None = None
        if model.domain is not None:
            # The domain was fitted to corrected spectra, as the network was.
            smoothing = model.domain.shape.preprocessing(grid)
            self._smooth = Preprocessor(smoothing, used, model.correction)
        test_soils = [
            np.interp(used, grid.wavelengths(), soil)
            for soil in model.bundle.self_test().absorbance[:_TEST_SOILS]
        ]
        try:
            self._noise = NoiseUncertainty(self._outputs, used, grid, test_soils)
        except SpectrumError as error:
            raise BundleError(
                f"the self-test of bundle {model.bundle.source} holds a spectrum that is not a "
                f"soil's ({error}); export the bundle again"
            ) from error

    def __call__(self, absorbance: Array) -> Prediction:
        """Predict from absorbance at all the instrument's bands, or at those of `self.bands` alone.

        The flags of the prediction name each distance at which the spectrum is unlike the training
        soils (`out_of_domain:Q`), each property whose estimate lies outside the range of the
        training soils (`OC:outside_training_range`), and each whose interval is mostly due to
        noise in the spectrum (`OC:noisy`).

        Raises:
            SpectrumError: the spectrum has the wrong length or cannot be used.
            BundleError: the engine fails on the spectrum.
        """
        if absorbance.size == self._instrument_bands:
            absorbance = absorbance[self.bands]
        outputs = self._outputs(absorbance)
        if not np.all(np.abs(outputs) < _LARGEST_OUTPUT):
            raise SpectrumError(
                "not_finite",
                f"the model's outputs are not all within {_LARGEST_OUTPUT:g} standard deviations "
                "of the training soils; check the spectrum, or export the model again",
            )
        position = self._locate(absorbance)
        targets = self._model.bundle.manifest.targets
        halves = [
            half_width(target, output, position)
            for target, output in zip(targets, outputs.tolist(), strict=True)
        ]
        known = np.array([np.inf if half is None else half for half in halves])
        by_noise = self._noise.half_widths(absorbance, outputs, known).tolist()
        # The model's errors were measured on spectra with next to no noise, so they are independent
        # of those that noise adds, and the half widths add in quadrature.
        estimates = {
            target.name: estimate(target, output, None if half is None else hypot(half, noise))
            for target, output, half, noise in zip(
                targets, outputs.tolist(), halves, by_noise, strict=True
            )
        }
        outside = [
            f"{target.name}:outside_training_range"
            for target in targets
            if not target.lowest <= estimates[target.name].value <= target.highest
        ]
        out_of_domain = position.flags if position else []
        return Prediction(estimates, (*out_of_domain, *outside, *_noisy(targets, halves, by_noise)))

    def batch(self, absorbance: Array) -> list[Prediction]:
        """Predict many spectra, absorbance `(n, bands)` at `self.bands` or all the bands.

        The predictions are those of single calls but for the rounding of the engine.

        Raises:
            SpectrumError: a spectrum has the wrong length or cannot be used.
            BundleError: the engine fails on the spectra.
        """
        return [self(spectrum) for spectrum in absorbance]

    def _outputs(self, absorbance: Array) -> Array:
        """Return the network's standardised outputs `(targets,)`."""
        outputs: Array = self._model.outputs(self._preprocess(absorbance)[None])[0].astype(
            np.float64
        )
        return outputs

    def _locate(self, absorbance: Array) -> Position | None:
        """Return the spectrum's position in the domain, or None if the bundle has no domain."""
        if self._model.domain is None or self._smooth is None:
            return None
        return self._model.domain.locate(self._smooth(absorbance)[0])


def _noisy(
    targets: tuple[Target, ...], halves: list[float | None], by_noise: list[float]
) -> list[str]:
    """Return a flag for each target with more uncertainty from noise than from the model."""
    return [
        f"{target.name}:noisy"
        for target, half, noise in zip(targets, halves, by_noise, strict=True)
        if half is not None and noise > half
    ]

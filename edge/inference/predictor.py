"""Absorbance of one instrument -> a prediction: a proved model bound to the instrument's bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ccnvr.edge.bundle.archive import Bundle, BundleError
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.edge.chemometrics.domain_distances import DomainDistances, Position
from ccnvr.edge.chemometrics.grid import as_slice, bands_read, check_wavelengths
from ccnvr.edge.chemometrics.preprocess import Preprocessor, SpectrumError
from ccnvr.edge.inference.estimator import Estimator
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.uncertainty import NoiseUncertainty, SpectrumNoise
from ccnvr.firmware_bridge.arrays import Array, Float32

_LARGEST_OUTPUT = 100.0
"""The largest plausible output, in standard deviations of the training soils.

The comparison with it also catches NaN and infinity, and keeps the exponential that undoes a
logarithm finite.
"""

_TEST_SOILS = 3

_SPECTRA_AT_ONCE = 32
"""Spectra that the engine gets together.

More would save no time, and a new bundle is tried with the few soils of its self-test, so the
memory that it takes for many is not known.
"""


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
        self._read = as_slice(self.bands)
        used = wavelengths_nm[self.bands]
        self._model = model
        domain = model.domain
        self._domain = None if domain is None else DomainDistances(domain)
        # The domain was fitted to corrected spectra, as the network was, so that one operator
        # serves both.
        beside = () if domain is None else domain.shape.preprocessing(grid).channels
        self.preprocess = Preprocessor(preprocessing, used, model.correction, beside)
        """Absorbance at `bands` to the channels of model and domain."""
        self._estimator = Estimator(model.bundle.manifest.targets)
        test_soils = [
            # The self-test's soils lie on the model's grid; these are the spectra that the
            # instrument would give of them, without its noise.
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

        The flags are those of `Estimator.predictions`.

        Raises:
            SpectrumError: the spectrum has the wrong length or cannot be used.
            BundleError: the engine fails on the spectrum.
        """
        return self._block(self._used(absorbance)[None])[0]

    def batch(self, absorbance: Array) -> list[Prediction]:
        """Predict many spectra, absorbance `(n, bands)` at all the bands or at those of
        `self.bands`.

        The predictions are those of single calls but for rounding, and take a fraction of the
        time.

        Raises:
            SpectrumError: a spectrum has the wrong length or cannot be used.
            BundleError: the engine fails on the spectra.
        """
        absorbance = self._used(absorbance)
        predictions: list[Prediction] = []
        for first in range(0, len(absorbance), _SPECTRA_AT_ONCE):
            predictions += self._block(absorbance[first : first + _SPECTRA_AT_ONCE])
        return predictions

    def _used(self, absorbance: Array) -> Array:
        """Return spectra `(..., bands)` at the bands that the model reads."""
        if absorbance.shape[-1] == self._instrument_bands:
            return absorbance[..., self._read]
        return absorbance

    def _block(self, absorbance: Array) -> list[Prediction]:
        """Return the predictions of a few spectra `(n, bands read)`.

        Raises:
            SpectrumError: a spectrum cannot be used, or its outputs are not plausible.
        """
        inputs, beside = self.preprocess.with_beside(absorbance)
        # All that NumPy computes comes before the engine, whose code and weights fill the caches.
        positions: Sequence[Position | None] = (
            [None] * len(inputs) if self._domain is None else self._domain(beside)
        )
        noises = self._noise.measure(absorbance)
        return [
            self._prediction(*of_one)
            for of_one in zip(self._plausible(inputs), positions, noises, strict=True)
        ]

    def _plausible(self, inputs: Float32) -> list[list[float]]:
        """Return the standardised outputs of each input.

        Raises:
            SpectrumError: an output is not plausible.
        """
        outputs: list[list[float]] = self._model.outputs(inputs).tolist()
        for of_one in outputs:
            for output in of_one:
                # Written so that NaN fails.
                if not -_LARGEST_OUTPUT < output < _LARGEST_OUTPUT:
                    raise SpectrumError(
                        "not_finite",
                        f"the model's output {output:g} is not within {_LARGEST_OUTPUT:g} standard "
                        "deviations of the training soils; check the spectrum, or export the "
                        "model again",
                    )
        return outputs

    def _prediction(
        self, outputs: list[float], position: Position | None, noise: SpectrumNoise
    ) -> Prediction:
        halves = self._estimator.half_widths(outputs, position)
        by_noise = self._noise.half_widths(noise, outputs, halves)
        return self._estimator.prediction(outputs, halves, by_noise, position)

    def _outputs(self, absorbance: Array) -> Array:
        """Return the network's standardised outputs `(n, targets)` for absorbance `(n, bands)`."""
        return self._model.outputs(self.preprocess.batch(absorbance)).astype(np.float64)

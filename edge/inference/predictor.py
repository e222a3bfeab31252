"""Absorbance of one instrument -> a prediction: a proved model bound to the instrument's bands."""

from __future__ import annotations

from math import hypot
from typing import Protocol

import numpy as np

from ccnvr.edge.bundle.archive import Bundle, BundleError
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.edge.chemometrics.grid import bands_read, check_wavelengths
from ccnvr.edge.chemometrics.preprocess import Preprocessor, SpectrumError
from ccnvr.edge.chemometrics.targets import Estimate, Target, estimates, half_widths
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.uncertainty import NoiseUncertainty
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
        used = wavelengths_nm[self.bands]
        self._model = model
        self._preprocess = Preprocessor(preprocessing, used, model.correction)
        self._smooth: Preprocessor | None = None
        if model.domain is not None:
            # The domain was fitted to corrected spectra, as the network was.
            smoothing = model.domain.shape.preprocessing(grid)
            self._smooth = Preprocessor(smoothing, used, model.correction)
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
        smoothed = None if self._smooth is None else self._smooth(absorbance)[None]
        inputs = self._preprocess(absorbance)[None]
        return self._predictions(absorbance[None], self._run(inputs), smoothed)[0]

    def batch(self, absorbance: Array) -> list[Prediction]:
        """Predict many spectra, absorbance `(n, bands)` at all the bands or at those of
        `self.bands`.

        The predictions are those of single calls but for rounding, and take a fraction of the
        time.

        Raises:
            SpectrumError: a spectrum has the wrong length or cannot be used.
            BundleError: the engine fails on the spectra.
        """
        if absorbance.shape[1] == self._instrument_bands:
            absorbance = absorbance[:, self.bands]
        predictions: list[Prediction] = []
        for first in range(0, len(absorbance), _SPECTRA_AT_ONCE):
            block = absorbance[first : first + _SPECTRA_AT_ONCE]
            smoothed = None if self._smooth is None else self._smooth.batch(block)
            predictions += self._predictions(block, self._outputs(block), smoothed)
        return predictions

    def _predictions(
        self, absorbance: Array, outputs: Array, smoothed: Float32 | None
    ) -> list[Prediction]:
        """Return the predictions of spectra `(n, bands)` from the network's outputs `(n, targets)`
        and, if the bundle has a domain, the spectra smoothed for it, `(n, channels, grid bands)`.

        Raises:
            SpectrumError: the outputs are not plausible.
        """
        if not np.all(np.abs(outputs) < _LARGEST_OUTPUT):
            raise SpectrumError(
                "not_finite",
                f"the model's outputs are not all within {_LARGEST_OUTPUT:g} standard deviations "
                "of the training soils; check the spectrum, or export the model again",
            )
        domain, positions = self._model.domain, None
        if domain is not None and smoothed is not None:
            positions = domain.locate_all(smoothed)
        targets = self._model.bundle.manifest.targets
        halves = [
            half_widths(target, column, positions)
            for target, column in zip(targets, outputs.T, strict=True)
        ]
        # Infinite where the bundle states no interval: noise is then never the larger part.
        unlimited = np.full(len(outputs), np.inf)
        known = np.stack([unlimited if half is None else half for half in halves], axis=1)
        by_noise = self._noise.half_widths(absorbance, outputs, known)
        # The model's errors were measured on spectra with next to no noise, so they are independent
        # of those that noise adds, and the half widths add in quadrature.
        found = [
            estimates(
                target, column, None if half is None else _in_quadrature(half, noise), positions
            )
            for target, column, half, noise in zip(
                targets, outputs.T, halves, by_noise.T, strict=True
            )
        ]
        out_of_domain = (
            [position.flags for position in positions] if positions else [[]] * len(outputs)
        )
        noisy = (by_noise > known) & np.isfinite(known)
        return [
            _prediction(targets, row, flags, is_noisy)
            for row, flags, is_noisy in zip(
                zip(*found, strict=True), out_of_domain, noisy.tolist(), strict=True
            )
        ]

    def _outputs(self, absorbance: Array) -> Array:
        """Return the network's standardised outputs `(n, targets)` for absorbance `(n, bands)`."""
        return self._run(self._preprocess.batch(absorbance))

    def _run(self, inputs: Float32) -> Array:
        return self._model.outputs(inputs).astype(np.float64)


def _in_quadrature(halves: Array, others: Array) -> Array:
    return np.array([hypot(*pair) for pair in zip(halves.tolist(), others.tolist(), strict=True)])


def _prediction(
    targets: tuple[Target, ...],
    found: tuple[Estimate, ...],
    out_of_domain: list[str],
    is_noisy: list[bool],
) -> Prediction:
    """Return the prediction of one spectrum with its flags."""
    outside = [
        f"{target.name}:outside_training_range"
        for target, one in zip(targets, found, strict=True)
        if not target.lowest <= one.value <= target.highest
    ]
    noisy = [
        f"{target.name}:noisy" for target, noise in zip(targets, is_noisy, strict=True) if noise
    ]
    named = {target.name: one for target, one in zip(targets, found, strict=True)}
    return Prediction(named, (*out_of_domain, *outside, *noisy))

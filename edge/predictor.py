"""Absorbance -> estimates: a bundle bound to an inference engine and to the wavelengths of an instrument."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.backend import Backend, open_backend
from ccnvr.edge.bundle import Bundle, BundleError, read
from ccnvr.edge.preprocess import Preprocessor, SpectrumError, check_wavelengths
from ccnvr.edge.targets import Estimate, estimate

Array = NDArray[np.float64]

SELF_TEST_TOLERANCE = 1e-3
"""Largest difference from the bundle's own expected outputs, in standardised units (sd of the training soils)."""


# In sd of the training soils; catches NaN and infinity too, and keeps the way back from a logarithm finite.
_LARGEST_OUTPUT = 100.0


class Model:
    """A verified bundle with an engine, proved on its self-test.

    Raises:
        UsageError: the engine is not installed.
        BundleError: the bundle is damaged, or its self-test fails here.
    """

    def __init__(self, bundle_path: str, backend: str = "onnx") -> None:
        self.bundle: Bundle = read(bundle_path)
        self.correction = self.bundle.correction()
        self.backend: Backend = open_backend(backend, self.bundle)
        self.self_test_difference = self._prove()

    def bind(self, wavelengths_nm: Array) -> Predictor:
        """Compile the preprocessing for an instrument.

        Raises:
            WavelengthError: its wavelengths do not cover the model's grid.
        """
        return Predictor(self, wavelengths_nm)

    def _prove(self) -> float:
        test = self.bundle.self_test()
        recipe = self.bundle.manifest.recipe
        try:
            expected = np.array(test.expected)
            # Corrected as in the field: what cannot correct must not pass, for it would answer wrongly ever after.
            inputs = Preprocessor(recipe, recipe.grid.wavelengths(), self.correction).batch(np.array(test.absorbance))
            outputs = self.backend(inputs)
            if not outputs.shape == expected.shape == (len(inputs), len(self.bundle.manifest.targets)):
                raise ValueError(f"{outputs.shape} outputs where {expected.shape} are expected")
            difference = float(np.max(np.abs(outputs - expected)))
        except Exception as error:  # whatever NumPy or the engine raises on spectra or a model of other shapes
            raise BundleError(f"bundle {self.bundle.source} fails its self-test: {error}; export it again") from error
        if not difference <= SELF_TEST_TOLERANCE:
            raise BundleError(
                f"bundle {self.bundle.source} differs from its self-test by {difference:.3g} sd on backend "
                f"{self.backend.name}, limit {SELF_TEST_TOLERANCE}; export it again, or use another backend"
            )
        return difference


class Predictor:
    """Predicts from the absorbance or reflectance of one instrument. Not safe to call from several threads."""

    def __init__(self, model: Model, wavelengths_nm: Array) -> None:
        grid = model.bundle.manifest.recipe.grid
        check_wavelengths(wavelengths_nm, grid)
        first = int(np.searchsorted(wavelengths_nm, grid.start_nm, side="right")) - 1
        last = int(np.searchsorted(wavelengths_nm, grid.stop_nm, side="left"))
        self.bands = slice(first, last + 1)
        """The instrument's bands that the model looks at; noise outside them is nobody's concern."""
        self._model = model
        self._preprocess = Preprocessor(model.bundle.manifest.recipe, wavelengths_nm[self.bands], model.correction)

    def __call__(self, absorbance: Array) -> dict[str, Estimate]:
        """Absorbance `(instrument bands in self.bands,)` -> an estimate for each property.

        Raises:
            SpectrumError: the spectrum has the wrong length or cannot be used.
        """
        outputs = self._model.backend(self._preprocess(absorbance)[None])[0]
        if not np.all(np.abs(outputs) < _LARGEST_OUTPUT):
            raise SpectrumError("not_finite", "the model's answer is no sensible number; check the spectrum, or export again")
        return {
            target.name: estimate(target, float(output))
            for target, output in zip(self._model.bundle.manifest.targets, outputs, strict=True)
        }

    def outside_training(self, estimates: dict[str, Estimate]) -> list[str]:
        """A flag for each property whose estimate lies outside the range of the training soils."""
        return [
            f"{target.name}:outside_training_range"
            for target in self._model.bundle.manifest.targets
            if not target.lowest <= estimates[target.name].value <= target.highest
        ]

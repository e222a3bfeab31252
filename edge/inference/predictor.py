"""Absorbance -> estimates: a bundle bound to an inference engine and to the wavelengths of an
instrument.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import hypot

import numpy as np

from ccnvr.edge.bundle.archive import Bundle, BundleError, SelfTest, read
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain, Position
from ccnvr.edge.chemometrics.grid import check_wavelengths
from ccnvr.edge.chemometrics.noise import NoiseMeter, NoiseTrial
from ccnvr.edge.chemometrics.preprocess import Preprocessor, SpectrumError
from ccnvr.edge.chemometrics.targets import GAUSSIAN_90, Estimate, estimate, half_width
from ccnvr.edge.engines.isolated import IsolatedSession
from ccnvr.edge.engines.registry import AUTO, Choice, EngineError, Session, choose
from ccnvr.edge.engines.worker import Limits
from ccnvr.edge.inference import proved as proof
from ccnvr.firmware_bridge.arrays import Array, Float32

_Expected = tuple[Float32, Array]

SELF_TEST_TOLERANCES = {"fp32": 1e-3, "weights": 1e-3, "int8": 0.2}
"""Largest difference from the bundle's own expected outputs, in standardised units (sd of the
training soils), by profile.

Engines round int8 differently, and now and then by a whole step: up to 0.1 sd. A wrong scale or
gate order is far beyond it.
"""

MODEL_MEMORY = 512 << 20
"""Bytes that a model may take in a process of its own; CCNVR takes a hundredth of it."""

TRIAL_SECONDS = 60
"""Of computing, in a new bundle's trial."""


# In sd of the training soils; catches NaN and infinity too, and keeps the way back from a logarithm
# finite.
_LARGEST_OUTPUT = 100.0

# In absorbance: less than most instruments have, and enough for int8 to notice.
_SOME_NOISE = 1e-4
_TEST_SOILS = 3
# Of an interval's half width. Below, noise widens it by less than 1 in 20, and what it does to
# soils on average is good enough.
_MUCH_NOISE = 0.3


class Model:
    """A verified bundle with an engine, proved on its self-test: when it is new here, in a child
    process first.

    `backend` and `profile` name an engine and an artefact, or are `auto`; `choice` is what was
    taken.

    Raises:
        UsageError: the engine is not installed.
        BundleError: the bundle is damaged, or its self-test fails here.
    """

    def __init__(self, bundle_path: str, backend: str = AUTO, profile: str = AUTO) -> None:
        self.bundle: Bundle = read(bundle_path)
        self.correction: Correction | None = self.bundle.correction()
        self.domain: Domain | None = self.bundle.domain()
        self.choice: Choice = choose(backend, profile, self.bundle)
        test = self._self_test()
        new = not proof.known(self.bundle, self.choice)
        if new:
            self._try(test)
        self.session: Session = self._open()
        self.self_test_difference = self._difference(self.session, test)
        if new:
            proof.remember(self.bundle, self.choice)

    def bind(self, wavelengths_nm: Array) -> Predictor:
        """Compile the preprocessing for an instrument.

        Raises:
            WavelengthError: its wavelengths do not cover the model's grid.
            BundleError: the model fails on the bundle's own soils as the instrument would see them.
        """
        return Predictor(self, wavelengths_nm)

    def outputs(self, inputs: Float32) -> Float32:
        """Model input `(n, channels, bands)` -> standardised outputs `(n, targets)`.

        Raises:
            BundleError: the engine fails on it, or answers in another shape.
        """
        with self._refusal():
            outputs = self.session(inputs)
            if outputs.shape != (len(inputs), len(self.bundle.manifest.targets)):
                raise EngineError(
                    f"it answers in the shape {outputs.shape} to {len(inputs)} spectra"
                )
        return outputs

    def _try(self, test: _Expected) -> None:
        """The self-test in a child process, which a hostile model may crash, hang or fill."""
        engine = self.choice.engine
        engine.load()  # an engine that does not load is no fault of the bundle
        with (
            self._refusal(),
            IsolatedSession(
                engine.name,
                self.bundle.parts[self.choice.part],
                limits=Limits(MODEL_MEMORY, TRIAL_SECONDS),
            ) as trial,
        ):
            self._difference(trial, test)

    def _open(self) -> Session:
        """The engine with the network: here, or in a process of its own."""
        engine, part = self.choice.engine, self.bundle.parts[self.choice.part]
        open_model = engine.load()
        with self._refusal():
            return (
                open_model(part)
                if engine.in_process
                else IsolatedSession(engine.name, part, limits=Limits(MODEL_MEMORY))
            )

    @contextmanager
    def _refusal(self) -> Iterator[None]:
        try:
            yield
        except EngineError as error:
            raise BundleError(
                f"{self.choice.engine.package} refuses the model of bundle {self.bundle.source}: "
                f"{error}; copy it again from "
                "its source, or export it again"
            ) from error

    def _self_test(self) -> _Expected:
        """Model input and expected outputs of the self-test."""
        test: SelfTest = self.bundle.self_test()
        recipe = self.bundle.manifest.recipe
        try:
            # The profile's own where it has one: what it rounds is no fault.
            expected = np.array(test.quantized.get(self.choice.profile, test.expected))
            # Corrected as in the field: what cannot correct must not pass, for it would answer
            # wrongly ever after.
            inputs = Preprocessor(recipe, recipe.grid.wavelengths(), self.correction).batch(
                np.array(test.absorbance)
            )
            if expected.shape != (len(inputs), len(self.bundle.manifest.targets)):
                raise ValueError(f"{expected.shape} expected outputs for {len(inputs)} spectra")
        except Exception as error:  # whatever NumPy raises on spectra of other shapes
            raise BundleError(
                f"bundle {self.bundle.source} fails its self-test: {error}; export it again"
            ) from error
        return inputs, expected

    def _difference(self, backend: Session, test: _Expected) -> float:
        inputs, expected = test
        try:
            outputs = backend(inputs)
            if outputs.shape != expected.shape:
                raise ValueError(f"{outputs.shape} outputs where {expected.shape} are expected")
            difference = float(np.max(np.abs(outputs - expected)))
        except EngineError:
            raise
        except Exception as error:  # whatever the engine raises on a model of other shapes
            raise BundleError(
                f"bundle {self.bundle.source} fails its self-test: {error}; export it again"
            ) from error
        tolerance = SELF_TEST_TOLERANCES[self.choice.profile]
        if not difference <= tolerance:
            raise BundleError(
                f"bundle {self.bundle.source} differs from its self-test by {difference:.3g} sd "
                "on backend "
                f"{backend.name}, profile {self.choice.profile}, limit {tolerance}; export it "
                "again, or use another backend"
            )
        return difference


class Predictor:
    """Predicts from the absorbance or reflectance of one instrument. Not safe to call from several
    threads.
    """

    def __init__(self, model: Model, wavelengths_nm: Array) -> None:
        grid = model.bundle.manifest.recipe.grid
        check_wavelengths(wavelengths_nm, grid)
        first = int(np.searchsorted(wavelengths_nm, grid.start_nm, side="right")) - 1
        last = int(np.searchsorted(wavelengths_nm, grid.stop_nm, side="left"))
        self.bands = slice(first, last + 1)
        """The instrument's bands that the model looks at; noise outside them is nobody's concern.
        """
        self._model = model
        recipe, seen = model.bundle.manifest.recipe, wavelengths_nm[self.bands]
        self._preprocess = Preprocessor(recipe, seen, model.correction)
        self._smooth: Preprocessor | None = None
        if model.domain is not None:
            # Corrected too: the domain knows what the network knows.
            self._smooth = Preprocessor(
                model.domain.shape.recipe(recipe.grid), seen, model.correction
            )
        self._noise_of = NoiseMeter(seen)
        self._moved_by = NoiseTrial(self._outputs, seen, grid)
        self._usual_moves = self._moves_of_test_soils(seen)

    def __call__(self, absorbance: Array) -> dict[str, Estimate]:
        """Absorbance `(instrument bands in self.bands,)` -> an estimate for each property.

        Raises:
            SpectrumError: the spectrum has the wrong length or cannot be used.
        """
        return self.answer(absorbance)[0]

    def answer(self, absorbance: Array) -> tuple[dict[str, Estimate], list[str]]:
        """As a call, and what to know of the answer besides.

        A flag for each distance at which the spectrum is unlike the training soils, for each
        property whose estimate lies outside the range that they had, and for each of whose error
        the spectrum's noise makes the larger part.
        """
        outputs = self._outputs(absorbance)
        if not np.all(np.abs(outputs) < _LARGEST_OUTPUT):
            raise SpectrumError(
                "not_finite",
                "the model's answer is no sensible number; check the spectrum, or export again",
            )
        position = self._locate(absorbance)
        targets = self._model.bundle.manifest.targets
        halves = [
            half_width(target, output, position)
            for target, output in zip(targets, outputs.tolist(), strict=True)
        ]
        by_noise = self._by_noise(
            absorbance, outputs, np.array([np.inf if half is None else half for half in halves])
        )
        estimates, noisy = {}, []
        for target, output, half, noise in zip(
            targets, outputs.tolist(), halves, by_noise.tolist(), strict=True
        ):
            # The training soils' errors hold next to no noise, so the two are independent and both
            # count.
            estimates[target.name] = estimate(
                target, output, None if half is None else hypot(half, noise)
            )
            if half is not None and noise > half:
                noisy.append(f"{target.name}:noisy")
        outside = [
            f"{target.name}:outside_training_range"
            for target in targets
            if not target.lowest <= estimates[target.name].value <= target.highest
        ]
        return estimates, [*(position.flags if position else []), *outside, *noisy]

    def _outputs(self, absorbance: Array) -> Array:
        """The network's standardised outputs `(targets,)`."""
        outputs: Array = self._model.outputs(self._preprocess(absorbance)[None])[0].astype(
            np.float64
        )
        return outputs

    def _by_noise(self, absorbance: Array, outputs: Array, halves: Array) -> Array:
        """What the spectrum's noise adds to the half widths `(targets,)` of its intervals,
        standardised as they are.
        """
        noise = self._noise_of(absorbance)
        usual: Array = GAUSSIAN_90 * float(np.sqrt(np.mean(noise**2))) * self._usual_moves
        if np.all(usual <= _MUCH_NOISE * halves):
            return usual
        # Soils differ in this, and much noise moves an answer to one side, too: ask what as much
        # again does to this one.
        return GAUSSIAN_90 * self._moved_by(absorbance, outputs, noise)

    def _moves_of_test_soils(self, seen: Array) -> Array:
        """How far noise moves each standardised output, for each unit of it in absorbance: of the
        bundle's own test soils.

        Raises:
            BundleError: they are nothing that the instrument could have measured.
        """
        bundle = self._model.bundle
        tested, grid = (
            bundle.self_test().absorbance[:_TEST_SOILS],
            bundle.manifest.recipe.grid.wavelengths(),
        )
        soils, noise = (
            [np.interp(seen, grid, soil) for soil in tested],
            np.full(seen.size, _SOME_NOISE),
        )
        try:
            moves = [self._moved_by(soil, self._outputs(soil), noise) for soil in soils]
        except SpectrumError as error:
            raise BundleError(
                f"bundle {bundle.source} has a self-test that is no soil's ({error}); export it "
                "again"
            ) from error
        usual: Array = np.sqrt(np.mean(np.array(moves) ** 2, axis=0)) / _SOME_NOISE
        return usual

    def _locate(self, absorbance: Array) -> Position | None:
        """The spectrum's place in the domain, where the bundle has one."""
        if self._model.domain is None or self._smooth is None:
            return None
        return self._model.domain.locate(self._smooth(absorbance)[0])

"""A bundle opened on an engine, once it has passed its self-test there.

A bundle that is new on this machine is first tried in a child process, because a malformed model
file can crash an engine, hang it, or make it fill the memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ccnvr.edge.bundle.archive import Bundle, BundleError, SelfTest, opened
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.engines.registry import AUTO, Choice, EngineError, Session, choose
from ccnvr.edge.inference import proofs
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.firmware_bridge.arrays import Array, Float32

if TYPE_CHECKING:
    from ccnvr.edge.engines.isolated import IsolatedSession

_InputsAndOutputs = tuple[Float32, Array]

SELF_TEST_TOLERANCES = {"fp32": 1e-3, "weights": 1e-3, "int8": 0.2}
"""The largest allowed difference from the bundle's expected outputs, by profile.

In standardised units (standard deviations of the training soils). Engines round int8 differently,
and occasionally by a whole step: up to 0.1 sd. A wrong scale or a wrong order of the gates is far
beyond these limits.
"""

MODEL_MEMORY = 512 << 20
"""The memory, in bytes, that a model may take in a process of its own; CCNVR takes 1 % of it."""

TRIAL_SECONDS = 60
"""The CPU time that the trial of a new bundle may take."""


class ProvedModel:
    """A verified bundle opened on an engine, after its self-test has passed.

    Several threads may use it, each with a predictor of its own.

    Args:
        bundle_path: a `.ccnvr` file, or `default:NAME` for a bundle that comes with ccnvr.
        engine: `onnx`, `litert`, `tflite`, `numpy`, or `auto` for the first that is installed.
        profile: `fp32`, `weights`, `int8`, or `auto` for the most precise in the bundle.

    Raises:
        UsageError: there is no such file, or the engine is unknown or not installed.
        BundleError: the bundle is damaged, or its self-test fails on the engine.
    """

    def __init__(self, bundle_path: str | Path, engine: str = AUTO, profile: str = AUTO) -> None:
        self.bundle: Bundle = opened(bundle_path)
        self.correction: Correction | None = self.bundle.correction()
        self.domain: Domain | None = self.bundle.domain()
        self.choice: Choice = choose(
            engine, profile, self.bundle.source, self.bundle.manifest.parts
        )
        # Before any engine sees the model, so that a malformed self-test is reported as such.
        test = self._self_test()
        new = not proofs.known(self.bundle, self.choice)
        if new:
            # What another engine would load too: a damaged copy is noticed when it arrives.
            self.bundle.verify()
        content = self.bundle.parts[self.choice.model_file]
        if new:
            self._try(content, test)
        self.session: Session = self._open(content)
        # Most engines run one network at a time. When an instrument is connected again, the daemon
        # binds the model to it while scans of the former connection are still predicted.
        self._one_at_a_time = threading.Lock()
        self.self_test_difference = self._difference(self.session, test)
        """The largest difference from the expected outputs, in standardised units."""
        if new:
            proofs.remember(self.bundle, self.choice)

    def bind(self, wavelengths_nm: Array) -> Predictor:
        """Return a predictor for an instrument, with the preprocessing compiled for it.

        Args:
            wavelengths_nm: the wavelengths of the instrument's bands, in nm, increasing.

        Raises:
            WavelengthError: the wavelengths do not cover the model's grid.
            BundleError: the model fails on the bundle's self-test soils at these wavelengths.
        """
        return Predictor(self, wavelengths_nm)

    def for_wavelengths(self, wavelengths_nm: Array) -> ProvedModel:
        """Return the model itself, as `ModelFamily` returns the one for an instrument's bands."""
        return self

    def outputs(self, inputs: Float32) -> Float32:
        """Return standardised outputs `(n, targets)` for model input `(n, channels, bands)`.

        Raises:
            BundleError: the engine fails, or returns another shape.
        """
        # Not by the context manager of errors, which takes longer than the rest of this.
        try:
            with self._one_at_a_time:
                outputs = self.session(inputs)
            expected = (len(inputs), len(self.bundle.manifest.targets))
            if outputs.shape != expected:
                raise EngineError(f"its outputs have shape {outputs.shape} instead of {expected}")
        except EngineError as error:
            raise self._refused(error) from error
        return outputs

    def _try(self, content: bytes, test: _InputsAndOutputs) -> None:
        """Run the self-test in a child process, with limits on memory and CPU time."""
        engine = self.choice.engine
        engine.load()  # here first: an engine that does not load is not the bundle's fault
        with (
            self._engine_errors_explained(),
            _isolated(engine.name, content, TRIAL_SECONDS) as trial,
        ):
            self._difference(trial, test)

    def _open(self, content: bytes) -> Session:
        """Open the model file on the engine, in this process or in one of its own."""
        engine = self.choice.engine
        open_model = engine.load()
        with self._engine_errors_explained():
            if engine.in_process:
                return open_model(content)
            return _isolated(engine.name, content)

    @contextmanager
    def _engine_errors_explained(self) -> Iterator[None]:
        """Turn an `EngineError` into a `BundleError` that names the engine and the bundle."""
        try:
            yield
        except EngineError as error:
            raise self._refused(error) from error

    def _refused(self, error: EngineError) -> BundleError:
        return BundleError(
            f"{self.choice.engine.package} refuses the model of bundle {self.bundle.source}: "
            f"{error}; copy the bundle again from its source, or export it again"
        )

    def _self_test(self) -> _InputsAndOutputs:
        """Return model input and expected outputs of the self-test."""
        test: SelfTest = self.bundle.self_test()
        preprocessing = self.bundle.manifest.preprocessing
        try:
            # A profile may have expected outputs of its own, which include its rounding.
            expected = np.array(test.quantized.get(self.choice.profile, test.expected))
            # The correction is applied as in the field, so that a wrong one fails here instead of
            # spoiling every prediction.
            preprocess = Preprocessor(
                preprocessing, preprocessing.grid.wavelengths(), self.correction
            )
            inputs = preprocess.batch(np.array(test.absorbance))
            if expected.shape != (len(inputs), len(self.bundle.manifest.targets)):
                raise ValueError(f"{expected.shape} expected outputs for {len(inputs)} spectra")
        except Exception as error:  # whatever NumPy raises on ragged or misshapen lists
            raise self._failed_self_test(error) from error
        return inputs, expected

    def _difference(self, session: Session, test: _InputsAndOutputs) -> float:
        """Return the largest difference from the expected outputs, in standardised units.

        Raises:
            EngineError: the engine fails.
            BundleError: the difference exceeds the profile's tolerance.
        """
        inputs, expected = test
        try:
            outputs = session(inputs)
            if outputs.shape != expected.shape:
                raise ValueError(f"{outputs.shape} outputs where {expected.shape} are expected")
            difference = float(np.max(np.abs(outputs - expected)))
        except EngineError:
            raise
        except Exception as error:  # whatever an engine raises on a model of other shapes
            raise self._failed_self_test(error) from error
        tolerance = SELF_TEST_TOLERANCES[self.choice.profile]
        if not difference <= tolerance:  # written so that NaN fails
            raise BundleError(
                f"bundle {self.bundle.source} differs from its self-test by {difference:.3g} sd "
                f"on engine {session.name}, profile {self.choice.profile}, where {tolerance} is "
                "the limit; export it again, or use another engine"
            )
        return difference

    def _failed_self_test(self, error: Exception) -> BundleError:
        return BundleError(
            f"bundle {self.bundle.source} fails its self-test: {error}; export it again"
        )


def _isolated(engine: str, content: bytes, cpu_seconds: int = 0) -> IsolatedSession:
    """Open a model file in a process of its own, with limits on memory and CPU time."""
    # Imported here, because most models run in this process, and that of others takes long.
    from ccnvr.edge.engines.isolated import IsolatedSession
    from ccnvr.edge.engines.worker import Limits

    return IsolatedSession(engine, content, limits=Limits(MODEL_MEMORY, cpu_seconds))

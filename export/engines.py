"""The engines that an export is proved on, each with the model format that it reads."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ccnvr.edge.engines import litert, numpy_reference, onnx
from ccnvr.edge.engines.isolated import IsolatedSession
from ccnvr.edge.engines.registry import ENGINES, EngineError, Session
from ccnvr.export.c_array import MicroSession, is_installed
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.firmware_bridge.errors import UsageError

NUMPY = "numpy"
ONNXRUNTIME = "onnxruntime"
LITERT = "litert"
LITERT_PLAIN = "litert without XNNPACK"
TFLITE_RUNTIME = "tflite-runtime"
TFLITE_MICRO = "TFLite Micro"
MICRO_ON_LITERT = "C array on litert"
"""The stand-in where TFLite Micro is not installed: LiteRT's plain kernels run the same model file,
and most of TFLite Micro's kernels are derived from them.
"""

# Enough for an engine to be fast, and few enough that its layers stay small in memory.
_SPECTRA_AT_ONCE = 64
_PYTHON_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ProofEngine:
    """An engine in one configuration, which reads model files of one `format`."""

    name: str
    format: str
    open_model: Callable[[bytes], Session]

    def outputs(self, model: bytes, inputs: Float32) -> Float32:
        """Return a model file's outputs `(n, targets)` for model inputs `(n, channels, bands)`.

        Raises:
            EngineError: the engine refuses the model file.
        """
        session = self.open_model(model)
        # Only a session in a process of its own holds something that has to be closed.
        with closing(session) if isinstance(session, IsolatedSession) else nullcontext():
            starts = range(0, len(inputs), _SPECTRA_AT_ONCE)
            return np.concatenate(
                [session(inputs[start : start + _SPECTRA_AT_ONCE]) for start in starts]
            )


def available(tflite_python: Path | None = None) -> list[ProofEngine]:
    """Return the engines that can be used here.

    Args:
        tflite_python: a Python interpreter in whose environment tflite-runtime and this ccnvr are
            installed, which adds tflite-runtime to the list.

    Raises:
        UsageError: `tflite_python` cannot run tflite-runtime.
    """
    engines = [
        # The oracle first: what others are compared with is proved before them.
        ProofEngine(NUMPY, "network", numpy_reference.open_model),
        ProofEngine(ONNXRUNTIME, "onnx", onnx.open_model),
        ProofEngine(LITERT, "tflite", litert.open_model),
        # What LiteRT computes where XNNPACK is missing or refuses an operator.
        ProofEngine(LITERT_PLAIN, "tflite", partial(litert.LiteRtSession, xnnpack=False)),
    ]
    if tflite_python is not None:
        _check_python(tflite_python)
        engines.append(
            ProofEngine(TFLITE_RUNTIME, "tflite", partial(_open_elsewhere, python=tflite_python))
        )
    return engines


def micro_engine() -> ProofEngine:
    """Return the engine for model files of TFLite Micro.

    It is TFLite Micro itself where that is installed, and LiteRT otherwise.
    """
    if is_installed():
        return ProofEngine(TFLITE_MICRO, "tflite", MicroSession)
    return ProofEngine(MICRO_ON_LITERT, "tflite", partial(litert.LiteRtSession, xnnpack=False))


def _check_python(python: Path) -> None:
    """Check that a Python interpreter can load tflite-runtime through this ccnvr.

    It is asked before the export begins, because quantizing and proving take minutes.
    """
    question = (
        "from ccnvr.edge.engines.registry import ENGINES; ENGINES['tflite'].load(); "
        "print('ccnvr has it')"
    )
    try:
        # -P keeps the working directory off its path, where another ccnvr may lie.
        reply = subprocess.run(
            [python, "-P", "-c", question],
            capture_output=True,
            text=True,
            timeout=_PYTHON_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise UsageError(
            f"{python} is not a Python interpreter that runs; give one with tflite-runtime, "
            "numpy 1 and ccnvr installed"
        ) from None
    if reply.stdout.strip() != "ccnvr has it":
        lines = reply.stderr.strip().splitlines() or ["it printed nothing"]
        reason = lines[-1].split("Error: ", 1)[-1]
        raise UsageError(
            f"{python} does not run tflite-runtime under ccnvr ({reason}); install both there: "
            f"ccnvr, and {ENGINES['tflite'].install}"
        )


def _open_elsewhere(model: bytes, python: Path) -> Session:
    try:
        return IsolatedSession("tflite", model, python=python)
    except EngineError as error:
        raise EngineError(f"{error} (in {python})") from error

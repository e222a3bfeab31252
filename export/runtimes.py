"""The engines that an export is proved on, each with the artefact that it runs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ccnvr.edge.engines import litert as litert_backend
from ccnvr.edge.engines import numpy_reference as numpy_backend
from ccnvr.edge.engines import onnx as onnx_backend
from ccnvr.edge.engines.isolated import IsolatedSession
from ccnvr.edge.engines.registry import ENGINES, EngineError, Session
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.firmware_bridge.errors import UsageError

NUMPY = "numpy"
ONNXRUNTIME = "onnxruntime"
LITERT = "litert"
LITERT_PLAIN = "litert without XNNPACK"
TFLITE_RUNTIME = "tflite-runtime"
TFLITE_MICRO = "TFLite Micro"
MICRO_ON_LITERT = "C array on litert"
"""The model for TFLite Micro, where that is not installed: by LiteRT's plain kernels, most of which
are alike.
"""

_SPECTRA_AT_ONCE = 64
_SECONDS = 60.0


@dataclass(frozen=True)
class Runtime:
    """An engine that runs artefacts of `kind`, one of `bundle.MODEL_FORMATS`."""

    name: str
    kind: str
    open_model: Callable[[bytes], Session]

    def outputs(self, model: bytes, inputs: Float32) -> Float32:
        """Model input `(n, channels, bands)` -> `(n, targets)` by an artefact.

        Raises:
            EngineError: the engine refuses it.
        """
        backend = self.open_model(model)
        with closing(backend) if isinstance(backend, IsolatedSession) else nullcontext():
            starts = range(0, len(inputs), _SPECTRA_AT_ONCE)
            return np.concatenate(
                [backend(inputs[start : start + _SPECTRA_AT_ONCE]) for start in starts]
            )


def available(tflite_python: Path | None = None) -> list[Runtime]:
    """All of them here; tflite-runtime if `tflite_python` is a Python that has it, and this ccnvr.

    Raises:
        UsageError: that Python does not run it.
    """
    runtimes = [
        Runtime(NUMPY, "network", numpy_backend.open_model),
        Runtime(ONNXRUNTIME, "onnx", onnx_backend.open_model),
        Runtime(LITERT, "tflite", litert_backend.open_model),
        Runtime(LITERT_PLAIN, "tflite", partial(litert_backend.LiteRtSession, xnnpack=False)),
    ]
    if tflite_python is not None:
        _check_python(tflite_python)
        runtimes.append(
            Runtime(TFLITE_RUNTIME, "tflite", partial(_elsewhere, python=tflite_python))
        )
    return runtimes


def _check_python(python: Path) -> None:
    """Before the long work: whether it runs tflite-runtime under this ccnvr."""
    question = (
        "from ccnvr.edge.engines.registry import ENGINES; ENGINES['tflite'].load(); "
        "print('ccnvr has it')"
    )
    try:
        answer = subprocess.run(
            [python, "-P", "-c", question],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise UsageError(
            f"{python} is no Python; give one with tflite-runtime, numpy 1 and ccnvr installed"
        ) from None
    if answer.stdout.strip() != "ccnvr has it":
        last = (answer.stderr.strip().splitlines() or ["it says nothing"])[-1].split("Error: ", 1)[
            -1
        ]
        raise UsageError(
            f"{python} does not run tflite-runtime under ccnvr ({last}); install both there: "
            "ccnvr, and "
            f"{ENGINES['tflite'].install}"
        )


def _elsewhere(model: bytes, python: Path) -> Session:
    try:
        return IsolatedSession("tflite", model, python=python)
    except EngineError as error:
        raise EngineError(f"{error} (in {python})") from error

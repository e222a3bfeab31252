"""Runs a bundle's network. One `Backend` protocol; onnxruntime is the only engine so far."""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.bundle import ONNX_FP32, Bundle, BundleError
from ccnvr.firmware_bridge.errors import UsageError

Float32 = NDArray[np.float32]


class Backend(Protocol):
    """An inference engine with a network in it."""

    name: str

    def __call__(self, inputs: Float32) -> Float32:
        """Model input `(n, channels, bands)` -> standardised outputs `(n, targets)`."""
        ...


class OnnxBackend:
    """onnxruntime on one thread: a scan is small, and a Raspberry Pi's other cores have other work.

    Raises:
        UsageError: onnxruntime is not installed.
        BundleError: the bundle has no such model, or the engine refuses it.
    """

    name = "onnx"

    def __init__(self, bundle: Bundle) -> None:
        # onnxruntime's telemetry writes a device id to disk and looks for a server; a soil instrument does neither.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        try:
            import onnxruntime
        except ImportError as error:
            why = "" if error.name == "onnxruntime" else f", which is here but does not load ({error})"
            raise UsageError(f"the backend onnx needs onnxruntime{why}; run: pip install 'ccnvr[onnx]'") from None
        if ONNX_FP32 not in bundle.parts:
            raise BundleError(f"bundle {bundle.source} has no {ONNX_FP32}; export it with that part")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(bundle.parts[ONNX_FP32], options, providers=["CPUExecutionProvider"])
            self._input = self._session.get_inputs()[0].name
        except Exception as error:  # onnxruntime raises a dozen types that share no base of its own
            raise BundleError(f"onnxruntime refuses the model of bundle {bundle.source}: {error}; export it again") from error

    def __call__(self, inputs: Float32) -> Float32:
        """See `Backend`."""
        (outputs,) = self._session.run(None, {self._input: inputs})
        return np.asarray(outputs, dtype=np.float32)


BACKENDS = {"onnx": OnnxBackend}


def open_backend(name: str, bundle: Bundle) -> Backend:
    """The engine of that name with the bundle's network.

    Raises:
        UsageError: no such backend, or it is not installed.
        BundleError: the engine refuses the model.
    """
    if name not in BACKENDS:
        raise UsageError(f"backend {name!r} is not one of {', '.join(BACKENDS)}")
    return BACKENDS[name](bundle)

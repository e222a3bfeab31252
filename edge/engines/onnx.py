"""Runs the ONNX artefact on onnxruntime."""

from __future__ import annotations

import os

import numpy as np

from ccnvr.edge.engines.registry import EngineError
from ccnvr.firmware_bridge.arrays import Float32

# onnxruntime's telemetry writes a device id to disk and looks for a server; a soil instrument does
# neither.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime


class OnnxSession:
    """onnxruntime on one thread: a scan is small, and a Raspberry Pi's other cores have other work.

    Raises:
        EngineError: it refuses the model.
    """

    name = "onnx"

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Where the key stands, weights lie in a file beside the model, and no checksum of the
        # bundle is theirs.
        if b"location" in model:
            raise EngineError("its weights lie in another file")
        try:
            # Without its fallback, which tries the same again and tells standard output.
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            self._input = self._session.get_inputs()[0].name
        except Exception as error:  # onnxruntime raises a dozen types that share no base of its own
            raise EngineError(error) from error

    def __call__(self, inputs: Float32) -> Float32:
        """See `Session`.

        Raises:
            EngineError: it fails on these inputs.
        """
        try:
            (outputs,) = self._session.run(None, {self._input: inputs})
        except Exception as error:  # see above
            raise EngineError(error) from error
        return np.asarray(outputs, dtype=np.float32)


open_model = OnnxSession

"""Sessions on onnxruntime, from ONNX model files."""

from __future__ import annotations

import os

import numpy as np

from ccnvr.edge.engines.registry import EngineError
from ccnvr.firmware_bridge.arrays import Float32

# onnxruntime's telemetry writes a device id to disk and contacts a server. It reads this variable
# when it is imported, so the import must come after this line.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime


class OnnxSession:
    """A network opened on onnxruntime.

    It runs on one thread: a spectrum is too small to gain from more, and the other cores of a
    Raspberry Pi have other work.

    Raises:
        EngineError: onnxruntime refuses the model.
    """

    name = "onnx"

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # fatal errors only; others are raised as exceptions
        # ONNX uses this key for weights in a separate file, which would escape the checksums of
        # the bundle and could be any file on this machine.
        if b"location" in model:
            raise EngineError("its weights are in another file")
        try:
            # The fallback would only try the same provider again and print to standard output.
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            self._input = self._session.get_inputs()[0].name
            self._outputs = [one.name for one in self._session.get_outputs()]
        except Exception as error:  # onnxruntime's exceptions have no base class of their own
            raise EngineError(error) from error

    def __call__(self, inputs: Float32) -> Float32:
        """Run the network, see `Session`.

        Raises:
            EngineError: onnxruntime fails on these inputs.
        """
        try:
            (outputs,) = self._session.run(self._outputs, {self._input: inputs})
        except Exception as error:  # as above
            raise EngineError(error) from error
        return np.asarray(outputs, dtype=np.float32)


open_model = OnnxSession

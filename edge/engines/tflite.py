"""Runs the TFLite artefact on tflite-runtime, which 32-bit Raspberry Pi systems have and which
needs numpy 1.
"""

from __future__ import annotations

from tflite_runtime.interpreter import Interpreter

from ccnvr.edge.engines.tflite_interpreter import TfliteInterpreter


class TfliteSession(TfliteInterpreter):
    """tflite-runtime on one thread.

    Raises:
        EngineError: it refuses the model.
    """

    name = "tflite"

    def __init__(self, model: bytes) -> None:
        super().__init__(lambda: Interpreter(model_content=model, num_threads=1))


open_model = TfliteSession

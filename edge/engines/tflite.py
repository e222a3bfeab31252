"""Sessions on tflite-runtime, from TFLite model files.

32-bit Raspberry Pi systems have no LiteRT but this older library, which needs numpy 1.
"""

from __future__ import annotations

from tflite_runtime.interpreter import Interpreter

from ccnvr.edge.engines.tflite_interpreter import TfliteInterpreter


class TfliteSession(TfliteInterpreter):
    """A network opened on tflite-runtime, on one thread.

    Raises:
        EngineError: tflite-runtime refuses the model.
    """

    name = "tflite"

    def __init__(self, model: bytes) -> None:
        super().__init__(lambda: Interpreter(model_content=model, num_threads=1))


open_model = TfliteSession

"""Runs the TFLite artefact on LiteRT, with its XNNPACK kernels or, to compare, without."""

from __future__ import annotations

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from ccnvr.edge.engines.tflite_interpreter import TfliteInterpreter


class LiteRtSession(TfliteInterpreter):
    """LiteRT on one thread.

    Raises:
        EngineError: it refuses the model.
    """

    name = "litert"

    def __init__(self, model: bytes, *, xnnpack: bool = True) -> None:
        resolver = (
            OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        super().__init__(
            lambda: Interpreter(
                model_content=model, num_threads=1, experimental_op_resolver_type=resolver
            )
        )


open_model = LiteRtSession

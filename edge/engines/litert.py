"""Sessions on LiteRT, from TFLite model files."""

from __future__ import annotations

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from ccnvr.edge.engines.tflite_interpreter import TfliteInterpreter


class LiteRtSession(TfliteInterpreter):
    """A network opened on LiteRT, on one thread.

    `xnnpack` chooses LiteRT's optimised kernels; exports are also compared without them.

    Raises:
        EngineError: LiteRT refuses the model.
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

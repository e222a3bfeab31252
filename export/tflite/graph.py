"""A builder of TFLite models: tensors, operators and subgraphs, then the flatbuffer.

It knows nothing of CCNVR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

Operator = schema.BuiltinOperator

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}
_ALIGNMENT = 16
FILE_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_LARGEST_OLD_CODE = 127


@dataclass(frozen=True)
class Quantization:
    """The meaning of an integer tensor: an integer q stands for `scale x (q - zero_point)`.

    There is one scale for the tensor, or one for each entry of the first axis.
    """

    scale: float | NDArray[np.float32]
    zero_point: int = 0


class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A flatbuffer builder that aligns constants.

    The schema asks for it, because kernels load constants as vectors, but the generated Python code
    does not do it.
    """

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802
        """Add a constant, aligned for the widest vectors."""
        self.Prep(_ALIGNMENT, x.nbytes)
        return int(super().CreateNumpyVector(x))


class ModelBuilder:
    """A model under construction, whose first subgraph is the one that runs.

    Args:
        description: a text in the file.
        one_scale: the interpreter's DEQUANTIZE takes a single scale for a tensor.
    """

    def __init__(self, description: str, *, one_scale: bool = False) -> None:
        self.one_scale = one_scale
        self._model = schema.ModelT()
        self._model.version = _SCHEMA_VERSION
        self._model.description = description
        # By convention the first buffer is empty and belongs to all tensors without content.
        self._model.buffers = [schema.BufferT()]
        self._model.operatorCodes = []
        self._model.subgraphs = []
        self._codes: dict[tuple[int, int], int] = {}

    def subgraph(self, name: str) -> Subgraph:
        """Add an empty subgraph."""
        graph = Subgraph(self, name, len(self._model.subgraphs))
        self._model.subgraphs.append(graph.content)
        return graph

    def buffer(self, content: NDArray[Any]) -> int:
        """Add a constant and return its index."""
        buffer = schema.BufferT()
        # As raw bytes: the file knows no types of constants, and a tensor states how to read them.
        buffer.data = np.frombuffer(np.ascontiguousarray(content).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return len(self._model.buffers) - 1

    def code(self, operator: int, version: int) -> int:
        """Return the index of an operator in that version, added if it is new."""
        if (operator, version) not in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = operator
            # Interpreters from before there were more than 127 operators read this byte instead.
            code.deprecatedBuiltinCode = min(operator, _LARGEST_OLD_CODE)
            code.version = version
            self._codes[operator, version] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._codes[operator, version]

    def to_bytes(self) -> bytes:
        """Return the model as a file."""
        # Only the size to begin with; the builder grows.
        builder = AlignedBuilder(1 << 16)
        builder.Finish(self._model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())


class Subgraph:
    """A subgraph under construction; its methods take and return tensors by their index."""

    def __init__(self, model: ModelBuilder, name: str, index: int) -> None:
        self._model = model
        self.one_scale = model.one_scale
        self.index = index
        self.content = schema.SubGraphT()
        self.content.name = name
        self.content.tensors, self.content.operators = [], []
        self.content.inputs, self.content.outputs = [], []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: type[np.generic] | np.dtype[Any] = np.float32,
        quantization: Quantization | None = None,
        buffer: int = 0,
    ) -> int:
        """Add a tensor."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = list(shape)
        tensor.type = _TYPES[np.dtype(dtype)]
        tensor.buffer = buffer
        if quantization is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale = np.atleast_1d(np.asarray(quantization.scale, dtype=np.float32))
            parameters.zeroPoint = np.full(
                parameters.scale.shape, quantization.zero_point, dtype=np.int64
            )
            tensor.quantization = parameters
        self.content.tensors.append(tensor)
        return len(self.content.tensors) - 1

    def input(self, name: str, shape: Sequence[int], dtype: type[np.generic] = np.float32) -> int:
        """Add a tensor that the subgraph takes as input."""
        self.content.inputs.append(self.tensor(name, shape, dtype))
        return int(self.content.inputs[-1])

    def constant(
        self, name: str, value: NDArray[Any], quantization: Quantization | None = None
    ) -> int:
        """Add a tensor with content."""
        return self.tensor(name, value.shape, value.dtype, quantization, self._model.buffer(value))

    def integers(self, name: str, *values: int) -> int:
        """Add a constant of int32 `(values,)`, such as a shape or an axis."""
        return self.constant(name, np.array(values, dtype=np.int32))

    def operator(
        self,
        operator: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        version: int = 1,
        options: Any = None,
    ) -> None:
        """Append an operator; `options` is an object of the schema, as `SplitOptionsT`."""
        node = schema.OperatorT()
        node.opcodeIndex = self._model.code(operator, version)
        node.inputs, node.outputs = list(inputs), list(outputs)
        if options is not None:
            node.builtinOptions = options
            # The schema names the type of `SplitOptionsT` `SplitOptions`.
            node.builtinOptionsType = getattr(
                schema.BuiltinOptions, type(options).__name__.removesuffix("T")
            )
        self.content.operators.append(node)

    def apply(
        self,
        operator: int,
        name: str,
        shape: Sequence[int],
        *inputs: int,
        version: int = 1,
        options: Any = None,
    ) -> int:
        """Append an operator of one float output of that name and shape; return the output."""
        output = self.tensor(name, shape)
        self.operator(operator, inputs, [output], version, options)
        return output

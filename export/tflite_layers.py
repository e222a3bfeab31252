"""The layers that the TFLite writer is made of: convolution, fully connected, and weights stored as int8."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ccnvr.edge.quantized import Activation, ConvolutionLayer, StoredInt8, Weight, as_float
from ccnvr.export.tflite_graph import Operator, Quantization, Subgraph

NONE, RELU = schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU


def weight(graph: Subgraph, name: str, value: Weight) -> int:
    """A weight as floats: a constant, or an int8 constant through DEQUANTIZE, which the interpreter does once."""
    if not isinstance(value, StoredInt8):
        return graph.constant(name, value)
    stored = graph.constant(f"{name}.int8", value.values, Quantization(value.scales))
    options = schema.DequantizeOptionsT()
    return graph.apply(Operator.DEQUANTIZE, name, value.values.shape, stored, version=5, options=options)


def fully_connected(
    graph: Subgraph, name: str, value: int, rows: int, weights: Weight, bias: NDArray[np.float32], activation: int = NONE
) -> int:
    """`(rows, inputs)` -> `(rows, outputs)` with weights `(outputs, inputs)`."""
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = activation
    options.keepNumDims = False
    constants = weight(graph, f"{name}.weight", weights), graph.constant(f"{name}.bias", bias)
    shape = (rows, len(bias))
    return graph.apply(Operator.FULLY_CONNECTED, name, shape, value, *constants, options=options)


def convolution(
    graph: Subgraph,
    name: str,
    value: int,
    bands: int,
    layer: ConvolutionLayer,
    activations: tuple[Activation, Activation] | None,
) -> int:
    """`(1, 1, bands, channels)` -> `(1, 1, bands, filters)`, same padding, ReLU; int8 between the two activations given."""
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = RELU
    shape = (1, 1, bands, len(layer.bias))
    if activations is None:
        kernel = weight(graph, f"{name}.weight", _as_image(layer.weight))
        inputs = [value, kernel, graph.constant(f"{name}.bias", layer.bias)]
        return graph.apply(Operator.CONV_2D, name, shape, *inputs, options=options)
    before, after = activations
    stored = _as_image(layer.weight)
    assert isinstance(stored, StoredInt8)
    kernel = graph.constant(f"{name}.weight", stored.values, Quantization(stored.scales))
    # The accumulator's units, in the float32 that the kernels compare with the product of the other two scales.
    bias = graph.constant(f"{name}.bias", layer.bias, Quantization(np.float32(before.scale) * stored.scales))
    output = graph.tensor(name, shape, np.int8, _of(after))
    graph.operator(Operator.CONV_2D, [value, kernel, bias], [output], version=3, options=options)
    return output


def max_pool(graph: Subgraph, name: str, value: int, shape: tuple[int, ...], pool: int, activation: Activation | None) -> int:
    """The largest of each `pool` bands, which gives `shape`; what does not fill a pool is left out."""
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideW = options.filterWidth = pool
    options.strideH = options.filterHeight = 1
    options.fusedActivationFunction = NONE
    if activation is None:
        return graph.apply(Operator.MAX_POOL_2D, name, shape, value, options=options)
    output = graph.tensor(name, shape, np.int8, _of(activation))
    graph.operator(Operator.MAX_POOL_2D, [value], [output], version=2, options=options)
    return output


def quantize(graph: Subgraph, name: str, value: int, shape: tuple[int, ...], activation: Activation) -> int:
    """Floats -> int8."""
    output = graph.tensor(name, shape, np.int8, _of(activation))
    graph.operator(Operator.QUANTIZE, [value], [output], options=schema.QuantizeOptionsT())
    return output


def dequantize(graph: Subgraph, name: str, value: int, shape: tuple[int, ...]) -> int:
    """int8 -> floats."""
    return graph.apply(Operator.DEQUANTIZE, name, shape, value, version=2, options=schema.DequantizeOptionsT())


def _of(activation: Activation) -> Quantization:
    return Quantization(activation.scale, activation.zero_point)


def _as_image(value: Weight) -> Any:
    """`(filters, channels, kernel)` -> `(filters, 1, kernel, channels)`."""
    if isinstance(value, StoredInt8):
        return StoredInt8(value.values.transpose(0, 2, 1)[:, None], value.scales)
    return as_float(value).transpose(0, 2, 1)[:, None]

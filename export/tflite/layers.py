"""The layers that the TFLite writer is made of: convolution, fully connected, and weights stored as
int8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ccnvr.edge.network.layers import Activation, ConvolutionLayer, StoredInt8, Weight, as_float
from ccnvr.export.tflite.graph import Operator, Quantization, Subgraph

NONE, RELU = schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU

_NOTHING = -1
"""In place of an input that an operator can do without."""


def weight(graph: Subgraph, name: str, value: Weight) -> int:
    """A weight as floats: a constant, or an int8 constant through DEQUANTIZE, which the interpreter
    does once.
    """
    if not isinstance(value, StoredInt8):
        return graph.constant(name, value)
    stored = graph.constant(f"{name}.int8", value.values, Quantization(value.scales))
    options = schema.DequantizeOptionsT()
    return graph.apply(
        Operator.DEQUANTIZE, name, value.values.shape, stored, version=5, options=options
    )


def fully_connected(
    graph: Subgraph,
    name: str,
    value: int,
    rows: int,
    weights: Weight,
    bias: NDArray[np.float32] | None,
    activation: int = NONE,
) -> int:
    """`(rows, inputs)` -> `(rows, outputs)` with weights `(outputs, inputs)`."""
    if graph.one_scale and isinstance(weights, StoredInt8):
        return _scaled_after(graph, name, value, rows, weights, bias, activation)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = activation
    options.keepNumDims = False
    kernel = weight(graph, f"{name}.weight", weights)
    added = _NOTHING if bias is None else graph.constant(f"{name}.bias", bias)
    shape = (rows, len(weights.values if isinstance(weights, StoredInt8) else weights))
    return graph.apply(Operator.FULLY_CONNECTED, name, shape, value, kernel, added, options=options)


def _scaled_after(
    graph: Subgraph,
    name: str,
    value: int,
    rows: int,
    weights: StoredInt8,
    bias: NDArray[np.float32] | None,
    activation: int,
) -> int:
    """The product with the whole numbers of the weights; then each output has its scale, and its
    bias.
    """
    stored = graph.constant(f"{name}.weight.int8", weights.values, Quantization(1.0))
    options = schema.DequantizeOptionsT()
    whole = graph.apply(
        Operator.DEQUANTIZE,
        f"{name}.weight",
        weights.values.shape,
        stored,
        version=2,
        options=options,
    )
    shape = (rows, len(weights.values))
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = False
    sums = graph.apply(
        Operator.FULLY_CONNECTED, f"{name}.sums", shape, value, whole, _NOTHING, options=options
    )
    scales = graph.constant(f"{name}.scales", weights.scales[None])
    if bias is None:
        options = schema.MulOptionsT()
        options.fusedActivationFunction = activation
        return graph.apply(Operator.MUL, name, shape, sums, scales, options=options)
    scaled = graph.apply(
        Operator.MUL, f"{name}.scaled", shape, sums, scales, options=schema.MulOptionsT()
    )
    options = schema.AddOptionsT()
    options.fusedActivationFunction = activation
    return graph.apply(
        Operator.ADD,
        name,
        shape,
        scaled,
        graph.constant(f"{name}.bias", bias[None]),
        options=options,
    )


def convolution(
    graph: Subgraph,
    name: str,
    value: int,
    bands: int,
    layer: ConvolutionLayer,
    activations: tuple[Activation, Activation] | None,
) -> int:
    """`(1, 1, bands, channels)` -> `(1, 1, bands, filters)`, same padding, ReLU; int8 between the
    two activations given.
    """
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
    # The accumulator's units, in the float32 that the kernels compare with the product of the other
    # two scales.
    bias = graph.constant(
        f"{name}.bias", layer.bias, Quantization(np.float32(before.scale) * stored.scales)
    )
    output = graph.tensor(name, shape, np.int8, _of(after))
    graph.operator(Operator.CONV_2D, [value, kernel, bias], [output], version=3, options=options)
    return output


def max_pool(
    graph: Subgraph,
    name: str,
    value: int,
    shape: tuple[int, ...],
    pool: int,
    activation: Activation | None,
) -> int:
    """The largest of each `pool` bands, which gives `shape`; what does not fill a pool is
    left out.
    """
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


def quantize(
    graph: Subgraph, name: str, value: int, shape: tuple[int, ...], activation: Activation
) -> int:
    """Floats -> int8."""
    output = graph.tensor(name, shape, np.int8, _of(activation))
    graph.operator(Operator.QUANTIZE, [value], [output], options=schema.QuantizeOptionsT())
    return output


def dequantize(graph: Subgraph, name: str, value: int, shape: tuple[int, ...]) -> int:
    """int8 -> floats."""
    return graph.apply(
        Operator.DEQUANTIZE, name, shape, value, version=2, options=schema.DequantizeOptionsT()
    )


def _of(activation: Activation) -> Quantization:
    return Quantization(activation.scale, activation.zero_point)


def _as_image(value: Weight) -> Any:
    """`(filters, channels, kernel)` -> `(filters, 1, kernel, channels)`."""
    if isinstance(value, StoredInt8):
        return StoredInt8(value.values.transpose(0, 2, 1)[:, None], value.scales)
    return as_float(value).transpose(0, 2, 1)[:, None]

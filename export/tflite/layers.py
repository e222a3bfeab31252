"""The layers of a TFLite model: convolutions, fully connected layers, and int8 weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ccnvr.edge.network.layers import Activation, ConvolutionLayer, StoredInt8, Weight, as_float
from ccnvr.export.tflite.graph import Operator, Quantization, Subgraph

NONE, RELU = schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU

# An operator's version is the lowest that has the feature in use, so that an interpreter too old
# for it refuses the model instead of misreading it. DEQUANTIZE of int8 is 2, and 5 with a scale for
# each output; CONV_2D in int8 is 3, and MAX_POOL_2D in int8 is 2.

_NOTHING = -1
"""The index that stands for an optional input left out."""


def weight(graph: Subgraph, name: str, value: Weight) -> int:
    """Add a weight as floats: a constant, or an int8 constant through DEQUANTIZE.

    The interpreter evaluates that DEQUANTIZE once, as it is of a constant.
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
    """Add a layer from `(rows, inputs)` to `(rows, outputs)`; weights are `(outputs, inputs)`."""
    if graph.one_scale and isinstance(weights, StoredInt8):
        return _scaled_after(graph, name, value, rows, weights, bias, activation)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = activation
    # The output is (rows, outputs), whatever the shape of the input.
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
    """Add a layer that multiplies by the weights' integers first and by their scales afterwards.

    For interpreters whose DEQUANTIZE takes the first scale for all of the outputs.
    """
    stored = graph.constant(f"{name}.weight.int8", weights.values, Quantization(1.0))
    whole = graph.apply(
        Operator.DEQUANTIZE,
        f"{name}.weight",
        weights.values.shape,
        stored,
        version=2,
        options=schema.DequantizeOptionsT(),
    )
    shape = (rows, len(weights.values))
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = False
    sums = graph.apply(
        Operator.FULLY_CONNECTED, f"{name}.sums", shape, value, whole, _NOTHING, options=options
    )
    scales = graph.constant(f"{name}.scales", weights.scales[None])
    # The activation is fused with the last operator: the bias where there is one.
    scaling, adding = schema.MulOptionsT(), schema.AddOptionsT()
    if bias is None:
        scaling.fusedActivationFunction = activation
        return graph.apply(Operator.MUL, name, shape, sums, scales, options=scaling)
    adding.fusedActivationFunction = activation
    scaled = graph.apply(Operator.MUL, f"{name}.scaled", shape, sums, scales, options=scaling)
    added = graph.constant(f"{name}.bias", bias[None])
    return graph.apply(Operator.ADD, name, shape, scaled, added, options=adding)


def convolution(
    graph: Subgraph,
    name: str,
    value: int,
    bands: int,
    layer: ConvolutionLayer,
    activations: tuple[Activation, Activation] | None,
) -> int:
    """Add a convolution with same padding and ReLU.

    It takes `(1, 1, bands, channels)` to `(1, 1, bands, filters)`: floats, or, where `activations`
    are given, int8 of the first of them to int8 of the second.
    """
    options = schema.Conv2DOptionsT()
    # The spectrum is an image of height 1, because TFLite has no convolution in one dimension.
    options.padding = schema.Padding.SAME
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    # Fused, since the int8 activations are those after ReLU: no tensor lies between the two.
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
    # The bias is in units of the accumulator. Kernels refuse a scale that is not the product of the
    # other two in float32.
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
    """Add a layer that keeps the largest of each `pool` bands, with an output of that `shape`.

    Bands at the end that do not fill a pool are left out.
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
    """Add the operator that rounds floats to int8."""
    output = graph.tensor(name, shape, np.int8, _of(activation))
    graph.operator(Operator.QUANTIZE, [value], [output], options=schema.QuantizeOptionsT())
    return output


def dequantize(graph: Subgraph, name: str, value: int, shape: tuple[int, ...]) -> int:
    """Add the operator that turns int8 into floats."""
    return graph.apply(
        Operator.DEQUANTIZE, name, shape, value, version=2, options=schema.DequantizeOptionsT()
    )


def reshaped(graph: Subgraph, name: str, value: int, shape: tuple[int, ...]) -> int:
    """Add a value with the same numbers in another `shape`."""
    options = schema.ReshapeOptionsT()
    options.newShape = list(shape)
    return graph.apply(
        Operator.RESHAPE,
        name,
        shape,
        value,
        graph.integers(f"{name}.shape", *shape),
        options=options,
    )


def _of(activation: Activation) -> Quantization:
    return Quantization(activation.scale, activation.zero_point)


def _as_image(value: Weight) -> Any:
    """Return a weight `(filters, channels, kernel)` as `(filters, 1, kernel, channels)`."""
    if isinstance(value, StoredInt8):
        return StoredInt8(value.values.transpose(0, 2, 1)[:, None], value.scales)
    return as_float(value).transpose(0, 2, 1)[:, None]

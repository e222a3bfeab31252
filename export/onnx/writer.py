"""The writer of a network as an ONNX model, operator by operator.

Opset 13 and IR 8 are what onnxruntime runs since 1.17. torch's own exporters either need a newer
onnxruntime or, in some releases, wrote the GRU's reset gate wrongly; they serve as a cross-check in
the tests. Int8 is written as QuantizeLinear and DequantizeLinear around each operator, which
onnxruntime fuses into int8 kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ccnvr.edge.network.kernels import total_bias
from ccnvr.edge.network.layers import (
    Activation,
    ConvolutionLayer,
    DenseLayer,
    NetworkArrays,
    StoredInt8,
    Weight,
    as_float,
)
from ccnvr.edge.network.layout import GATES
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.export.onnx.graph import Graph
from ccnvr.export.onnx.kernels import kernel_member

OPSET = 13
IR_VERSION = 8

# The order of the gates in ONNX, as positions in that of NetworkArrays: GRU z r h from r z n, LSTM
# i o f c from i f g o.
_GATE_ORDER = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}


def to_onnx(network: NetworkArrays) -> bytes:
    """Return the network as a serialised ONNX model, float32 in and out.

    The model takes `spectra (n, channels, bands)` to `properties (n, outputs)`. The tensors inside
    have the names of `NumpySession.layers`.
    """
    config = network.config
    graph = Graph()
    spectra = _standardised(graph, network)
    linear = hidden = None
    if network.dense is not None:
        pooled = _pooled(graph, network, spectra)
        hidden = graph.node("Relu", [_dense(graph, "dense", network.dense, pooled)], "hidden")
    if network.linear is not None:
        linear = _linear(graph, network.linear, spectra)
    parts = []
    if network.output is not None and hidden is not None:
        alone = linear is None and not network.kernels
        parts.append(_dense(graph, "output", network.output, hidden, "properties" if alone else ""))
    if linear is not None:
        parts.append(linear)
    if network.kernels:
        parts += [
            kernel_member(graph, f"kernel{number}", member)
            for number, member in enumerate(network.kernels)
        ]
        parts.append(graph.constant("kernels.bias", total_bias(network.kernels)))
    _added(graph, parts)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "ccnvr",
            [
                helper.make_tensor_value_info(
                    "spectra", TensorProto.FLOAT, ["n", config.in_channels, config.bands]
                )
            ],
            [helper.make_tensor_value_info("properties", TensorProto.FLOAT, ["n", config.outputs])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="ccnvr",
    )
    # The full check infers shapes too, and so finds operators that do not fit together.
    onnx.checker.check_model(model, full_check=True)
    # Equal networks give equal files.
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _pooled(graph: Graph, network: NetworkArrays, spectra: str) -> str:
    """Add the layers before the dense ones; their output is `(n, features)`."""
    features = _convolutions(graph, network, spectra)
    if network.directions:
        return _recurrent(graph, network, features)
    return _flattened(graph, network.config, features)


def _added(graph: Graph, parts: list[str]) -> None:
    """Add up parts `(n, outputs)`, in the order of `NumpySession`, to `properties`."""
    total = parts[0]
    for number, part in enumerate(parts[1:], start=1):
        name = "properties" if number == len(parts) - 1 else f"sum{number}"
        # Two by two: Add takes two inputs, and Sum of many leaves their order to the engine.
        total = graph.node("Add", [total, part], name)


def _standardised(graph: Graph, network: NetworkArrays) -> str:
    """Add the standardisation of each band, where the network has one."""
    if network.standardisation is None:
        return "spectra"
    mean = graph.constant("standardisation.mean", network.standardisation.mean[None])
    factor = graph.constant("standardisation.factor", network.standardisation.factor[None])
    return graph.node(
        "Mul", [graph.node("Sub", ["spectra", mean], "centred"), factor], "standardised"
    )


def _convolutions(graph: Graph, network: NetworkArrays, value: str) -> str:
    """Add the convolutions, each with ReLU and max-pool; the output is `(n, filters, steps)`.

    Where the network computes in int8, each operator stands between two activations.
    """
    scales = network.activations
    if scales:
        value = graph.quantized(value, scales[0], "input")
    for number, (layer, shape) in enumerate(
        zip(network.convolutions, network.config.convolutions, strict=True)
    ):
        name, half = f"convolution{number}", shape.kernel // 2
        operands = _operands(graph, name, layer, scales[number] if scales else None)
        pool = {"kernel_shape": [shape.pool], "strides": [shape.pool]}
        value = graph.node(
            "Conv",
            [value, *operands],
            f"{name}.sums",
            # The same padding on both sides, since kernels are odd: as many bands out as in.
            kernel_shape=[shape.kernel],
            pads=[half, half],
        )
        value = graph.node("Relu", [value], f"{name}.relu")
        if scales:
            value = graph.quantized(value, scales[number + 1], f"{name}.activation")
            # Pooling changes no value, so the second rounding only lets onnxruntime pool in int8.
            value = graph.node("MaxPool", [value], f"{name}.pool", **pool)
            value = graph.quantized(value, scales[number + 1], name)
        else:
            value = graph.node("MaxPool", [value], name, **pool)
    return value


def _operands(
    graph: Graph, name: str, layer: ConvolutionLayer, before: Activation | None
) -> list[str]:
    """Add the weight and bias of a convolution whose input is int8 of `before`, or floats."""
    weight = layer.weight
    if before is None or not isinstance(weight, StoredInt8):
        return [graph.weight(f"{name}.weight", weight), graph.constant(f"{name}.bias", layer.bias)]
    return [
        graph.int8_operand(f"{name}.weight", weight.values, weight.scales),
        graph.int8_operand(f"{name}.bias", layer.bias, np.float32(before.scale) * weight.scales),
    ]


def _whole(graph: Graph, config: NetworkConfig, features: str) -> str:
    """Cut off the last bands where they do not fill a whole step."""
    if config.patch == 1:
        return features
    ends = [graph.numbers("whole.from", 0), graph.numbers("whole.to", config.steps * config.patch)]
    return graph.node("Slice", [features, *ends, graph.numbers("whole.axis", 2)], "whole")


def _sequence(graph: Graph, config: NetworkConfig, features: str) -> str:
    """Turn `(n, filters, steps x patch)` into `(steps, n, filters x patch)`."""
    if config.patch == 1:
        return graph.node("Transpose", [features], "sequence", perm=[2, 0, 1])
    shape = graph.numbers("patches.shape", 0, config.channels, config.steps, config.patch)
    patches = graph.node("Reshape", [_whole(graph, config, features), shape], "patches")
    ordered = graph.node("Transpose", [patches], "ordered", perm=[2, 0, 1, 3])
    return graph.node("Reshape", [ordered, graph.numbers("sequence.shape", 0, 0, -1)], "sequence")


def _flattened(graph: Graph, config: NetworkConfig, features: str) -> str:
    """Flatten the features to `(n, filters x steps)`, without recurrence."""
    # ONNX has the channels before the bands here, which is the order that the weights are stored
    # in.
    return graph.node("Flatten", [_whole(graph, config, features)], "pooled", axis=1)


def _recurrent(graph: Graph, network: NetworkArrays, features: str) -> str:
    """Add the GRU or LSTM, which in ONNX reads `(steps, n, filters x patch)`.

    Its states `(steps, directions, n, hidden)` are averaged over the steps to `(n, directions x
    hidden)`.
    """
    config, directions = network.config, network.directions
    attributes: dict[str, Any] = {
        "hidden_size": config.hidden,
        "direction": "bidirectional" if config.bidirectional else "forward",
    }
    if config.cell == "gru":
        # As torch's GRU does, ours applies the reset gate after the recurrent matrix and its bias.
        attributes["linear_before_reset"] = 1
    # ONNX has both biases of a direction in one row: first that of the input, then the state's.
    rows = _rows(config)
    biases = np.stack(
        [np.concatenate([part.input_bias[rows], part.state_bias[rows]]) for part in directions]
    )
    inputs = [
        _sequence(graph, config, features),
        _matrices(graph, "recurrent.W", [part.input_weight for part in directions], rows),
        _matrices(graph, "recurrent.R", [part.state_weight for part in directions], rows),
        graph.constant("recurrent.B", biases),
    ]
    states = graph.node(config.cell.upper(), inputs, "states", **attributes)
    # The axes are an attribute up to opset 17, and an input from 18 on.
    averaged = graph.node("ReduceMean", [states], "averaged", axes=[0], keepdims=0)
    by_soil = graph.node("Transpose", [averaged], "by_soil", perm=[1, 0, 2])
    # 0 keeps the number of spectra, which is not known here, and -1 takes what is left.
    return graph.node("Reshape", [by_soil, graph.numbers("pooled.shape", 0, -1)], "pooled")


def _rows(config: NetworkConfig) -> NDArray[np.int64]:
    """Return the row in NetworkArrays of each row in ONNX."""
    gates = np.arange(GATES[config.cell] * config.hidden).reshape(-1, config.hidden)
    return np.concatenate([gates[gate] for gate in _GATE_ORDER[config.cell]])


def _matrices(graph: Graph, name: str, weights: list[Weight], rows: NDArray[np.int64]) -> str:
    """Add the matrices of the directions as one, `(directions, gates x hidden, width)`."""
    stored = [weight for weight in weights if isinstance(weight, StoredInt8)]
    # One below the other and reshaped at the end: Cast and Mul unpack a matrix with its scales.
    flat: Weight = np.concatenate([as_float(weight)[rows] for weight in weights])
    if stored:
        values = np.concatenate([weight.values[rows] for weight in stored])
        flat = StoredInt8(values, np.concatenate([weight.scales[rows] for weight in stored]))
    shape = graph.numbers(f"{name}.shape", len(weights), len(rows), -1)
    return graph.node("Reshape", [graph.weight(f"{name}.rows", flat), shape], name)


def _dense(graph: Graph, name: str, layer: DenseLayer, value: str, output: str = "") -> str:
    """Add a dense layer; return its output, which is called `output` or else after the layer."""
    weight, bias = (
        graph.weight(f"{name}.weight", layer.weight),
        graph.constant(f"{name}.bias", layer.bias),
    )
    # Weights are stored (outputs, inputs), as torch does.
    return graph.node("Gemm", [value, weight, bias], output or f"{name}.sums", transB=1)


def _linear(graph: Graph, weight: Weight, spectra: str) -> str:
    """Add the linear path from `(n, channels, bands)`, channel by channel."""
    flat = graph.node("Flatten", [spectra], "linear.input", axis=1)
    return graph.node("Gemm", [flat, graph.weight("linear.weight", weight)], "linear", transB=1)

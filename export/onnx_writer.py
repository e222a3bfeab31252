"""Writes a CCNVR as an ONNX graph, operator by operator: opset 13, IR 8, which onnxruntime runs since 1.17.

torch's own exporters either need a newer runtime or, in some releases, wrote the GRU's reset gate wrongly; they serve
as a cross-check in the tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ccnvr.edge.network import NetworkConfig
from ccnvr.train.network import CCNVR

Float32 = NDArray[np.float32]

OPSET = 13
IR_VERSION = 8

# Gate order in ONNX, as positions in torch's: GRU z r h from r z n; LSTM i o f c from i f g o.
_GATES = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}


class _Graph:
    """Collects nodes and weights."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant."""
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add an operator."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def to_onnx(network: CCNVR) -> bytes:
    """The network as a serialised ONNX model: `spectra (n, channels, bands)` -> `properties (n, outputs)`, float32."""
    config = network.config
    state = {name: value.detach().numpy().astype(np.float32) for name, value in network.state_dict().items()}
    graph = _Graph()
    features = _convolutions(graph, network, state, _standardised(graph, network, state))
    pooled = _recurrent(graph, network, state, features) if network.recurrent else _flattened(graph, features)
    hidden = graph.node("Relu", [_dense(graph, state, "dense", pooled)], "hidden")
    _dense(graph, state, "output", hidden, "properties")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "ccnvr",
            [helper.make_tensor_value_info("spectra", TensorProto.FLOAT, ["n", config.in_channels, config.bands])],
            [helper.make_tensor_value_info("properties", TensorProto.FLOAT, ["n", config.outputs])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="ccnvr",
    )
    onnx.checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _standardised(graph: _Graph, network: CCNVR, state: dict[str, Float32]) -> str:
    """Each band less its mean, over its deviation, where the network asks for it."""
    if network.scale is None:
        return "spectra"
    shape = (1, network.config.in_channels, network.config.bands)
    factor = 1.0 / np.sqrt(state["scale.running_var"] + np.float32(network.scale.eps))
    mean = graph.weight("scale.mean", state["scale.running_mean"].reshape(shape))
    centred = graph.node("Sub", ["spectra", mean], "centred")
    return graph.node("Mul", [centred, graph.weight("scale.factor", factor.reshape(shape))], "standardised")


def _convolutions(graph: _Graph, network: CCNVR, state: dict[str, Float32], value: str) -> str:
    """Conv, ReLU, max-pool: `(n, filters, steps)`."""
    for index, layer in enumerate(network.config.convolutions):
        # torch numbers the modules of the sequence: each convolution is followed by its ReLU and its pool.
        kernel = graph.weight(f"conv{index}.weight", state[f"convolutions.{3 * index}.weight"])
        bias = graph.weight(f"conv{index}.bias", state[f"convolutions.{3 * index}.bias"])
        pad = layer.kernel // 2
        value = graph.node("Conv", [value, kernel, bias], f"conv{index}", kernel_shape=[layer.kernel], pads=[pad, pad])
        value = graph.node("Relu", [value], f"relu{index}")
        value = graph.node("MaxPool", [value], f"pool{index}", kernel_shape=[layer.pool], strides=[layer.pool])
    return value


def _sequence(graph: _Graph, config: NetworkConfig, features: str) -> str:
    """`(n, filters, steps x patch)` -> `(steps, n, filters x patch)`."""
    if config.patch == 1:
        return graph.node("Transpose", [features], "sequence", perm=[2, 0, 1])

    def numbers(name: str, *values: int) -> str:
        return graph.weight(name, np.array(values, dtype=np.int64))

    ends = [numbers("whole.from", 0), numbers("whole.to", config.steps * config.patch), numbers("whole.axis", 2)]
    whole = graph.node("Slice", [features, *ends], "whole")
    shape = numbers("patches.shape", 0, config.channels, config.steps, config.patch)
    patches = graph.node("Reshape", [whole, shape], "patches")
    ordered = graph.node("Transpose", [patches], "ordered", perm=[2, 0, 1, 3])
    return graph.node("Reshape", [ordered, numbers("sequence.shape", 0, 0, -1)], "sequence")


def _flattened(graph: _Graph, features: str) -> str:
    """For a network without a recurrent layer, `(n, filters x steps)`."""
    return graph.node("Flatten", [features], "pooled", axis=1)


def _recurrent(graph: _Graph, network: CCNVR, state: dict[str, Float32], features: str) -> str:
    """GRU or LSTM, which in ONNX reads `(steps, n, filters x patch)`.

    Its states `(steps, directions, n, hidden)` averaged over the steps into `(n, directions x hidden)`.
    """
    config = network.config
    sequence = _sequence(graph, config, features)
    suffixes = ("", "_reverse") if config.bidirectional else ("",)
    gates = _GATES[config.cell]

    def reordered(name: str, suffix: str) -> Float32:
        blocks = np.split(state[f"recurrent.{name}_l0{suffix}"], len(gates))
        return np.concatenate([blocks[gate] for gate in gates])

    weights = np.stack([reordered("weight_ih", suffix) for suffix in suffixes])
    recurrence = np.stack([reordered("weight_hh", suffix) for suffix in suffixes])
    biases = np.stack([np.concatenate([reordered("bias_ih", s), reordered("bias_hh", s)]) for s in suffixes])
    attributes: dict[str, Any] = {
        "hidden_size": config.hidden,
        "direction": "bidirectional" if config.bidirectional else "forward",
    }
    if config.cell == "gru":
        # torch applies the reset gate after the recurrent matrix and its bias.
        attributes["linear_before_reset"] = 1
    names = [
        graph.weight("recurrent.W", weights),
        graph.weight("recurrent.R", recurrence),
        graph.weight("recurrent.B", biases),
    ]
    states = graph.node(config.cell.upper(), [sequence, *names], "states", **attributes)
    averaged = graph.node("ReduceMean", [states], "averaged", axes=[0], keepdims=0)
    by_soil = graph.node("Transpose", [averaged], "by_soil", perm=[1, 0, 2])
    shape = graph.weight("pooled.shape", np.array([0, -1], dtype=np.int64))
    return graph.node("Reshape", [by_soil, shape], "pooled")


def _dense(graph: _Graph, state: dict[str, Float32], layer: str, value: str, output: str = "") -> str:
    names = [graph.weight(f"{layer}.{kind}", state[f"{layer}.{kind}"]) for kind in ("weight", "bias")]
    return graph.node("Gemm", [value, *names], output or layer, transB=1)

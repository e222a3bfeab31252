"""Faults that a writer of artefacts, or a file on its way, could have: what the parity gate must
catch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import numpy_helper

from ccnvr.edge.network.layers import Activation, NetworkArrays, assemble
from ccnvr.edge.network.layout import GATES
from ccnvr.export.tflite.graph import FILE_IDENTIFIER, AlignedBuilder

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Mutation:
    """A fault in a network's tensors, and the layers of which the gate may name one; a `slight` one
    changes one number after the convolutions.
    """

    name: str
    change: Callable[[Tensors, NetworkArrays], None]
    layers: tuple[str, ...]
    slight: bool = False


def _largest(name: str, factor: float) -> Callable[[Tensors, NetworkArrays], None]:
    """One number of a tensor, its largest, changed."""

    def change(tensors: Tensors, _: NetworkArrays) -> None:
        size = np.abs(tensors[name].astype(float))
        if f"{name}.scales" in tensors:
            size = (size.T * tensors[f"{name}.scales"]).T
        place = np.unravel_index(int(np.argmax(size)), size.shape)
        tensors[name][place] = (tensors[name][place] * factor).astype(tensors[name].dtype)

    return change


def _ordered(
    name: str, order: Callable[[NDArray[Any], NetworkArrays], NDArray[Any]]
) -> Callable[..., None]:
    """A tensor with its numbers in another order, and its scales with them where rows are moved."""

    def change(tensors: Tensors, network: NetworkArrays) -> None:
        for key in (name, f"{name}.scales"):
            if key in tensors and (
                key == name or len(order(tensors[key], network)) == len(tensors[key])
            ):
                tensors[key] = np.ascontiguousarray(order(tensors[key], network))

    return change


def _gates_swapped(first: int, second: int) -> Callable[[Tensors, NetworkArrays], None]:
    """Two gates of the forward direction, weights and biases."""

    def change(tensors: Tensors, network: NetworkArrays) -> None:
        gates = list(range(GATES[network.config.cell]))
        gates[first], gates[second] = gates[second], gates[first]
        for name in [name for name in tensors if name.startswith("forward.")]:
            blocks = np.split(tensors[name], len(gates))
            tensors[name] = np.concatenate([blocks[gate] for gate in gates])

    return change


def _directions_swapped(tensors: Tensors, _: NetworkArrays) -> None:
    for name in [name for name in tensors if name.startswith("forward.")]:
        other = name.replace("forward", "backward")
        tensors[name], tensors[other] = tensors[other], tensors[name]


def _reset_before_the_bias(tensors: Tensors, network: NetworkArrays) -> None:
    """The candidate's bias of the state added outside of what the reset gate multiplies."""
    candidate = slice(2 * network.config.hidden, None)
    tensors["forward.input_bias"][candidate] += tensors["forward.state_bias"][candidate]
    tensors["forward.state_bias"][candidate] = 0.0


def _columns(
    order: Callable[[NDArray[Any]], NDArray[Any]], name: str
) -> Callable[[Tensors, NetworkArrays], None]:
    def change(tensors: Tensors, _: NetworkArrays) -> None:
        tensors[name] = np.ascontiguousarray(order(tensors[name]))

    return change


def _halves(weight: NDArray[Any]) -> NDArray[Any]:
    """The second half of the columns before the first."""
    return np.roll(weight, weight.shape[1] // 2, axis=1)


MUTATIONS = (
    Mutation(
        "one weight of a convolution", _largest("convolution1.weight", -1.0), ("convolution1",)
    ),
    Mutation("one bias of a convolution", _largest("convolution0.bias", 3.0), ("convolution0",)),
    Mutation(
        "a kernel read backwards",
        _columns(lambda w: w[:, :, ::-1], "convolution0.weight"),
        ("convolution0",),
    ),
    Mutation(
        "channels in another order",
        _columns(lambda w: w[:, ::-1], "convolution1.weight"),
        ("convolution1",),
    ),
    Mutation("gates in another order", _gates_swapped(0, 1), ("pooled",)),
    Mutation("candidate and gate exchanged", _gates_swapped(1, 2), ("pooled",)),
    Mutation("directions exchanged", _directions_swapped, ("pooled",)),
    Mutation(
        "one weight of the inputs",
        _largest("backward.input_weight", -1.0),
        ("pooled",),
        slight=True,
    ),
    Mutation(
        "one weight of the states", _largest("forward.state_weight", -1.0), ("pooled",), slight=True
    ),
    Mutation(
        "one bias of the states", _largest("forward.state_bias", -1.0), ("pooled",), slight=True
    ),
    Mutation(
        "features in another order",
        _columns(lambda w: w[:, ::-1], "forward.input_weight"),
        ("pooled",),
    ),
    Mutation("halves of the states exchanged", _columns(_halves, "dense.weight"), ("hidden",)),
    Mutation(
        "one weight of the dense layer", _largest("dense.weight", -1.0), ("hidden",), slight=True
    ),
    Mutation("outputs exchanged", _ordered("output.weight", lambda w, _: w[::-1]), ("properties",)),
    Mutation("one bias of the outputs", _largest("output.bias", 1.5), ("properties",)),
)
"""Of every profile."""

STORED = (
    Mutation(
        "one scale of a convolution", _largest("convolution1.weight.scales", 1.5), ("convolution1",)
    ),
    Mutation(
        "one scale of a recurrent weight",
        _largest("forward.input_weight.scales", 1.5),
        ("pooled",),
        slight=True,
    ),
    Mutation("one scale of the outputs", _largest("output.weight.scales", 1.2), ("properties",)),
)
"""Of networks with int8 weights."""

LINEAR = (
    Mutation("one weight", _largest("linear.weight", -1.0), ("linear",)),
    Mutation("channels exchanged", _columns(_halves, "linear.weight"), ("linear",)),
    Mutation(
        "bands from the other end", _columns(lambda w: w[:, ::-1], "linear.weight"), ("linear",)
    ),
    Mutation("outputs exchanged", _ordered("linear.weight", lambda w, _: w[::-1]), ("linear",)),
    Mutation("none", _columns(np.zeros_like, "linear.weight"), ("linear",)),
)
"""Of networks with a linear path."""


def mutated(network: NetworkArrays, mutation: Mutation) -> NetworkArrays:
    """The network with a fault."""
    tensors = {name: value.copy() for name, value in network.tensors().items()}
    mutation.change(tensors, network)
    return assemble(network.config, network.profile, network.activations, tensors)


def with_activation(
    network: NetworkArrays, number: int, factor: float, shift: int
) -> NetworkArrays:
    """The network with another scale or zero point of one activation; the biases stay."""
    scales = list(network.activations)
    old = scales[number]
    scales[number] = Activation(float(np.float32(old.scale * factor)), old.zero_point + shift)
    return assemble(network.config, network.profile, tuple(scales), network.tensors())


def onnx_attribute(model: bytes, operator: str, attribute: str, value: Any) -> bytes:
    """An ONNX model with an attribute of one operator changed."""
    graph = onnx.load_from_string(model)
    node = next(node for node in graph.graph.node if node.op_type == operator)
    kept = [one for one in node.attribute if one.name != attribute]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(attribute, value)])
    return bytes(graph.SerializeToString())


def onnx_operator(model: bytes, operator: str, other: str) -> bytes:
    """An ONNX model with another operator in place of the first of that type."""
    graph = onnx.load_from_string(model)
    next(node for node in graph.graph.node if node.op_type == operator).op_type = other
    return bytes(graph.SerializeToString())


def onnx_without(model: bytes, operator: str) -> bytes:
    """An ONNX model without its first operator of that type."""
    graph = onnx.load_from_string(model)
    node = next(node for node in graph.graph.node if node.op_type == operator)
    for other in graph.graph.node:
        for place, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[place] = node.input[0]
    graph.graph.node.remove(node)
    return bytes(graph.SerializeToString())


def onnx_constant(model: bytes, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> bytes:
    """An ONNX model with a constant changed."""
    graph = onnx.load_from_string(model)
    tensor = next(tensor for tensor in graph.graph.initializer if tensor.name == name)
    tensor.CopyFrom(
        numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(tensor))), name)
    )
    return bytes(graph.SerializeToString())


def tflite_changed(model: bytes, change: Callable[[Any], None]) -> bytes:
    """A TFLite model after a change of its schema object."""
    content = schema.ModelT.InitFromPackedBuf(model, 0)
    change(content)
    builder = AlignedBuilder(1 << 16)
    builder.Finish(content.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())

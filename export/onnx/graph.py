"""The nodes and constants of an ONNX graph, and the parts that all layers use."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ccnvr.edge.network.layers import Activation, StoredInt8, Weight


class Graph:
    """The nodes and constants of a graph under construction; methods return a tensor's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def numbers(self, name: str, *values: int) -> str:
        """Add a constant of integers, such as a shape or an axis."""
        return self.constant(name, np.array(values, dtype=np.int64))

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add an operator."""
        # Named after its output, which is unique, so that an engine's message names the layer.
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, weight: Weight) -> str:
        """Add a weight that the network computes with as floats.

        One stored as int8 is unpacked by Cast and Mul, which onnxruntime evaluates once, as it
        loads the model. It would repeat a DequantizeLinear for every spectrum.
        """
        if not isinstance(weight, StoredInt8):
            return self.constant(name, weight)
        scales = weight.scales.reshape(-1, *[1] * (weight.values.ndim - 1))
        whole = self.node(
            "Cast",
            [self.constant(f"{name}.stored", weight.values)],
            f"{name}.whole",
            to=TensorProto.FLOAT,
        )
        return self.node("Mul", [whole, self.constant(f"{name}.scales", scales)], name)

    def int8_operand(
        self, name: str, values: NDArray[np.generic], scales: NDArray[np.float32]
    ) -> str:
        """Add a weight or bias, with a scale for each row, of an operator that computes in int8."""
        stored = self.constant(f"{name}.stored", values)
        # ONNX wants zero points of the type of the values: int8 for a weight, int32 for a bias.
        zeros = self.constant(f"{name}.zeros", np.zeros(len(scales), values.dtype))
        return self.node(
            "DequantizeLinear",
            [stored, self.constant(f"{name}.scales", scales), zeros],
            name,
            axis=0,
        )

    def quantized(self, value: str, activation: Activation, name: str) -> str:
        """Round a tensor to int8 and back.

        onnxruntime fuses the pair with the operators before and after it.
        """
        scale = self.constant(f"{name}.scale", np.array(activation.scale, dtype=np.float32))
        zero = self.constant(f"{name}.zero", np.array(activation.zero_point, dtype=np.int8))
        stored = self.node("QuantizeLinear", [value, scale, zero], f"{name}.int8")
        return self.node("DequantizeLinear", [stored, scale, zero], name)

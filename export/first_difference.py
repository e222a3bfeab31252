"""What the layers of each artefact give, under the names of `NumpySession.layers`, to find where
two of them part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from onnx import helper

from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.file import unpack
from ccnvr.edge.network.layers import NetworkArrays
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.train.network.ccnvr import CCNVR

if TYPE_CHECKING:
    from ccnvr.export.parity import Parity

Layers = dict[str, NDArray[Any]]

_TOLERANCE = {"fp32": 1e-5, "weights": 1e-5, "int8": 0.015}
"""Share of a layer's largest value by which it may differ and still not be the one."""


def first_difference(
    network: CCNVR,
    networks: Mapping[str, NetworkArrays],
    parity: Parity,
    kind: str,
    model: bytes,
    spectrum: Float32,
) -> str:
    """The first layer in which an artefact and its reference differ on a spectrum `(1, channels,
    bands)`, in words.
    """
    rounding = parity.profile != "fp32" and parity.reference == "torch"
    tolerance = 0.05 if rounding else _TOLERANCE[parity.profile]
    if parity.profile == "int8" and kind == "onnx":
        tolerance = 1e-5
    expected = (
        of_torch(network, spectrum)
        if parity.reference == "torch"
        else of_data(networks[parity.profile], spectrum)
    )
    try:
        found = {"network": of_network, "onnx": of_onnx, "tflite": of_tflite}[kind](model, spectrum)
    except Exception as error:  # an engine that runs a model may refuse it with its layers shown
        return f"unknown, its layers cannot be shown ({type(error).__name__})"
    for name, right in expected.items():
        wrong = found.get(name)
        if wrong is None or wrong.shape != right.shape:
            return f"{name}, which it lacks" if wrong is None else f"{name}, of another shape"
        if not np.max(np.abs(wrong - right)) <= tolerance * max(1e-6, float(np.max(np.abs(right)))):
            return name
    return "none alone: small differences add up"


def of_torch(network: CCNVR, spectra: Float32) -> Layers:
    """Of the torch network."""
    found: Layers = {}

    def keep(name: str, value: torch.Tensor) -> None:
        found[name] = value.numpy()

    # `pooled` and `hidden` are what the dense layers read, since nothing drops out here.
    hooks = [
        network.convolutions[3 * number + 2].register_forward_hook(
            lambda _, __, output, name=f"convolution{number}": keep(name, output)
        )
        for number in range(len(network.config.convolutions))
    ]
    hooks.append(
        network.dense.register_forward_pre_hook(lambda _, inputs: keep("pooled", inputs[0]))
    )
    hooks.append(
        network.output.register_forward_pre_hook(lambda _, inputs: keep("hidden", inputs[0]))
    )
    if network.linear is not None:
        hooks.append(
            network.linear.register_forward_hook(lambda _, __, output: keep("linear", output))
        )
    try:
        with torch.inference_mode():
            keep("properties", network(torch.from_numpy(spectra)))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def of_data(network: NetworkArrays, spectra: Float32) -> Layers:
    """Of a network as data."""
    return dict(NumpySession(network).layers(spectra))


def of_network(model: bytes, spectra: Float32) -> Layers:
    """Of a network as a file."""
    return of_data(unpack(model), spectra)


def of_onnx(model: bytes, spectra: Float32) -> Layers:
    """Of an ONNX model, by onnxruntime."""
    graph = onnx.load_from_string(model)
    produced = {name for node in graph.graph.node for name in node.output}
    there = {output.name for output in graph.graph.output}
    shown = [name for name in _names(produced) if name not in there]
    graph.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in shown
    )
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    outputs = session.run(None, {session.get_inputs()[0].name: spectra})
    return dict(zip([output.name for output in session.get_outputs()], outputs, strict=True))


def _names(produced: set[str]) -> Iterator[str]:
    yield from (name for name in ("standardised", "pooled", "hidden", "linear") if name in produced)
    yield from (name for name in produced if name.removeprefix("convolution").isdigit())


def of_tflite(model: bytes, spectra: Float32) -> Layers:
    """Of a TFLite model and one spectrum, by LiteRT without XNNPACK, which shows no
    layer within.
    """
    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], spectra)
    interpreter.invoke()
    found: Layers = {}
    renamed = {"forward.averaged": "pooled", "dense": "hidden"}
    for detail in interpreter.get_tensor_details():
        name = str(detail["name"])
        number = name.removeprefix("pool").removeprefix("convolution")
        if number.isdigit():
            # The pool comes after its convolution and takes its place; bands before filters, and a
            # height of 1.
            found[f"convolution{number}"] = _dequantized(interpreter, detail)[:, 0].transpose(
                0, 2, 1
            )
        elif name in ("standardised", "pooled", "linear", "properties"):
            found[name] = _dequantized(interpreter, detail)
        elif name in renamed:
            found.setdefault(renamed[name], _dequantized(interpreter, detail))
    return found


def _dequantized(interpreter: Any, detail: dict[str, Any]) -> NDArray[Any]:
    value: NDArray[Any] = interpreter.get_tensor(detail["index"])
    if value.dtype == np.int8:
        scale, zero = detail["quantization"]
        value = (value.astype(np.float32) - np.float32(zero)) * np.float32(scale)
    return value

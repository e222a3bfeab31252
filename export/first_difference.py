"""The outputs of the layers inside a model file, compared with those of its reference.

Layers have the names of `NumpySession.layers`, so that a wrong model file can be traced to the
layer in which it first differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

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
from ccnvr.export.model_files import ModelFile
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.train.network.ccnvr import CCNVR

Layers = dict[str, NDArray[Any]]

_TOLERANCE = {"fp32": 1e-5, "weights": 1e-5, "int8": 0.015}
"""The share of a layer's largest value by which it may differ without being named."""
# Against torch in fp32, whose layers differ by the rounding of the weights before them too. It only
# chooses the name in a message; `parity.LIMITS` decide what is refused.
_ROUNDING_TOLERANCE = 0.05
_OF_KERNELS = 1e-4
"""The least share for kernel members, whose large weights of both signs cancel."""

_KERNEL_LAYER = re.compile(r"kernel\d+(\.components|\.similarities)?")


def layer_tolerance(file: ModelFile, *, rounding: bool) -> float:
    """Return the share of a layer's largest value by which a right layer may differ.

    `rounding`: the reference is the torch network in fp32, from which profiles other than fp32
    differ by the rounding of their weights as well.
    """
    if file.profile == "int8" and file.format == "onnx":
        # onnxruntime computes with the oracle's integers, so its layers agree nearly to the bit.
        return 1e-5
    if file.profile != "fp32" and rounding:
        return _ROUNDING_TOLERANCE
    return _TOLERANCE[file.profile]


def first_difference(expected: Layers, file: ModelFile, spectrum: Float32, tolerance: float) -> str:
    """Return the first layer in which a model file differs from its reference, in words.

    Args:
        expected: the layers of the reference, in the order in which they are computed.
        file: the model file.
        spectrum: the input `(1, channels, bands)` of both.
        tolerance: see `layer_tolerance`.
    """
    try:
        found = _LAYERS_OF_A_FILE[file.format](file.content, spectrum)
    except Exception as error:  # an engine that runs a model may refuse it with its layers shown
        return f"unknown, its layers cannot be shown ({type(error).__name__})"
    for name, right in expected.items():
        wrong = found.get(name)
        if wrong is None or wrong.shape != right.shape:
            return f"{name}, which it lacks" if wrong is None else f"{name}, of another shape"
        # A layer of zeros alone leaves no scale to compare with.
        share = max(tolerance, _OF_KERNELS) if name.startswith("kernel") else tolerance
        most = share * max(1e-6, float(np.max(np.abs(right))))
        # Written so that NaN counts as a difference.
        if not np.max(np.abs(wrong - right)) <= most:
            return name
    return "none alone: small differences add up"


def layers_of_torch(network: CCNVR, spectra: Float32) -> Layers:
    """Return the layers of the torch network."""
    found: Layers = {}

    def keep(name: str, value: torch.Tensor) -> None:
        found[name] = value.numpy()

    # `pooled` and `hidden` are the inputs of the dense layers, because dropout is off here.
    # Convolution, ReLU and pool take three places in the torch module.
    hooks = [
        network.convolutions[3 * number + 2].register_forward_hook(
            lambda _, __, output, name=f"convolution{number}": keep(name, output)
        )
        for number in range(len(network.config.convolutions))
    ]
    if network.dense is not None and network.output is not None:
        hooks += [
            module.register_forward_pre_hook(lambda _, inputs, name=name: keep(name, inputs[0]))
            for name, module in (("pooled", network.dense), ("hidden", network.output))
        ]
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
    with torch.inference_mode():
        for number, kernel in enumerate(network.kernel_modules()):
            layers = kernel.layers(torch.from_numpy(spectra))
            for part, value in zip(("components", "similarities", ""), layers, strict=True):
                keep(f"kernel{number}.{part}".removesuffix("."), value)
    # The outputs are computed last, and a difference in them has its cause in another layer.
    found["properties"] = found.pop("properties")
    return found


def layers_of_arrays(network: NetworkArrays, spectra: Float32) -> Layers:
    """Return the layers of a network as arrays."""
    return dict(NumpySession(network).layers(spectra))


def _layers_of_network(model: bytes, spectra: Float32) -> Layers:
    """Return the layers of a model file of format `network`."""
    return layers_of_arrays(unpack(model), spectra)


def _layers_of_onnx(model: bytes, spectra: Float32) -> Layers:
    """Return the layers of an ONNX model, which onnxruntime shows once they are graph outputs."""
    graph = onnx.load_from_string(model)
    produced = {name for node in graph.graph.node for name in node.output}
    there = {output.name for output in graph.graph.output}
    shown = [name for name in _names(produced) if name not in there]
    # onnxruntime gives the value of no tensor that is not an output, so the layers become outputs;
    # this also undoes fusions, hence a model may be refused here that ran before.
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
    yield from (name for name in produced if _KERNEL_LAYER.fullmatch(name))


def _layers_of_tflite(model: bytes, spectra: Float32) -> Layers:
    """Return the layers of a TFLite model for one spectrum.

    LiteRT runs it without XNNPACK, which keeps no tensor of the layers inside.
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
    # One direction's average is what the dense layer reads; of two, `pooled` is the concatenation.
    renamed = {"forward.averaged": "pooled", "dense": "hidden"}
    for detail in interpreter.get_tensor_details():
        name = str(detail["name"])
        number = name.removeprefix("pool").removeprefix("convolution")
        if number.isdigit():
            # The pool comes after its convolution and takes its place. TFLite has a height of 1
            # and the bands before the filters.
            image = _dequantized(interpreter, detail)
            found[f"convolution{number}"] = image[:, 0].transpose(0, 2, 1)
        elif name in ("standardised", "pooled", "linear", "properties") or _KERNEL_LAYER.fullmatch(
            name
        ):
            found[name] = _dequantized(interpreter, detail)
        elif name in renamed:
            # setdefault, because a `pooled` of two directions must not be replaced by the forward
            # one.
            found.setdefault(renamed[name], _dequantized(interpreter, detail))
    return found


def _dequantized(interpreter: Any, detail: dict[str, Any]) -> NDArray[Any]:
    value: NDArray[Any] = interpreter.get_tensor(detail["index"])
    if value.dtype == np.int8:
        scale, zero = detail["quantization"]
        value = (value.astype(np.float32) - np.float32(zero)) * np.float32(scale)
    return value


_LAYERS_OF_A_FILE: dict[str, Callable[[bytes, Float32], Layers]] = {
    "network": _layers_of_network,
    "onnx": _layers_of_onnx,
    "tflite": _layers_of_tflite,
}

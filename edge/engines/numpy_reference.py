"""A network run with NumPy alone: the fallback without an engine, and the oracle of the others.

Its int8 convolutions are exact: products of small integers are summed in floats that hold them
without rounding, and scaled as onnxruntime's QLinearConv scales them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ccnvr.edge.engines.numpy_layers import (
    Dense,
    FloatConvolution,
    Gru,
    Int8Convolution,
    Kernel,
    Lstm,
    as_features,
    as_sequence,
    quantized,
)
from ccnvr.edge.engines.registry import EngineError
from ccnvr.edge.network.file import unpack
from ccnvr.edge.network.kernels import total_bias
from ccnvr.edge.network.layers import NetworkArrays, as_float
from ccnvr.firmware_bridge.arrays import Float32

# 8 MB of float32.
_NUMBERS_AT_ONCE = 1 << 21
"""The most numbers in the windows of a convolution; more spectra are run in several batches."""


class NumpySession:
    """A network ready to run with NumPy; int8 weights are converted to floats once."""

    name = "numpy"

    def __init__(self, network: NetworkArrays) -> None:
        config = network.config
        self._config = config
        self._standardisation = network.standardisation
        scales = network.activations
        self._input = scales[0] if scales else None
        self._convolutions = [
            Int8Convolution(layer, scales[number], scales[number + 1], shape.pool)
            if scales
            else FloatConvolution(layer, shape.pool)
            for number, (layer, shape) in enumerate(
                zip(network.convolutions, config.convolutions, strict=True)
            )
        ]
        self._recurrent = (
            {"gru": Gru, "lstm": Lstm}[config.cell](network.directions)
            if network.directions
            else None
        )
        self._dense = None if network.dense is None else Dense(network.dense)
        self._output = None if network.output is None else Dense(network.output)
        self._kernels = [Kernel(member) for member in network.kernels]
        self._bias = total_bias(network.kernels) if network.kernels else None
        self._linear = (
            None if network.linear is None else np.ascontiguousarray(as_float(network.linear).T)
        )
        # Of the largest layer: its windows are what takes the memory.
        columns = [config.bands * layer.weight_columns for layer in self._convolutions]
        widths = [config.bands, *columns, *(kernel.soils for kernel in config.kernels)]
        self._most_rows = max(1, _NUMBERS_AT_ONCE // max(widths))

    def __call__(self, inputs: Float32) -> Float32:
        """Run the network, see `Session`.

        Raises:
            EngineError: the inputs have another shape.
        """
        expected = (self._config.in_channels, self._config.bands)
        if inputs.shape[1:] != expected:
            raise EngineError(
                f"it reads spectra of {expected} channels and bands and not of {inputs.shape[1:]}"
            )
        outputs = np.empty((len(inputs), self._config.outputs), dtype=np.float32)
        for start in range(0, len(inputs), self._most_rows):
            rows = slice(start, start + self._most_rows)
            # Through `layers`, so that what a proof compares layer by layer is what predicts.
            for _, value in self.layers(inputs[rows]):
                last = value
            outputs[rows] = last
        return outputs

    def layers(self, inputs: Float32) -> Iterator[tuple[str, Float32]]:
        """Yield the name and output of each layer, from the input to the properties.

        The outputs of convolutions, after ReLU and pooling, are `(n, filters, bands)`; those of
        `pooled`, `hidden`, `linear` and `properties` are `(n, width)`. A kernel member has three,
        all `(n, width)`: `kernel0.components`, `kernel0.similarities` and `kernel0`.
        """
        inputs = inputs.astype(np.float32, copy=False)
        spectra = inputs
        if self._standardisation is not None:
            spectra = (inputs - self._standardisation.mean) * self._standardisation.factor
            yield "standardised", spectra
        parts: list[Float32] = []
        if self._dense is not None and self._output is not None:
            for name, value in self._features(spectra):
                yield name, value
                pooled = value
            hidden = np.maximum(self._dense(pooled), np.float32(0.0))
            yield "hidden", hidden
            parts.append(self._output(hidden))
        if self._linear is not None:
            parts.append(spectra.reshape(len(spectra), -1) @ self._linear)
            yield "linear", parts[-1]
        for number, kernel in enumerate(self._kernels):
            components, similarities, output = kernel.layers(inputs.reshape(len(inputs), -1))
            yield f"kernel{number}.components", components
            yield f"kernel{number}.similarities", similarities
            yield f"kernel{number}", output
            parts.append(output)
        if self._bias is not None:
            parts.append(self._bias)
        # Added in this order by the writers of model files too.
        outputs = parts[0]
        for part in parts[1:]:
            outputs = outputs + part
        yield "properties", outputs

    def _features(self, spectra: Float32) -> Iterator[tuple[str, Float32]]:
        """Yield the layers before the dense ones; `pooled` is the last."""
        value = spectra.transpose(0, 2, 1)
        if self._input is not None:
            value = quantized(value, self._input)
        for number, convolution in enumerate(self._convolutions):
            value = convolution(value)
            yield f"convolution{number}", (value * convolution.unit).transpose(0, 2, 1)
        if self._convolutions:
            value = value * self._convolutions[-1].unit
        pooled = (
            self._recurrent(as_sequence(value, self._config))
            if self._recurrent
            else as_features(value, self._config)
        )
        yield "pooled", pooled


def open_model(content: bytes) -> NumpySession:
    """Open the model file of a bundle that holds the network as arrays.

    Raises:
        EngineError: it is malformed, or too large.
    """
    try:
        return NumpySession(unpack(content))
    except ValueError as error:
        raise EngineError(error) from error

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
    Lstm,
    as_features,
    as_sequence,
    quantized,
)
from ccnvr.edge.engines.registry import EngineError
from ccnvr.edge.network.file import unpack
from ccnvr.edge.network.layers import NetworkArrays, as_float
from ccnvr.firmware_bridge.arrays import Float32

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
        self._dense, self._output = Dense(network.dense), Dense(network.output)
        self._linear = (
            None if network.linear is None else np.ascontiguousarray(as_float(network.linear).T)
        )
        columns = [config.bands * layer.weight_columns for layer in self._convolutions]
        self._most_rows = max(1, _NUMBERS_AT_ONCE // max([config.bands, *columns]))

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
            for _, value in self.layers(inputs[rows]):
                last = value
            outputs[rows] = last
        return outputs

    def layers(self, inputs: Float32) -> Iterator[tuple[str, Float32]]:
        """Yield the name and output of each layer, from the input to the properties.

        The outputs of convolutions, after ReLU and pooling, are `(n, filters, bands)`; those of
        `pooled`, `hidden`, `linear` and `properties` are `(n, width)`.
        """
        value = inputs.astype(np.float32, copy=False)
        if self._standardisation is not None:
            value = (value - self._standardisation.mean) * self._standardisation.factor
            yield "standardised", value
        spectra, value = value, value.transpose(0, 2, 1)
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
        hidden = np.maximum(self._dense(pooled), np.float32(0.0))
        yield "hidden", hidden
        outputs = self._output(hidden)
        if self._linear is not None:
            linear = spectra.reshape(len(spectra), -1) @ self._linear
            yield "linear", linear
            outputs = outputs + linear
        yield "properties", outputs


def open_model(content: bytes) -> NumpySession:
    """Open the model file of a bundle that holds the network as arrays.

    Raises:
        EngineError: it is malformed, or too large.
    """
    try:
        return NumpySession(unpack(content))
    except ValueError as error:
        raise EngineError(error) from error

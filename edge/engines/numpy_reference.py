"""Runs a `NetworkArrays` with NumPy alone: where no engine can be installed, and as the oracle
of the others.

Its int8 convolutions are exact: products of small whole numbers, summed in floats that hold them
without rounding, and scaled
as onnxruntime's QLinearConv scales them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.engines.registry import EngineError
from ccnvr.edge.network.file import unpack
from ccnvr.edge.network.layers import (
    Activation,
    ConvolutionLayer,
    DenseLayer,
    Direction,
    NetworkArrays,
    StoredInt8,
    as_float,
)
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.firmware_bridge.arrays import Float32

_EXACT_IN_FLOAT32 = 2**24
_NUMBERS_AT_ONCE = 1 << 21
"""Of a convolution's columns: more spectra than fit are run one part after the other."""


class NumpySession:
    """A network ready to run; weights are unpacked once."""

    name = "numpy"

    def __init__(self, network: NetworkArrays) -> None:
        config = network.config
        self._config = config
        self._standardisation = network.standardisation
        scales = network.activations
        self._input = scales[0] if scales else None
        self._convolutions = [
            _Int8Convolution(layer, scales[number], scales[number + 1], shape.pool)
            if scales
            else _FloatConvolution(layer, shape.pool)
            for number, (layer, shape) in enumerate(
                zip(network.convolutions, config.convolutions, strict=True)
            )
        ]
        self._recurrent = (
            {"gru": _Gru, "lstm": _Lstm}[config.cell](network.directions)
            if network.directions
            else None
        )
        self._dense, self._output = _Dense(network.dense), _Dense(network.output)
        self._linear = (
            None if network.linear is None else np.ascontiguousarray(as_float(network.linear).T)
        )
        columns = [config.bands * layer.weight_columns for layer in self._convolutions]
        self._most_rows = max(1, _NUMBERS_AT_ONCE // max([config.bands, *columns]))

    def __call__(self, inputs: Float32) -> Float32:
        """See `Session`.

        Raises:
            EngineError: the inputs are of another shape.
        """
        expected = (self._config.in_channels, self._config.bands)
        if inputs.shape[1:] != expected:
            raise EngineError(
                f"it reads spectra of {expected} and not of {inputs.shape[1:]} channels and bands"
            )
        outputs = np.empty((len(inputs), self._config.outputs), dtype=np.float32)
        for start in range(0, len(inputs), self._most_rows):
            rows = slice(start, start + self._most_rows)
            for _, value in self.layers(inputs[rows]):
                last = value
            outputs[rows] = last
        return outputs

    def layers(self, inputs: Float32) -> Iterator[tuple[str, Float32]]:
        """What each layer gives, in order, from the input to the outputs.

        Convolutions after ReLU and pool, `(n, filters, bands)`; `pooled`, `hidden`, `linear` and
        `properties`, `(n, width)`.
        """
        value = inputs.astype(np.float32, copy=False)
        if self._standardisation is not None:
            value = (value - self._standardisation.mean) * self._standardisation.factor
            yield "standardised", value
        spectra, value = value, value.transpose(0, 2, 1)
        if self._input is not None:
            value = _quantized(value, self._input)
        for number, convolution in enumerate(self._convolutions):
            value = convolution(value)
            yield f"convolution{number}", (value * convolution.unit).transpose(0, 2, 1)
        if self._convolutions:
            value = value * self._convolutions[-1].unit
        pooled = (
            self._recurrent(_sequence(value, self._config))
            if self._recurrent
            else _flat(value, self._config)
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
    """The network in a bundle's part, ready to run.

    Raises:
        EngineError: it is malformed, or too large.
    """
    try:
        return NumpySession(unpack(content))
    except ValueError as error:
        raise EngineError(error) from error


def _quantized(value: Float32, activation: Activation) -> Float32:
    """`q - zero_point`, whole numbers."""
    zero = np.float32(activation.zero_point)
    whole = np.rint(value / np.float32(activation.scale)) + zero
    centred: Float32 = np.clip(whole, np.float32(-128.0), np.float32(127.0)) - zero
    return centred


def _columns(value: NDArray[np.floating], kernel: int) -> NDArray[np.floating]:
    """`(n, bands, channels)` -> what each output band is made of, `(n, bands, kernel x channels)`.

    In this order each is one piece of memory, which makes the copy fast.
    """
    half = kernel // 2
    padded = np.pad(value, ((0, 0), (half, half), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=1)
    return windows.swapaxes(2, 3).reshape(*value.shape[:2], -1)


def _matrix(weight: NDArray[Any]) -> NDArray[Any]:
    """`(filters, channels, kernel)` -> `(kernel x channels, filters)`, for `_columns`."""
    return np.ascontiguousarray(weight.transpose(2, 1, 0)).reshape(-1, len(weight))


def _max_pool(value: NDArray[np.floating], pool: int) -> NDArray[np.floating]:
    """`(n, bands, filters)` -> `(n, bands // pool, filters)`."""
    steps = value.shape[1] // pool
    pooled: NDArray[np.floating] = (
        value[:, : steps * pool].reshape(len(value), steps, pool, -1).max(axis=2)
    )
    return pooled


class _FloatConvolution:
    """Convolution, max-pool and ReLU, which may change places."""

    unit = np.float32(1.0)

    def __init__(self, layer: ConvolutionLayer, pool: int) -> None:
        weight = as_float(layer.weight)
        self._kernel, self._pool = weight.shape[2], pool
        self._matrix: Float32 = _matrix(weight)
        self._bias = layer.bias
        self.weight_columns = len(self._matrix)

    def __call__(self, value: Float32) -> Float32:
        pooled = _max_pool(_columns(value, self._kernel) @ self._matrix, self._pool)
        rectified: Float32 = np.maximum(pooled + self._bias, np.float32(0.0))
        return rectified


class _Int8Convolution:
    """As onnxruntime's QLinearConv, on whole numbers from which the zero point has been taken;
    scaled after the pool, which changes nothing and is less work.
    """

    def __init__(
        self, layer: ConvolutionLayer, before: Activation, after: Activation, pool: int
    ) -> None:
        assert isinstance(layer.weight, StoredInt8)
        values, scales = layer.weight.values, layer.weight.scales
        self._kernel, self._pool = values.shape[2], pool
        matrix = _matrix(values).astype(np.int64)
        largest = int(
            (255 * np.abs(matrix).sum(axis=0) + np.abs(layer.bias.astype(np.int64))).max()
        )
        exact = np.dtype(np.float32 if largest < _EXACT_IN_FLOAT32 else np.float64)
        self._matrix: NDArray[np.floating] = np.ascontiguousarray(matrix, dtype=exact)
        self._bias: NDArray[np.floating] = layer.bias.astype(exact)
        self._factor = np.float32(before.scale) * scales / np.float32(after.scale)
        # ReLU ends at real zero, which is no lower than what int8 holds.
        self._low, self._high = np.float32(0.0), np.float32(127 - after.zero_point)
        self.unit = np.float32(after.scale)
        self.weight_columns = len(matrix)

    def __call__(self, value: Float32) -> Float32:
        sums = _max_pool(
            _columns(value.astype(self._matrix.dtype, copy=False), self._kernel) @ self._matrix,
            self._pool,
        )
        scaled: Float32 = (sums + self._bias).astype(np.float32) * self._factor
        return np.clip(np.rint(scaled), self._low, self._high)


def _sequence(value: Float32, config: NetworkConfig) -> Float32:
    """`(n, bands, channels)` -> `(steps, n, channels x patch)`."""
    whole = value[:, : config.steps * config.patch]
    patches = whole.reshape(len(value), config.steps, config.patch, -1)
    return np.ascontiguousarray(patches.transpose(1, 0, 3, 2)).reshape(config.steps, len(value), -1)


def _flat(value: Float32, config: NetworkConfig) -> Float32:
    """`(n, bands, channels)` -> `(n, channels x bands)`."""
    return np.ascontiguousarray(value[:, : config.steps * config.patch].transpose(0, 2, 1)).reshape(
        len(value), -1
    )


class _Recurrent:
    """Both directions side by side: the backward one reads its steps from the last, and the mean
    knows no order.

    A sigmoid is `tanh(x / 2) / 2 + 1 / 2`, so its gates' weights are halved here once and all gates
    share one tanh.
    """

    GATES = 0
    SIGMOIDS: tuple[int, ...] = ()

    def __init__(self, directions: tuple[Direction, ...]) -> None:
        self.hidden = as_float(directions[0].state_weight).shape[1]
        halves = np.ones((self.GATES, 1), dtype=np.float32)
        halves[list(self.SIGMOIDS)] = 0.5
        halves = np.repeat(halves, self.hidden, axis=0)
        self._input = np.stack([(as_float(part.input_weight) * halves).T for part in directions])
        self._state = np.stack([(as_float(part.state_weight) * halves).T for part in directions])
        self._input_bias = np.stack([part.input_bias * halves[:, 0] for part in directions])[
            :, None
        ]
        self._state_bias = np.stack([part.state_bias * halves[:, 0] for part in directions])[
            :, None
        ]

    def __call__(self, sequence: Float32) -> Float32:
        """`(steps, n, features)` -> the mean state, `(n, directions x hidden)`."""
        steps, count, features = sequence.shape
        given = [sequence.reshape(-1, features) @ weight for weight in self._input]
        gates = (
            np.stack([part.reshape(steps, count, -1) for part in given], axis=1) + self._input_bias
        )
        gates[:, 1:] = gates[::-1, 1:]
        state = np.zeros((len(self._input), count, self.hidden), dtype=np.float32)
        total, memory = state.copy(), state.copy()
        for step in gates:
            state, memory = self._step(step, state @ self._state + self._state_bias, state, memory)
            total += state
        mean: Float32 = total / np.float32(steps)
        return np.ascontiguousarray(mean.transpose(1, 0, 2)).reshape(count, -1)

    def _step(
        self, given: Float32, kept: Float32, state: Float32, memory: Float32
    ) -> tuple[Float32, Float32]:
        """From what the input and the state give the gates, `(directions, n, gates x hidden)`: the
        next state and memory.
        """
        raise NotImplementedError


class _Gru(_Recurrent):
    GATES = 3
    SIGMOIDS = (0, 1)

    def _step(
        self, given: Float32, kept: Float32, state: Float32, memory: Float32
    ) -> tuple[Float32, Float32]:
        split = 2 * self.hidden
        opened = np.float32(0.5) * np.tanh(given[..., :split] + kept[..., :split]) + np.float32(0.5)
        reset, update = opened[..., : self.hidden], opened[..., self.hidden :]
        candidate = np.tanh(given[..., split:] + reset * kept[..., split:])
        return candidate + update * (state - candidate), memory


class _Lstm(_Recurrent):
    GATES = 4
    SIGMOIDS = (0, 1, 3)

    def _step(
        self, given: Float32, kept: Float32, state: Float32, memory: Float32
    ) -> tuple[Float32, Float32]:
        hidden, half = self.hidden, np.float32(0.5)
        gates = np.tanh(given + kept)
        # i f g o; all but g are sigmoids.
        opened = half * gates + half
        memory = (
            opened[..., hidden : 2 * hidden] * memory
            + opened[..., :hidden] * gates[..., 2 * hidden : 3 * hidden]
        )
        return opened[..., 3 * hidden :] * np.tanh(memory), memory


class _Dense:
    def __init__(self, layer: DenseLayer) -> None:
        self._matrix = np.ascontiguousarray(as_float(layer.weight).T)
        self._bias = layer.bias

    def __call__(self, value: Float32) -> Float32:
        outputs: Float32 = value @ self._matrix + self._bias
        return outputs

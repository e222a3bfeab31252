"""The layers of a network in NumPy, for `NumpySession`.

Between convolutions, arrays are `(n, bands, channels)`, so that each window of a convolution is one
contiguous piece of memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.network.kernels import LARGEST_SQUARE, KernelMember, similarities
from ccnvr.edge.network.layers import (
    Activation,
    ConvolutionLayer,
    DenseLayer,
    Direction,
    StoredInt8,
    as_float,
)
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.firmware_bridge.arrays import Float32

_EXACT_IN_FLOAT32 = 2**24
"""The largest integer up to which float32 holds every integer."""


def quantized(value: Float32, activation: Activation) -> Float32:
    """Return `q - zero_point` of the int8 values q that stand for `value`, as whole numbers."""
    zero = np.float32(activation.zero_point)
    # rint rounds halves to even, as ONNX defines QuantizeLinear.
    whole = np.rint(value / np.float32(activation.scale)) + zero
    centred: Float32 = np.clip(whole, np.float32(-128.0), np.float32(127.0)) - zero
    return centred


class FloatConvolution:
    """A convolution in float32, followed by max-pooling and ReLU."""

    unit = np.float32(1.0)
    """The value of one unit of the output."""

    def __init__(self, layer: ConvolutionLayer, pool: int) -> None:
        weight = as_float(layer.weight)
        self._kernel, self._pool = weight.shape[2], pool
        self._matrix: Float32 = _matrix(weight)
        self._bias = layer.bias
        self.weight_columns = len(self._matrix)

    def __call__(self, value: Float32) -> Float32:
        """Return `(n, bands // pool, filters)` for `(n, bands, channels)`."""
        # Bias and ReLU keep the order of values, so they give the same after the pooling, where
        # there are fewer of them.
        # As a matrix product (im2col): one call of BLAS is far faster than a loop over the kernel.
        pooled = _max_pool(_columns(value, self._kernel) @ self._matrix, self._pool)
        rectified: Float32 = np.maximum(pooled + self._bias, np.float32(0.0))
        return rectified


class Int8Convolution:
    """A convolution in int8 like onnxruntime's QLinearConv, with max-pooling and ReLU.

    Inputs and outputs are whole numbers, stored as floats, from which the zero point has been
    subtracted. They are scaled after the pooling, which gives the same with less work.
    """

    def __init__(
        self, layer: ConvolutionLayer, before: Activation, after: Activation, pool: int
    ) -> None:
        assert isinstance(layer.weight, StoredInt8)
        values, scales = layer.weight.values, layer.weight.scales
        self._kernel, self._pool = values.shape[2], pool
        matrix = _matrix(values).astype(np.int64)
        # The sums are exact integers in whichever float type can hold the largest possible one.
        # BLAS multiplies floats, and several times faster than NumPy multiplies integers.
        largest = int(
            (255 * np.abs(matrix).sum(axis=0) + np.abs(layer.bias.astype(np.int64))).max()
        )
        exact = np.dtype(np.float32 if largest < _EXACT_IN_FLOAT32 else np.float64)
        self._matrix: NDArray[np.floating] = np.ascontiguousarray(matrix, dtype=exact)
        self._bias: NDArray[np.floating] = layer.bias.astype(exact)
        self._factor = np.float32(before.scale) * scales / np.float32(after.scale)
        # Zero is where ReLU cuts, and never below int8's own lower limit.
        self._low, self._high = np.float32(0.0), np.float32(127 - after.zero_point)
        self.unit = np.float32(after.scale)
        """The value of one unit of the output."""
        self.weight_columns = len(matrix)

    def __call__(self, value: Float32) -> Float32:
        """Return `(n, bands // pool, filters)` for `(n, bands, channels)`."""
        sums = _max_pool(
            _columns(value.astype(self._matrix.dtype, copy=False), self._kernel) @ self._matrix,
            self._pool,
        )
        scaled: Float32 = (sums + self._bias).astype(np.float32) * self._factor
        return np.clip(np.rint(scaled), self._low, self._high)


def _columns(value: NDArray[np.floating], kernel: int) -> NDArray[np.floating]:
    """Return windows `(n, bands, kernel x channels)` around the bands of `(n, bands, channels)`.

    The ends are padded with zeros. In this order each window is one piece of memory, which makes
    the copy fast.
    """
    half = kernel // 2
    padded = np.pad(value, ((0, 0), (half, half), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=1)
    return windows.swapaxes(2, 3).reshape(*value.shape[:2], -1)


def _matrix(weight: NDArray[Any]) -> NDArray[Any]:
    """Return weights `(filters, channels, kernel)` as `(kernel x channels, filters)`."""
    return np.ascontiguousarray(weight.transpose(2, 1, 0)).reshape(-1, len(weight))


def _max_pool(value: NDArray[np.floating], pool: int) -> NDArray[np.floating]:
    """Return the maxima of `pool` bands: `(n, bands, filters)` -> `(n, bands // pool, filters)`."""
    steps = value.shape[1] // pool
    pooled: NDArray[np.floating] = (
        value[:, : steps * pool].reshape(len(value), steps, pool, -1).max(axis=2)
    )
    return pooled


def as_sequence(value: Float32, config: NetworkConfig) -> Float32:
    """Return the input of a recurrent layer, `(steps, n, channels x patch)`.

    `value` is `(n, bands, channels)`; bands that do not fill the last step are left out.
    """
    whole = value[:, : config.steps * config.patch]
    patches = whole.reshape(len(value), config.steps, config.patch, -1)
    return np.ascontiguousarray(patches.transpose(1, 0, 3, 2)).reshape(config.steps, len(value), -1)


def as_features(value: Float32, config: NetworkConfig) -> Float32:
    """Return `(n, bands, channels)` as `(n, channels x bands)`, for cell `none`."""
    return np.ascontiguousarray(value[:, : config.steps * config.patch].transpose(0, 2, 1)).reshape(
        len(value), -1
    )


class _Recurrent:
    """A recurrent layer whose states are averaged over the steps, in one direction or both.

    Both directions run side by side; the backward one starts at the last step, and the mean does
    not depend on the order. A sigmoid is computed as `tanh(x / 2) / 2 + 1 / 2`: the weights of its
    gates are halved once, here, and one call of tanh then serves all gates.
    """

    GATES = 0
    SIGMOIDS: tuple[int, ...] = ()
    """The numbers of the gates that have a sigmoid; the others have a tanh."""

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
        """Return the mean state `(n, directions x hidden)` for `(steps, n, features)`."""
        steps, count, features = sequence.shape
        # One large product for all steps is much faster than one product for each.
        given = [sequence.reshape(-1, features) @ weight for weight in self._input]
        gates = (
            np.stack([part.reshape(steps, count, -1) for part in given], axis=1) + self._input_bias
        )
        # The backward direction reads the steps from the end. NumPy buffers overlapping
        # assignments.
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
        """Return the next state and memory, both `(directions, n, hidden)`.

        `given` and `kept` are what the input and the last state contribute to the gates,
        `(directions, n, gates x hidden)`.
        """
        raise NotImplementedError


class Gru(_Recurrent):
    """A gated recurrent unit as torch defines it, with the gates r, z, n."""

    GATES = 3
    SIGMOIDS = (0, 1)

    def _step(
        self, given: Float32, kept: Float32, state: Float32, memory: Float32
    ) -> tuple[Float32, Float32]:
        split = 2 * self.hidden
        opened = np.float32(0.5) * np.tanh(given[..., :split] + kept[..., :split]) + np.float32(0.5)
        reset, update = opened[..., : self.hidden], opened[..., self.hidden :]
        candidate = np.tanh(given[..., split:] + reset * kept[..., split:])
        # The same as torch's (1 - z) n + z h, with one product less.
        return candidate + update * (state - candidate), memory


class Lstm(_Recurrent):
    """A long short-term memory as torch defines it, with the gates i, f, g, o."""

    GATES = 4
    SIGMOIDS = (0, 1, 3)

    def _step(
        self, given: Float32, kept: Float32, state: Float32, memory: Float32
    ) -> tuple[Float32, Float32]:
        hidden, half = self.hidden, np.float32(0.5)
        gates = np.tanh(given + kept)
        opened = half * gates + half
        memory = (
            opened[..., hidden : 2 * hidden] * memory
            + opened[..., :hidden] * gates[..., 2 * hidden : 3 * hidden]
        )
        return opened[..., 3 * hidden :] * np.tanh(memory), memory


class Dense:
    """A fully connected layer."""

    def __init__(self, layer: DenseLayer) -> None:
        self._matrix = np.ascontiguousarray(as_float(layer.weight).T)
        self._bias = layer.bias

    def __call__(self, value: Float32) -> Float32:
        """Return `(n, outputs)` for `(n, inputs)`."""
        outputs: Float32 = value @ self._matrix + self._bias
        return outputs


class Kernel:
    """A kernel member without its bias, see `FoldedKernel`."""

    def __init__(self, member: KernelMember) -> None:
        folded = member.folded()
        self._centre = member.centre
        self._components = np.ascontiguousarray(folded.components.T)
        self._minus_twice = np.ascontiguousarray(folded.minus_twice.T)
        self._norms, self._usual = folded.norms, folded.usual
        self._weights = np.ascontiguousarray(folded.weights.T)
        self._kind = member.kind

    def layers(self, spectra: Float32) -> tuple[Float32, Float32, Float32]:
        """Return components `(n, d)`, similarities `(n, soils)` and outputs `(n, outputs)`.

        `spectra` is the flattened model input, `(n, channels x bands)`.
        """
        centred: Float32 = spectra - self._centre
        components: Float32 = centred @ self._components
        # Expanded, because the differences themselves are `d` times as many numbers.
        products = components @ self._minus_twice + self._norms
        products += (components * components).sum(axis=1, keepdims=True)
        # Rounding may leave the square of a small distance below 0.
        squares = np.clip(products, np.float32(0.0), np.float32(LARGEST_SQUARE))
        similar: Float32 = similarities(self._kind, squares)
        different: Float32 = similar - self._usual
        outputs: Float32 = different @ self._weights
        return components, similar, outputs

"""A trained CCNVR as arrays: the source of every model file, and what the NumPy engine runs.

A network has one of three profiles:

- `fp32`: float weights.
- `weights`: weights stored as int8, but computed with as floats.
- `int8`: the convolutions also compute in int8, between quantised activations; the layers after
  them are as in `weights`.

Weights are symmetric int8 with a scale for each output channel, activations are asymmetric int8
with one scale for the tensor: Jacob et al. 2018, CVPR, 2704-2713.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.network.kernels import KERNEL_ARRAYS, KernelMember
from ccnvr.edge.network.layout import (
    DIRECTIONS,
    PROFILES,
    activation_count,
    direction_names,
    layout,
)
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.firmware_bridge.frozen import frozen

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]

# Far above what training gives, and far enough below 3e38, the limit of float32, that the sums of a
# layer stay finite.
_LARGEST_VALUE = 1e9


@frozen
class Activation:
    """The quantisation of a tensor between layers: int8 q stands for `scale x (q - zero_point)`.

    Raises:
        ValueError: the scale is not a float32 of sensible size, or the zero point is not int8.
    """

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        # Engines store scales as float32; one that rounds there would give other results than here.
        if not 1e-12 < self.scale < 1e6 or float(np.float32(self.scale)) != self.scale:
            raise ValueError(
                f"the scale {self.scale} of an activation must be a float32 from 1e-12 to 1e6"
            )
        if not -128 <= self.zero_point <= 127:
            raise ValueError(
                f"the zero point {self.zero_point} of an activation must be from -128 to 127"
            )

    @classmethod
    def of_range(cls, low: float, high: float) -> Activation:
        """Return the quantisation for values from `low` to `high`; values beyond are clipped."""
        # Padding adds zeros, so zero must be in the range and must be represented exactly.
        low, high = min(low, 0.0), max(high, 0.0)
        # The floor is for an activation that is zero on all soils, whose scale would be 0.
        scale = float(np.float32(max((high - low) / 255.0, 1e-9)))
        return cls(scale, int(np.clip(np.rint(-128.0 - low / scale), -128, 127)))


# Compared by identity (eq=False): arrays have no truth value, so a generated comparison would fail.
@frozen(eq=False)
class StoredInt8:
    """A weight as int8, with a scale for each output.

    `values` is `(outputs, ...)`, from -127 to 127; `scales` is `(outputs,)`, float32.
    """

    values: Int8
    scales: Float32

    @classmethod
    def of(cls, weight: Float32) -> StoredInt8:
        """Return the nearest int8 weight: the largest value of each output becomes 127."""
        largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        # The floor gives an output whose weights are all zero a positive scale.
        scales = (np.maximum(largest, np.float32(1e-9)) / np.float32(127.0)).astype(np.float32)
        values = np.clip(np.rint(weight / _by_output(scales, weight.ndim)), -127, 127).astype(
            np.int8
        )
        return cls(values, scales)

    def restored(self) -> Float32:
        """Return the weight as float32."""
        return self.values.astype(np.float32) * _by_output(self.scales, self.values.ndim)


Weight = Float32 | StoredInt8


def as_float(weight: Weight) -> Float32:
    """Return the weight as a layer that computes in floats uses it."""
    return weight.restored() if isinstance(weight, StoredInt8) else weight


@frozen(eq=False)
class ConvolutionLayer:
    """The weights `(filters, channels, kernel)` and biases `(filters,)` of a convolution.

    With int8 activations the bias is int32, in units of the input's scale times the filter's.
    """

    weight: Weight
    bias: Float32 | Int32


@frozen(eq=False)
class Direction:
    """One direction of the recurrent layer, with rows ordered gate by gate (see `layout.GATES`).

    `input_weight` is `(gates x hidden, features)`, `state_weight` `(gates x hidden, hidden)`, both
    biases `(gates x hidden,)`. A GRU's reset gate multiplies the product with the state after
    `state_bias` is added, as in torch.
    """

    input_weight: Weight
    state_weight: Weight
    input_bias: Float32
    state_bias: Float32


@frozen(eq=False)
class DenseLayer:
    """The weights `(outputs, inputs)` and biases `(outputs,)` of a fully connected layer."""

    weight: Weight
    bias: Float32


@frozen(eq=False)
class Standardisation:
    """The standardisation `(x - mean) x factor` of each band; both are `(channels, bands)`."""

    mean: Float32
    factor: Float32


@frozen(eq=False)
class NetworkArrays:
    """A network as arrays, from model input `(n, channels, bands)` to outputs `(n, targets)`.

    In order:

    1. the standardisation, if `config` has one;
    2. convolutions with same padding, each followed by ReLU and max-pooling;
    3. the recurrent layer, whose states are averaged over the steps, forward and backward side by
       side; bands that do not fill the last step are left out. With cell `none`, the features
       channel by channel;
    4. the dense layer with ReLU, and the output layer;
    5. if `config` has one, the linear calibration: the product of `linear`,
       `(outputs, channels x bands)`, with the standardised input is added to the outputs. It is
       computed in floats in every profile;
    6. the outputs of the kernel members, which read the input before its standardisation, are
       added. They and, beside them, the linear calibration are stored as floats in every profile.

    A model of members only has neither `dense` nor `output`, and nothing of steps 2 to 4.

    `directions` has one or two entries, and none with cell `none`. `activations`, for profile
    `int8`, are those of the first convolution's input and of each convolution's output after ReLU.

    Raises:
        ValueError: an array does not fit `config` and `profile`, or holds a value that is not
            finite or too large.
    """

    config: NetworkConfig
    profile: str
    standardisation: Standardisation | None
    convolutions: tuple[ConvolutionLayer, ...]
    directions: tuple[Direction, ...]
    dense: DenseLayer | None
    output: DenseLayer | None
    linear: Weight | None
    activations: tuple[Activation, ...] = ()
    kernels: tuple[KernelMember, ...] = ()

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"profile {self.profile!r} is not one of {', '.join(PROFILES)}")
        expected = activation_count(self.config, self.profile)
        if len(self.activations) != expected:
            raise ValueError(
                f"it has {len(self.activations)} activations where profile {self.profile} has "
                f"{expected} here"
            )
        if tuple((kernel.kind, kernel.length) for kernel in self.kernels) != tuple(
            (shape.kind, shape.length) for shape in self.config.kernels
        ):
            raise ValueError("its kernel members are not of the kinds in its configuration")
        wanted, tensors = layout(self.config, self.profile), self.tensors()
        # Both ways: an array too many would be left out of the file in silence.
        if set(wanted) != set(tensors):
            raise ValueError(
                "its tensors and its configuration differ in "
                f"{', '.join(sorted(set(wanted) ^ set(tensors)))}"
            )
        for name, (dtype, shape) in wanted.items():
            _check_tensor(name, tensors[name], dtype, shape)

    @property
    def computes_int8(self) -> bool:
        """Whether the network has convolutions and they compute in int8."""
        return bool(self.activations)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by their names in `layout`, in its order."""
        found: dict[str, NDArray[Any]] = {}

        def add(name: str, weight: Weight) -> None:
            if isinstance(weight, StoredInt8):
                found[name], found[f"{name}.scales"] = weight.values, weight.scales
            else:
                found[name] = weight

        if self.standardisation is not None:
            found["standardisation.mean"] = self.standardisation.mean
            found["standardisation.factor"] = self.standardisation.factor
        for number, layer in enumerate(self.convolutions):
            add(f"convolution{number}.weight", layer.weight)
            found[f"convolution{number}.bias"] = layer.bias
        for name, direction in zip(DIRECTIONS, self.directions, strict=False):
            add(f"{name}.input_weight", direction.input_weight)
            add(f"{name}.state_weight", direction.state_weight)
            found[f"{name}.input_bias"] = direction.input_bias
            found[f"{name}.state_bias"] = direction.state_bias
        for name, dense in (("dense", self.dense), ("output", self.output)):
            if dense is not None:
                add(f"{name}.weight", dense.weight)
                found[f"{name}.bias"] = dense.bias
        if self.linear is not None:
            add("linear.weight", self.linear)
        for number, kernel in enumerate(self.kernels):
            found |= {f"kernel{number}.{name}": value for name, value in kernel.tensors().items()}
        return found


def assemble(
    config: NetworkConfig,
    profile: str,
    scales: tuple[Activation, ...],
    tensors: Mapping[str, NDArray[Any]],
) -> NetworkArrays:
    """Return a network from its arrays by name, the inverse of `NetworkArrays.tensors`.

    Raises:
        ValueError: an array is missing, or does not fit.
    """
    wanted = layout(config, profile)

    def weight(name: str) -> Weight:
        if f"{name}.scales" not in wanted:
            return tensors[name]
        return StoredInt8(tensors[name], tensors[f"{name}.scales"])

    def dense(name: str) -> DenseLayer | None:
        if f"{name}.bias" not in wanted:
            return None
        return DenseLayer(weight(f"{name}.weight"), tensors[f"{name}.bias"])

    def direction(name: str) -> Direction:
        biases = tensors[f"{name}.input_bias"], tensors[f"{name}.state_bias"]
        return Direction(weight(f"{name}.input_weight"), weight(f"{name}.state_weight"), *biases)

    try:
        numbers = range(len(config.convolutions))
        return NetworkArrays(
            config=config,
            profile=profile,
            standardisation=Standardisation(
                tensors["standardisation.mean"], tensors["standardisation.factor"]
            )
            if config.standardise
            else None,
            convolutions=tuple(
                ConvolutionLayer(
                    weight(f"convolution{number}.weight"), tensors[f"convolution{number}.bias"]
                )
                for number in numbers
            ),
            directions=tuple(direction(name) for name in direction_names(config)),
            dense=dense("dense"),
            output=dense("output"),
            linear=weight("linear.weight") if config.linear else None,
            activations=scales,
            kernels=tuple(
                KernelMember(
                    shape.kind,
                    shape.length,
                    **{name: tensors[f"kernel{number}.{name}"] for name in KERNEL_ARRAYS},
                )
                for number, shape in enumerate(config.kernels)
            ),
        )
    except KeyError as error:
        raise ValueError(f"its tensor {error} is missing") from None


def _check_tensor(name: str, tensor: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> None:
    if tensor.dtype != np.dtype(dtype) or tensor.shape != shape:
        raise ValueError(
            f"its tensor {name} is {tensor.dtype} {tensor.shape} and must be {np.dtype(dtype)} "
            f"{shape}"
        )
    # TFLite's specification of int8 excludes -128 from weights, and its kernels rely on that.
    if dtype == "|i1" and tensor.min() < -127:
        raise ValueError(f"its tensor {name} holds -128, which symmetric weights never do")
    if dtype == "<f4" and not np.all(np.abs(tensor) < _LARGEST_VALUE):
        raise ValueError(
            f"its tensor {name} holds a number that is not finite, or not below {_LARGEST_VALUE:g}"
        )
    if name.endswith((".scales", ".factor")) and not np.all(tensor > 0.0):
        raise ValueError(f"its tensor {name} holds a scale that is not positive")


def _by_output(scales: Float32, dimensions: int) -> Float32:
    """Return scales `(outputs,)` as `(outputs, 1, ...)`, to multiply weights with."""
    return scales.reshape(-1, *[1] * (dimensions - 1))

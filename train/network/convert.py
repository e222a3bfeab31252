"""Convert a torch network to `NetworkArrays` and back, and float weights to int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from ccnvr.edge.network.layers import (
    Activation,
    ConvolutionLayer,
    DenseLayer,
    Direction,
    NetworkArrays,
    Standardisation,
    StoredInt8,
    assemble,
)
from ccnvr.edge.network.layout import DIRECTIONS, direction_names, stored_weights
from ccnvr.train.network.ccnvr import CCNVR

_LARGEST_BIAS = 2.0**30
"""The largest bias in units of the int32 accumulator, which leaves room for the products."""


def to_arrays(network: CCNVR) -> NetworkArrays:
    """Return a torch network as arrays with its float weights: profile `fp32`."""
    config = network.config
    state = {
        name: value.detach().cpu().numpy().astype(np.float32)
        for name, value in network.state_dict().items()
    }
    standardisation = None
    if network.scale is not None:
        shape = (config.in_channels, config.bands)
        factor = 1.0 / np.sqrt(state["scale.running_var"] + np.float32(network.scale.eps))
        standardisation = Standardisation(
            state["scale.running_mean"].reshape(shape), factor.reshape(shape)
        )

    def direction(suffix: str) -> Direction:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return Direction(*(state[f"recurrent.{name}_l0{suffix}"] for name in names))

    def dense(name: str) -> DenseLayer | None:
        if config.members_only:
            return None
        return DenseLayer(state[f"{name}.weight"], state[f"{name}.bias"])

    return NetworkArrays(
        config=config,
        profile="fp32",
        standardisation=standardisation,
        convolutions=tuple(
            # torch numbers the modules of a sequence; each convolution is followed by its pool
            # and its ReLU, hence the factor of 3.
            ConvolutionLayer(
                state[f"convolutions.{3 * number}.weight"], state[f"convolutions.{3 * number}.bias"]
            )
            for number in range(len(config.convolutions))
        ),
        directions=tuple(
            direction(suffix)
            # Not strict, since a network of one direction has no second suffix.
            for suffix, _ in zip(("", "_reverse"), direction_names(config), strict=False)
        ),
        dense=dense("dense"),
        output=dense("output"),
        linear=state.get("linear.weight"),
        kernels=tuple(kernel.to_member() for kernel in network.kernel_modules()),
    )


def as_torch(network: NetworkArrays) -> CCNVR:
    """Return a network of profile `fp32` as a torch network, ready to predict or to train further.

    Raises:
        ValueError: it has another profile, so its weights are rounded.
    """
    if network.profile != "fp32":
        raise ValueError(
            f"its profile is {network.profile}, and only fp32 has the weights that were trained"
        )
    made = CCNVR(network.config)
    state = {}
    for name, tensor in network.tensors().items():
        layer, _, kind = name.partition(".")
        if layer == "standardisation":
            continue
        if layer in DIRECTIONS:
            side, what = kind.split("_")
            suffix = "_reverse" if layer == "backward" else ""
            state[f"recurrent.{what}_{'ih' if side == 'input' else 'hh'}_l0{suffix}"] = tensor
        elif layer.startswith("kernel"):
            state[f"kernels.{layer.removeprefix('kernel')}.{kind}"] = tensor
        else:
            # See `to_arrays` for the factor of 3.
            number = layer.removeprefix("convolution")
            state[name if layer == number else f"convolutions.{3 * int(number)}.{kind}"] = tensor
    if network.standardisation is not None and made.scale is not None:
        factor = network.standardisation.factor.astype(np.float64).ravel()
        state["scale.running_mean"] = network.standardisation.mean.ravel()
        # In float64, since little may be left of the variance when eps is taken off.
        state["scale.running_var"] = (factor**-2.0 - made.scale.eps).astype(np.float32)
    # Only the number of batches behind the statistics is not in the arrays; it stays as made.
    kept = {
        name: value
        for name, value in made.state_dict().items()
        if name == "scale.num_batches_tracked"
    }
    made.load_state_dict({**kept, **{name: torch.tensor(value) for name, value in state.items()}})
    return made.eval()


def with_int8_weights(
    network: NetworkArrays, rounded: Mapping[str, StoredInt8] | None = None
) -> NetworkArrays:
    """Return a float network with int8 weights: profile `weights`.

    Tensors that are not in `rounded` are rounded to the nearest int8.
    """
    tensors = network.tensors()
    for name in stored_weights(network.config):
        stored = (rounded or {}).get(name) or StoredInt8.of(tensors[name])
        tensors[name], tensors[f"{name}.scales"] = stored.values, stored.scales
    return assemble(network.config, "weights", (), tensors)


def with_int8_convolutions(network: NetworkArrays, scales: tuple[Activation, ...]) -> NetworkArrays:
    """Return a network of profile `weights` with convolutions in int8: profile `int8`.

    `scales` are those of the activations before, between and after the convolutions.
    """
    tensors = network.tensors()
    for number, before in enumerate(scales[:-1]):
        name = f"convolution{number}"
        # A bias is added to the accumulator, so it is rounded to the accumulator's unit.
        units = tensors[f"{name}.bias"] / (
            before.scale * tensors[f"{name}.weight.scales"].astype(np.float64)
        )
        tensors[f"{name}.bias"] = np.rint(np.clip(units, -_LARGEST_BIAS, _LARGEST_BIAS)).astype(
            np.int32
        )
    return assemble(network.config, "int8", scales, tensors)


def with_outputs(network: NetworkArrays, columns: Sequence[int]) -> NetworkArrays:
    """Return the network with these outputs only."""
    tensors = network.tensors()
    # A linear path without bias has one row for each output, as the output layer has.
    for name in [name for name in tensors if name.startswith(("output.", "linear."))]:
        tensors[name] = tensors[name][list(columns)]
    for number, kernel in enumerate(network.kernels):
        few = kernel.only(columns).tensors()
        tensors |= {f"kernel{number}.{name}": value for name, value in few.items()}
    config = replace(network.config, outputs=len(columns))
    return assemble(config, network.profile, network.activations, tensors)

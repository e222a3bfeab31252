"""From the torch network to `NetworkArrays` and back, and from float weights to int8."""

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
"""In units of the accumulator, to which as much again may be added."""


def to_arrays(network: CCNVR) -> NetworkArrays:
    """The network of torch with its float weights: profile `fp32`."""
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

    return NetworkArrays(
        config=config,
        profile="fp32",
        standardisation=standardisation,
        convolutions=tuple(
            # torch numbers the modules of the sequence: each convolution is followed by its pool
            # and its ReLU.
            ConvolutionLayer(
                state[f"convolutions.{3 * number}.weight"], state[f"convolutions.{3 * number}.bias"]
            )
            for number in range(len(config.convolutions))
        ),
        directions=tuple(
            direction(suffix)
            for suffix, _ in zip(("", "_reverse"), direction_names(config), strict=False)
        ),
        dense=DenseLayer(state["dense.weight"], state["dense.bias"]),
        output=DenseLayer(state["output.weight"], state["output.bias"]),
        linear=state.get("linear.weight"),
    )


def as_torch(network: NetworkArrays) -> CCNVR:
    """The torch network that answers as a network of profile `fp32` does, ready to predict and to
    be trained on.

    Raises:
        ValueError: it is of another profile, so its weights are rounded.
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
        else:
            # torch numbers the modules of the sequence, see `to_arrays`.
            number = layer.removeprefix("convolution")
            state[name if layer == number else f"convolutions.{3 * int(number)}.{kind}"] = tensor
    if network.standardisation is not None and made.scale is not None:
        factor = network.standardisation.factor.astype(np.float64).ravel()
        state["scale.running_mean"] = network.standardisation.mean.ravel()
        state["scale.running_var"] = (factor**-2.0 - made.scale.eps).astype(np.float32)
    # How many batches the statistics are of is the one thing that a network as data does not hold.
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
    """A float network with its weights as int8: profile `weights`. Those that are not `rounded`
    become the nearest int8.
    """
    tensors = network.tensors()
    for name in stored_weights(network.config):
        stored = (rounded or {}).get(name) or StoredInt8.of(tensors[name])
        tensors[name], tensors[f"{name}.scales"] = stored.values, stored.scales
    return assemble(network.config, "weights", (), tensors)


def with_int8_convolutions(network: NetworkArrays, scales: tuple[Activation, ...]) -> NetworkArrays:
    """A network of profile `weights` with convolutions that compute in int8 between activations of
    these scales: `int8`.
    """
    tensors = network.tensors()
    for number, before in enumerate(scales[:-1]):
        name = f"convolution{number}"
        # What rounding leaves of a bias is at most half a unit of the accumulator.
        units = tensors[f"{name}.bias"] / (
            before.scale * tensors[f"{name}.weight.scales"].astype(np.float64)
        )
        tensors[f"{name}.bias"] = np.rint(np.clip(units, -_LARGEST_BIAS, _LARGEST_BIAS)).astype(
            np.int32
        )
    return assemble(network.config, "int8", scales, tensors)


def with_outputs(network: NetworkArrays, columns: Sequence[int]) -> NetworkArrays:
    """The network with these outputs alone."""
    tensors = network.tensors()
    for name in [name for name in tensors if name.startswith(("output.", "linear."))]:
        tensors[name] = tensors[name][list(columns)]
    config = replace(network.config, outputs=len(columns))
    return assemble(config, network.profile, network.activations, tensors)

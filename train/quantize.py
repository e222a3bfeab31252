"""From the torch network to `QuantizedNetwork`, and from float weights to int8."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ccnvr.edge.quantized import (
    Activation,
    ConvolutionLayer,
    DenseLayer,
    Direction,
    Float32,
    QuantizedNetwork,
    Standardisation,
    StoredInt8,
    activations,
    as_float,
    direction_names,
)
from ccnvr.train.network import CCNVR


def as_data(network: CCNVR) -> QuantizedNetwork:
    """The network of torch with its float weights: profile `fp32`."""
    config = network.config
    state = {name: value.detach().cpu().numpy().astype(np.float32) for name, value in network.state_dict().items()}
    standardisation = None
    if network.scale is not None:
        shape = (config.in_channels, config.bands)
        factor = 1.0 / np.sqrt(state["scale.running_var"] + np.float32(network.scale.eps))
        standardisation = Standardisation(state["scale.running_mean"].reshape(shape), factor.reshape(shape))

    def direction(suffix: str) -> Direction:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return Direction(*(state[f"recurrent.{name}_l0{suffix}"] for name in names))

    return QuantizedNetwork(
        config=config,
        profile="fp32",
        standardisation=standardisation,
        convolutions=tuple(
            # torch numbers the modules of the sequence: each convolution is followed by its ReLU and its pool.
            ConvolutionLayer(state[f"convolutions.{3 * number}.weight"], state[f"convolutions.{3 * number}.bias"])
            for number in range(len(config.convolutions))
        ),
        directions=tuple(direction(suffix) for suffix, _ in zip(("", "_reverse"), direction_names(config), strict=False)),
        dense=DenseLayer(state["dense.weight"], state["dense.bias"]),
        output=DenseLayer(state["output.weight"], state["output.bias"]),
    )


def with_int8_weights(network: QuantizedNetwork) -> QuantizedNetwork:
    """A float network with its weights rounded to int8: profile `weights`."""
    return replace(
        network,
        profile="weights",
        convolutions=tuple(replace(layer, weight=_stored(layer.weight)) for layer in network.convolutions),
        directions=tuple(
            replace(part, input_weight=_stored(part.input_weight), state_weight=_stored(part.state_weight))
            for part in network.directions
        ),
        dense=replace(network.dense, weight=_stored(network.dense.weight)),
        output=replace(network.output, weight=_stored(network.output.weight)),
    )


def with_int8_convolutions(network: QuantizedNetwork, scales: tuple[Activation, ...]) -> QuantizedNetwork:
    """A float network with int8 weights, and int8 convolutions between activations of these scales: profile `int8`.

    Raises:
        ValueError: there are not as many scales as activations.
    """
    if len(scales) != activations(network.config, "int8"):
        raise ValueError(f"{len(scales)} activations were measured where the network has {len(network.convolutions) + 1}")
    stored = with_int8_weights(network)
    layers = []
    for layer, scale in zip(stored.convolutions, scales, strict=False):
        assert isinstance(layer.weight, StoredInt8)
        # Whatever rounding leaves of the bias is less than half a unit of the accumulator.
        units = layer.bias / (np.float64(scale.scale) * layer.weight.scales)
        layers.append(ConvolutionLayer(layer.weight, np.rint(np.clip(units, -(2.0**30), 2.0**30)).astype(np.int32)))
    return replace(stored, profile="int8", convolutions=tuple(layers), activations=scales)


def _stored(weight: Float32 | StoredInt8) -> StoredInt8:
    return StoredInt8.of(as_float(weight))

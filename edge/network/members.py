"""Models with kernel members: a network with members beside it, or members alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ccnvr.edge.network.kernels import KernelMember
from ccnvr.edge.network.layers import NetworkArrays, Standardisation, Weight
from ccnvr.edge.network.shape import NetworkConfig


def with_members(network: NetworkArrays, members: Sequence[KernelMember]) -> NetworkArrays:
    """Return a network of profile `fp32` with these kernel members in place of any that it has.

    Raises:
        ValueError: an array of a member does not fit the network.
        UsageError: a member is not possible, or they are too many.
    """
    config = replace(network.config, kernels=tuple(member.shape for member in members))
    return replace(network, config=config, kernels=tuple(members))


def members_alone(
    in_channels: int,
    bands: int,
    members: Sequence[KernelMember],
    linear: Weight | None = None,
    standardisation: Standardisation | None = None,
) -> NetworkArrays:
    """Return a model without a network, of profile `fp32`.

    Args:
        in_channels: the channels of the model's input.
        bands: the bands of each channel.
        members: at least one kernel member.
        linear: the weights `(outputs, channels x bands)` of a linear path beside them; its
            intercept belongs into the bias of a member.
        standardisation: that of the linear path's input.

    Raises:
        ValueError: an array does not fit.
        UsageError: there is no member, or one is not possible.
    """
    config = NetworkConfig(
        convolutions=(),
        cell="none",
        standardise=standardisation is not None,
        linear=linear is not None,
        in_channels=in_channels,
        bands=bands,
        outputs=len(members[0].bias) if members else 1,
        members_only=True,
        kernels=tuple(member.shape for member in members),
    )
    return NetworkArrays(
        config=config,
        profile="fp32",
        standardisation=standardisation,
        convolutions=(),
        directions=(),
        dense=None,
        output=None,
        linear=linear,
        kernels=tuple(members),
    )


def without_members(config: NetworkConfig) -> NetworkConfig:
    """Return the configuration of the network that kernel members were added to."""
    return replace(config, kernels=())

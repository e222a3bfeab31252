"""A trained model with members beside it that were fitted to a few other soils, as one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ccnvr.edge.network.kernels import KernelMember
from ccnvr.edge.network.layers import DenseLayer, NetworkArrays, as_float
from ccnvr.edge.network.members import with_members
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.members.members import Member
from ccnvr.train.members.plsr import LinearMember
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.convert import as_torch, to_arrays


def adapted(network: CCNVR, shares: Array, members: Sequence[Member]) -> CCNVR:
    """Return a model that predicts a share of what another does, plus what the members do.

    `shares` `(targets,)` are factors of the network's standardised outputs. At least one of the
    members is a kernel member, which carries the constants.
    """
    model = _shared(to_arrays(network), shares)
    kernels = [member for member in members if isinstance(member, KernelMember)]
    for member in members:
        if isinstance(member, LinearMember):
            model, constants = _with_linear(model, member)
            # The linear path has no bias of its own.
            bias = kernels[0].bias + constants.astype(np.float32)
            kernels[0] = replace(kernels[0], bias=bias)
    return as_torch(with_members(model, [*model.kernels, *kernels]))


def rescaled(member: Member, factors: Array | float, constants: Array | float = 0.0) -> Member:
    """Return a member whose outputs are multiplied by `factors`, with `constants` added.

    Both are for all targets, or `(targets,)`.
    """
    if isinstance(member, LinearMember):
        return LinearMember(
            member.weights * np.reshape(factors, (-1, 1)),
            member.intercepts * factors + constants,
        )
    weights, bias = member.weights * factors, member.bias * factors + constants
    return replace(member, weights=weights.astype(np.float32), bias=bias.astype(np.float32))


def _shared(network: NetworkArrays, shares: Array) -> NetworkArrays:
    """Return a network whose outputs are multiplied by `shares` `(targets,)`."""
    factors = shares.astype(np.float32)
    output = network.output
    if output is not None:
        output = DenseLayer(as_float(output.weight) * factors[:, None], output.bias * factors)
    kernels = tuple(
        replace(kernel, weights=kernel.weights * factors, bias=kernel.bias * factors)
        for kernel in network.kernels
    )
    linear = None if network.linear is None else as_float(network.linear) * factors[:, None]
    return replace(network, output=output, linear=linear, kernels=kernels)


def _with_linear(network: NetworkArrays, member: LinearMember) -> tuple[NetworkArrays, Array]:
    """Return a network with a linear member in its linear path, and the constants left to add."""
    weights, constants = member.weights, member.intercepts
    if network.standardisation is not None:
        # The linear path reads the standardised input: x = z / factor + mean.
        constants = constants + weights @ network.standardisation.mean.ravel().astype(np.float64)
        weights = weights / network.standardisation.factor.ravel()
    if network.linear is not None:
        weights = weights + as_float(network.linear)
    # The base may have had no linear path, and its configuration must say that there is one now.
    config = replace(network.config, linear=True)
    return replace(network, config=config, linear=weights.astype(np.float32)), constants

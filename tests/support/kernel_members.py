"""Models with kernel members to test with: fitted to smooth random soils, or of given sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ccnvr.edge.network.kernels import KernelMember
from ccnvr.edge.network.layers import NetworkArrays
from ccnvr.edge.network.members import members_alone, with_members
from ccnvr.edge.network.shape import KernelShape
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.convert import as_torch, to_arrays


def a_member(shape: KernelShape, inputs: int, outputs: int, seed: int = 1) -> KernelMember:
    """A member of random soils whose distances are about its length."""
    rng = np.random.default_rng(seed)

    def random(sd: float, *sizes: int) -> Float32:
        return (sd * rng.normal(size=sizes)).astype(np.float32)

    spread = shape.length / np.sqrt(2.0 * shape.components)
    return KernelMember(
        shape.kind,
        shape.length,
        centre=random(0.3, inputs),
        components=random(spread / np.sqrt(inputs), shape.components, inputs),
        soils=random(spread, shape.soils, shape.components),
        weights=random(1.0 / np.sqrt(shape.soils), shape.soils, outputs),
        bias=random(0.5, outputs),
    )


KINDS = (KernelShape("matern32", 2.0, 7, 20), KernelShape("rbf", 3.0, 5, 11))


def with_kernels(network: CCNVR, shapes: tuple[KernelShape, ...] = KINDS) -> CCNVR:
    """The network with members beside it."""
    config = network.config
    members = [
        a_member(shape, config.inputs, config.outputs, seed) for seed, shape in enumerate(shapes)
    ]
    return as_torch(with_members(to_arrays(network), members))


def alone(
    in_channels: int = 2,
    bands: int = 140,
    outputs: int = 3,
    shapes: tuple[KernelShape, ...] = KINDS,
    linear: bool = False,
) -> NetworkArrays:
    """A model of members only."""
    inputs = in_channels * bands
    members = [a_member(shape, inputs, outputs, seed) for seed, shape in enumerate(shapes)]
    weight: Any = None
    if linear:
        rng = np.random.default_rng(9)
        weight = (rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
    return members_alone(in_channels, bands, members, weight)

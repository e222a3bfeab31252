"""Kernel members of a model: support soils that a spectrum is compared with.

A kernel member is what a Gaussian process or a support vector machine predicts with: a weight for
each soil that it was fitted to, times the similarity of that soil to the spectrum. Rasmussen and
Williams 2006, Gaussian Processes for Machine Learning, MIT Press: equations 2.27 (the prediction as
a sum over soils), 4.9 (squared exponential) and 4.17 (Matern).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.network.shape import MATERN, KernelShape
from ccnvr.firmware_bridge.arrays import Float32, Integers
from ccnvr.firmware_bridge.frozen import frozen

KERNEL_ARRAYS = ("centre", "components", "soils", "weights", "bias")
"""The arrays of a kernel member, in the order of a network's file."""

LARGEST_SQUARE = 1e4
"""The largest scaled square of a distance that engines compute with.

The similarity is exactly or nearly 0 well before it, at exp(-100) for Matern 3/2, and without a
limit a hostile spectrum could give infinity times zero.
"""

_MOST_COMPARED = 256
_COMPARED_AT_ONCE = 128


def similarities(kind: str, squares: NDArray[Any]) -> NDArray[Any]:
    """Return the similarities at scaled squares of distances, see `FoldedKernel`."""
    if kind == MATERN:
        distances = np.sqrt(squares)
        # A one of the squares' own type, which keeps float32 as it is.
        found: NDArray[Any] = (distances + squares.dtype.type(1.0)) * np.exp(-distances)
    else:
        found = np.exp(-squares)
    return found


@frozen(eq=False)
class FoldedKernel:
    """A kernel member with its constants multiplied out, as every engine computes it.

    With `z = components @ (input - centre)`, the square of the scaled distance to each soil is
    `z.z + minus_twice @ z + norms`, not below 0 and at most `LARGEST_SQUARE`. The similarity is
    `(1 + r) exp(-r)` for Matern 3/2, where r is the root of the square, and exp(-square) for `rbf`.
    The scale is in the components and the soils. The outputs are `weights @ (similarity - usual)`,
    to which `total_bias` adds the rest.

    Large weights of both signs cancel in that sum, and an engine that adds up thousands of products
    in float32 loses digits where the sum grows far above its final value on the way. With Matern
    3/2, those that cancel belong to similar soils, so the soils are sorted along the first
    component.

    `components` is `(d, channels x bands)`, `minus_twice` `(soils, d)`, `norms` and `usual`
    `(soils,)` and `weights` `(outputs, soils)`, all float32.
    """

    components: Float32
    minus_twice: Float32
    norms: Float32
    usual: Float32
    weights: Float32


@frozen(eq=False)
class KernelMember:
    """A sum of similarities to soils, from model input to outputs; float32 in every profile.

    The flattened model input (channel by channel, before any standardisation) minus `centre` is
    projected on the `components`. The similarity to each of the `soils` is a function of the
    Euclidean distance d there: `(1 + r) exp(-r)` with `r = sqrt(3) d / length` for `matern32`, and
    `exp(-d^2 / (2 length^2))` for `rbf`. The outputs are similarities times `weights`, plus `bias`.

    Attributes:
        kind: `matern32` or `rbf`.
        length: the length scale, in the units of the components.
        centre: `(channels x bands,)`.
        components: `(d, channels x bands)`.
        soils: the soils' components, `(soils, d)`.
        weights: `(soils, outputs)`.
        bias: `(outputs,)`.
    """

    kind: str
    length: float
    centre: Float32
    components: Float32
    soils: Float32
    weights: Float32
    bias: Float32

    @property
    def shape(self) -> KernelShape:
        """The shape, as a network's configuration states it."""
        return KernelShape(self.kind, self.length, len(self.components), len(self.soils))

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays by name, in the order of `KERNEL_ARRAYS`."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name in KERNEL_ARRAYS
        }

    @property
    def order(self) -> Integers:
        """The numbers of the soils in the order in which a folded member has them, `(soils,)`."""
        if self.kind != MATERN:
            # With an infinitely differentiable kernel, weights cancel over all distances.
            return np.arange(len(self.soils))
        return np.argsort(self.soils[:, 0], kind="stable")

    @property
    def scale(self) -> float:
        """The factor from components to those of the folded member."""
        return (math.sqrt(3.0) if self.kind == MATERN else math.sqrt(0.5)) / self.length

    @cached_property
    def usual(self) -> Float32:
        """The mean similarity of each soil to some of the others, `(soils,)`, in steps of 1/256.

        Large weights of both signs cancel in the outputs, and what float32 loses there is in
        proportion to the similarities. They are several times as large as their differences from
        these.
        """
        some = self.soils[:: -(-len(self.soils) // _MOST_COMPARED)].astype(np.float64)
        some_squared = (some**2).sum(axis=1)
        mean = np.empty(len(self.soils))
        # In blocks, because the squares of all soils would take more memory than the model does.
        for start in range(0, len(self.soils), _COMPARED_AT_ONCE):
            rows = slice(start, start + _COMPARED_AT_ONCE)
            soils = self.soils[rows].astype(np.float64)
            products = -2.0 * soils @ some.T + some_squared
            squares = np.maximum(products + (soils**2).sum(axis=1)[:, None], 0.0) * self.scale**2
            mean[rows] = similarities(self.kind, squares).mean(axis=1)
        # In steps, so that model files do not depend on the last bits of a product's sum.
        usual: Float32 = (np.rint(256.0 * mean) / 256.0).astype(np.float32)
        return usual

    def folded(self) -> FoldedKernel:
        """Return the member as engines compute it."""
        scale = self.scale
        order = self.order
        # Multiplied in float64 and rounded once, so that every engine gets the same constants.
        soils = (scale * self.soils[order].astype(np.float64)).astype(np.float32)
        return FoldedKernel(
            components=(scale * self.components.astype(np.float64)).astype(np.float32),
            minus_twice=-2.0 * soils,
            # Of the rounded soils, so that the distance of a soil to itself comes near 0.
            norms=(soils.astype(np.float64) ** 2).sum(axis=1).astype(np.float32),
            usual=self.usual[order],
            weights=np.ascontiguousarray(self.weights[order].T),
        )

    def only(self, columns: Sequence[int]) -> KernelMember:
        """Return the member with these outputs only."""
        return replace(
            self,
            weights=np.ascontiguousarray(self.weights[:, list(columns)]),
            bias=self.bias[list(columns)],
        )


def total_bias(members: Sequence[KernelMember]) -> Float32:
    """Return what the outputs of folded members lack, `(outputs,)`, which engines add once."""
    total = np.zeros(len(members[0].bias))
    for member in members:
        total += member.bias + member.usual.astype(np.float64) @ member.weights
    return total.astype(np.float32)

"""The ranges of activations in a float network, from which its int8 convolutions get their scales.

One outlier among a million values would make the steps coarse for all the others, so values beyond
a percentile are clipped.
"""

from __future__ import annotations

import math

import numpy as np

from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.layers import Activation, NetworkArrays
from ccnvr.edge.network.layout import activation_count
from ccnvr.firmware_bridge.arrays import Float32

_SPECTRA_AT_ONCE = 64
# 16 MB for each activation (decision 0047).
_MOST_NUMBERS = 4_000_000
"""The most values of an activation that are kept for its percentiles."""


class _Seen:
    """The values of one activation: a sample for percentiles, and the extremes of all."""

    def __init__(self, spectra: int) -> None:
        self._spectra = spectra
        self._some: list[Float32] = []
        self._lowest, self._highest = math.inf, -math.inf

    def add(self, values: Float32) -> None:
        """Add the values `(n, channels, bands)` of n spectra."""
        size = values[0].size
        step = max(1, self._spectra * size // _MOST_NUMBERS)
        # A step that shares a factor with the size of the layer would pick the same bands of every
        # spectrum.
        while math.gcd(step, size) > 1:
            step += 1
        # Copied, because a view would keep all values in memory.
        self._some.append(values.ravel()[::step].copy())
        self._lowest, self._highest = (
            min(self._lowest, float(values.min())),
            max(self._highest, float(values.max())),
        )

    def range(self, percentile: float) -> tuple[float, float]:
        """Return the lower and the upper percentile; for 100, the extremes of all values."""
        if percentile == 100.0:
            return self._lowest, self._highest
        some = np.concatenate(self._some)
        return float(np.percentile(some, 100.0 - percentile)), float(
            np.percentile(some, percentile)
        )


def ranges(
    network: NetworkArrays, inputs: Float32, percentiles: tuple[float, ...]
) -> list[tuple[Activation, ...]]:
    """Return, for each percentile, the scales of all activations of a float network.

    Args:
        network: the float network.
        inputs: model inputs `(n, channels, bands)`.
        percentiles: percentiles of the activations' values, up to 100.
    """
    seen = [_Seen(len(inputs)) for _ in range(activation_count(network.config, "int8"))]
    if not seen:
        return [() for _ in percentiles]
    session = NumpySession(network)
    for start in range(0, len(inputs), _SPECTRA_AT_ONCE):
        batch = inputs[start : start + _SPECTRA_AT_ONCE]
        layers = [("input", batch), *session.layers(batch)]
        # The first convolution of a network that standardises reads the standardised spectra, so
        # the layer called `input` is skipped.
        for activation, (_, values) in zip(
            seen, layers[bool(network.standardisation) :], strict=False
        ):
            activation.add(values)
    return [
        tuple(Activation.of_range(*activation.range(percentile)) for activation in seen)
        for percentile in percentiles
    ]

"""The ranges of activations: from what a float network shows on training soils to the scales of its
int8 convolutions.

An outlier among a million values would make the steps coarse for all the others, so what lies
beyond a percentile is clipped.
"""

from __future__ import annotations

import math

import numpy as np

from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.layers import Activation, NetworkArrays
from ccnvr.edge.network.layout import activation_count
from ccnvr.firmware_bridge.arrays import Float32

_SPECTRA_AT_ONCE = 64
_MOST_NUMBERS = 4_000_000
"""Of an activation, kept for its percentiles."""


class _Seen:
    """The numbers of one activation: some, for percentiles, and the extremes of all."""

    def __init__(self, spectra: int) -> None:
        self._spectra = spectra
        self._some: list[Float32] = []
        self._lowest, self._highest = math.inf, -math.inf

    def add(self, values: Float32) -> None:
        """`(n, channels, bands)` of n of the spectra."""
        size = values[0].size
        step = max(1, self._spectra * size // _MOST_NUMBERS)
        # A step that had a factor in common with the layer would see some bands alone.
        while math.gcd(step, size) > 1:
            step += 1
        self._some.append(values.ravel()[::step].copy())  # which does not keep the rest
        self._lowest, self._highest = (
            min(self._lowest, float(values.min())),
            max(self._highest, float(values.max())),
        )

    def range(self, percentile: float) -> tuple[float, float]:
        """What `100 - percentile` and `percentile` per cent lie below; the extremes themselves for
        100.
        """
        if percentile == 100.0:
            return self._lowest, self._highest
        some = np.concatenate(self._some)
        return float(np.percentile(some, 100.0 - percentile)), float(
            np.percentile(some, percentile)
        )


def ranges(
    network: NetworkArrays, inputs: Float32, percentiles: tuple[float, ...]
) -> list[tuple[Activation, ...]]:
    """For each percentile the scales of all activations of a float network, from model input `(n,
    channels, bands)`.
    """
    seen = [_Seen(len(inputs)) for _ in range(activation_count(network.config, "int8"))]
    if not seen:
        return [() for _ in percentiles]
    backend = NumpySession(network)
    for start in range(0, len(inputs), _SPECTRA_AT_ONCE):
        batch = inputs[start : start + _SPECTRA_AT_ONCE]
        layers = [("input", batch), *backend.layers(batch)]
        # The network's first convolution reads what was standardised, if it standardises.
        for activation, (_, values) in zip(
            seen, layers[bool(network.standardisation) :], strict=False
        ):
            activation.add(values)
    return [
        tuple(Activation.of_range(*activation.range(percentile)) for activation in seen)
        for percentile in percentiles
    ]

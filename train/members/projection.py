"""Principal components of model inputs, half-whitened for distances between soils.

Each channel is centred and scaled to a mean square of 1 / bands before the analysis, so that all
channels count alike. Divided by the square roots of their standard deviations, the components give
distances that neither the first few dominate nor the noise of the last ones; both extremes were
worse on ICRAF-ISRIC (docs/decisions/0071).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.arrays import Array, Integers

_LEAST_VARIANCE = 1e-9
"""The least variance of a component, as a share of the first one's; below it is rounding."""


@dataclass(frozen=True, eq=False)
class Projection:
    """The principal components of flattened model inputs."""

    centre: Array
    """The mean input, `(inputs,)`."""

    loadings: Array
    """The components `(rank, inputs)` by decreasing variance, for inputs minus `centre`."""

    deviations: Array
    """The standard deviations of the components, `(rank,)`."""

    @classmethod
    def of(cls, inputs: Array, channels: int, seen: NDArray[np.bool_] | None = None) -> Projection:
        """Analyse inputs `(rows, channels x bands)`, at least two of which differ.

        With `seen` `(bands,)`, the components are those of these bands alone, and do not depend on
        the others.
        """
        centre = inputs.mean(axis=0)
        centred = (inputs - centre).reshape(len(inputs), channels, -1)
        seen = np.ones(centred.shape[2], dtype=bool) if seen is None else seen
        size = np.sqrt(np.mean(centred[:, :, seen] ** 2, axis=(0, 2)))
        # A constant channel says nothing, and must not divide by 0.
        factor = np.outer(1.0 / np.maximum(size, 1e-12), seen / np.sqrt(seen.sum())).ravel()
        scaled = centred.reshape(len(inputs), -1) * factor
        # The smaller of the two products has the same eigenvalues.
        if len(scaled) < scaled.shape[1]:
            squares, scores = np.linalg.eigh(scaled @ scaled.T)
            kept = _kept(squares)
            vectors = scores[:, kept].T @ scaled / np.sqrt(squares[kept])[:, None]
        else:
            squares, directions = np.linalg.eigh(scaled.T @ scaled)
            kept = _kept(squares)
            vectors = directions[:, kept].T
        return cls(centre, vectors * factor, np.sqrt(squares[kept] / len(inputs)))

    @property
    def rank(self) -> int:
        """The number of components."""
        return len(self.deviations)

    def scores(self, inputs: Array) -> Array:
        """Return all components `(n, rank)` of inputs `(n, inputs)`."""
        scores: Array = (inputs - self.centre) @ self.loadings.T
        return scores

    def half_whitened(self) -> Array:
        """Return the loadings `(rank, inputs)`, each divided by the root of its deviation."""
        return self.loadings / np.sqrt(self.deviations)[:, None]


def _kept(squares: Array) -> Integers:
    """Return the numbers of the eigenvalues that are no rounding, the largest first."""
    order = np.argsort(squares)[::-1]
    kept: Integers = order[squares[order] > _LEAST_VARIANCE * squares[order[0]]]
    return kept

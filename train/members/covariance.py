"""Covariances of soils by their distance."""

from __future__ import annotations

import numpy as np

from ccnvr.edge.network.shape import MATERN
from ccnvr.firmware_bridge.arrays import Array


def squared_distances(points: Array, others: Array) -> Array:
    """Return the squared distances `(n, m)` between points `(n, d)` and `(m, d)`."""
    # |a - b|^2 = |a|^2 + |b|^2 - 2ab; rounding may leave it slightly below 0.
    squares = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2.0 * points @ others.T
    clipped: Array = np.maximum(squares, 0.0)
    return clipped


def covariance(kind: str, squares: Array, length: float) -> Array:
    """Return the covariance for squared distances: Matern 3/2 or a radial basis function.

    The kinds are those of `KernelMember`. Rasmussen and Williams 2006, Gaussian Processes for
    Machine Learning, MIT Press: equations 4.17 and 4.9.
    """
    if kind == MATERN:
        return matern(squares, length)
    found: Array = np.exp(-0.5 / length**2 * squares)
    return found


def matern(squares: Array, length: float) -> Array:
    """Return the Matern 3/2 covariance for squared distances."""
    distances = np.sqrt(3.0 * squares) / length
    found: Array = (1.0 + distances) * np.exp(-distances)
    return found

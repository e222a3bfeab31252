"""A process on inducing soils, for libraries whose soils are too many to compare a spectrum with.

Its predictions are sums over a few inducing soils, and what these sums are is learnt from all of
the soils: the subset of regressors, Rasmussen and Williams 2006, Gaussian Processes for Machine
Learning, MIT Press, equation 8.14. A fit takes time in proportion to the number of soils.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, solve_triangular

from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.members.covariance import squared_distances

_JITTER = 1e-8
"""What is added to the variance of each inducing soil, so that the matrix stays invertible."""


@dataclass(frozen=True)
class Noise:
    """The variances of the noise to choose from, and the share that rows of one measurement have.

    What the laboratory missed of a soil is the same for all spectra of it, so most of the noise is
    shared among them.
    """

    variances: tuple[float, ...]
    """In units of the process's own variance."""

    unshared: float
    """The share of the noise that each row has of its own; it keeps the matrix invertible."""

    def shared_by(self, groups: Integers, values: Array) -> Array:
        """Return the covariance of the noise `(n, n)` for a variance of 1.

        `groups` `(n,)` numbers the soils, and `values` `(n,)` are one property.
        """
        alike = _numbered(groups, values)
        shared: Array = (1.0 - self.unshared) * (alike[:, None] == alike)
        shared[np.diag_indices(len(values))] = 1.0
        return shared


def draw(points: Array, count: int) -> Integers:
    """Return the rows of `count` points that are spread over all of the points `(n, d)`.

    Each is drawn with a probability in proportion to its squared distance from those drawn before:
    Arthur and Vassilvitskii 2007, k-means++, Proc. 18th ACM-SIAM Symp. Discrete Algorithms:1027.
    """
    # The seed follows from the data, so that the same soils always give the same member.
    rng = np.random.default_rng(len(points))
    drawn = [int(rng.integers(len(points)))]
    nearest = squared_distances(points, points[drawn])[:, 0]
    while len(drawn) < count:
        # A point that was drawn has distance 0 and is not drawn again, unless all points are equal.
        nearest[drawn[-1]] = 0.0
        total = float(nearest.sum())
        if total <= 0.0:
            break
        drawn.append(int(rng.choice(len(points), p=nearest / total)))
        # Only the distances to the latest point are new, which keeps the draw linear in the points.
        nearest = np.minimum(nearest, squared_distances(points, points[drawn[-1:]])[:, 0])
    return np.sort(np.array(drawn))


@dataclass(frozen=True, eq=False)
class Inducing:
    """The covariances that a process on inducing soils is fitted with."""

    factor: Array
    """The upper Cholesky factor `(m, m)` of the covariance between the inducing soils."""

    covariance: Array
    """The covariance between all rows and the inducing soils, `(n, m)`."""

    kept: Integers
    """The rows of the inducing soils, `(m,)`."""

    @classmethod
    def of(cls, covariance: Array, kept: Integers) -> Inducing:
        """Take the covariance of all rows with the inducing ones `(n, m)`, and which these are."""
        between = covariance[kept] + _JITTER * np.eye(len(kept))
        return cls(cholesky(between), covariance, kept)

    def solved(
        self, rows: Integers, values: Array, groups: Integers, noise: Noise
    ) -> Iterator[tuple[float, Array]]:
        """Yield the mean squared error of left-out soils and the weights `(m,)` for each noise.

        The errors are those of the other soils. Where an inducing soil is left out, nothing would
        be known of the function that is centred on it, which no new soil has to suffer from.

        Args:
            rows: those of `covariance` in which the property was measured, `(k,)`.
            values: the property there, `(k,)`.
            groups: the number of each row's soil, `(k,)`; all rows of a soil are left out together.
            noise: what to choose from.
        """
        alike = _numbered(groups, values)
        # With rows of equal noise, and unit covariance between the features, the process is a ridge
        # regression.
        features = solve_triangular(self.factor, self.covariance[rows].T, trans="T").T
        features = _scaled(features, alike, noise.unshared, -0.5)
        centred = _scaled((values - values.mean())[:, None], alike, noise.unshared, -0.5)[:, 0]
        # One analysis serves every noise.
        strengths, directions = eigh(features.T @ features)
        features = features @ directions
        projected = features.T @ centred
        blocks, judged = list(blocks_of(groups)), self._judged(rows, alike)
        for variance in noise.variances:
            # Rounding may leave the smallest eigenvalues slightly below 0.
            shrunk = 1.0 / (np.maximum(strengths, 0.0) + variance)
            residuals = centred - features @ (shrunk * projected)
            missed = np.empty_like(residuals)
            for block in blocks:
                parts = features[block]
                # The soil's block of the hat matrix gives the errors without it, and spares a fit
                # for each soil.
                hats = (parts * shrunk) @ parts.transpose(0, 2, 1)
                left = np.eye(block.shape[1]) - hats
                missed[block] = np.linalg.solve(left, residuals[block][:, :, None])[:, :, 0]
            errors = _scaled(missed[:, None], alike, noise.unshared, 0.5)
            weights = solve_triangular(self.factor, directions @ (shrunk * projected))
            yield float(np.mean(errors[judged] ** 2)), weights

    def _judged(self, rows: Integers, alike: Integers) -> NDArray[np.bool_]:
        """Return which rows are of other measurements than the inducing ones are."""
        inducing = np.isin(alike, alike[np.isin(rows, self.kept)])
        # With few soils all of them are inducing, and no others are left to judge by.
        return np.ones(len(rows), dtype=bool) if inducing.all() else ~inducing


def blocks_of(groups: Integers) -> Iterator[Integers]:
    """Yield, for each number of rows that soils have, the rows of these soils `(soils, rows)`."""
    order = np.argsort(groups, kind="stable")
    _, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    for count in np.unique(counts):
        first = starts[counts == count]
        yield order[first[:, None] + np.arange(count)]


def _numbered(groups: Integers, values: Array) -> Integers:
    """Return a number for each measurement: rows of one soil with the same value share it.

    Horizons of a profile are one soil in `groups`, but they were measured each.
    """
    _, numbers = np.unique(np.stack([groups, values]), axis=1, return_inverse=True)
    # NumPy 2.0 alone returns an inverse of two dimensions when an axis is given.
    found: Integers = numbers.ravel()
    return found


def _scaled(rows: Array, alike: Integers, unshared: float, power: float) -> Array:
    """Multiply rows `(n, k)` by a power of the noise's covariance, whose diagonal is 1.

    Among c rows of one measurement the covariance is 1 - `unshared`. Its eigenvectors are their
    mean, with eigenvalue c - (c - 1) `unshared`, and what deviates from it, with `unshared`.
    """
    _, starts, counts = np.unique(np.sort(alike), return_index=True, return_counts=True)
    # Without repeated measurements the covariance is the identity, and nothing is to be scaled.
    if counts.max() == 1:
        return rows
    order = np.argsort(alike, kind="stable")
    means = np.add.reduceat(rows[order], starts, axis=0) / counts[:, None]
    largest = counts - (counts - 1) * unshared
    change = (largest**power - unshared**power)[:, None] * means
    scaled: Array = unshared**power * rows + change[alike]
    return scaled

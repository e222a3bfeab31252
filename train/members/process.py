"""A Gaussian process with a Matern 3/2 kernel on half-whitened principal components, as a member.

The number of components, the length and the noise are those with the least error when each soil is
left out, all of its copies together. Rasmussen and Williams 2006, Gaussian Processes for Machine
Learning, MIT Press: equations 2.25 (mean), 4.17 (Matern) and 5.12 (leave-one-out prediction).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ccnvr.edge.network.kernels import KernelMember
from ccnvr.edge.network.shape import MATERN
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.members.projection import Projection
from ccnvr.train.members.soils import MemberSoils

COMPONENTS = (16, 32, 64)
LENGTHS = (1.0, 2.0, 4.0)
"""In units of the median distance between soils."""

NOISES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""The variance of the noise, in units of the process's own variance."""

NUGGET = 0.1
"""The share of the noise that copies of a soil do not share; it keeps the matrix invertible."""

MOST_CHOSEN_ON = 800
"""The most spectra that components and length are chosen on, because time grows with their cube."""


@dataclass(frozen=True)
class Geometry:
    """The components that distances are computed in, and their unit."""

    components: int
    """The number of components."""

    median: float
    """The median distance between two soils there."""

    length: float
    """The length of the process, in the units of the components."""


def fit_process(soils: MemberSoils, projection: Projection) -> tuple[KernelMember, Geometry]:
    """Fit a process to each property; all of them share components and length."""
    loadings = projection.half_whitened()
    points = (soils.inputs - projection.centre) @ loadings.T
    geometry = _choose(soils, points)
    points = points[:, : geometry.components]
    covariance = matern(squared_distances(points, points), geometry.length)
    weights, bias = np.zeros((len(points), soils.values.shape[1])), []
    for column, values in enumerate(soils.values.T):
        rows = np.flatnonzero(~np.isnan(values))
        mean, found = _best(covariance[np.ix_(rows, rows)], values[rows], soils.groups[rows])
        weights[rows, column] = found
        bias.append(mean)
    member = KernelMember(
        MATERN,
        geometry.length,
        centre=projection.centre.astype(np.float32),
        components=loadings[: geometry.components].astype(np.float32),
        soils=points.astype(np.float32),
        weights=weights.astype(np.float32),
        bias=np.array(bias, dtype=np.float32),
    )
    return member, geometry


def squared_distances(points: Array, others: Array) -> Array:
    """Return the squared distances `(n, m)` between points `(n, d)` and `(m, d)`."""
    # |a - b|^2 = |a|^2 + |b|^2 - 2ab; rounding may leave it slightly below 0.
    squares = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2.0 * points @ others.T
    clipped: Array = np.maximum(squares, 0.0)
    return clipped


def matern(squares: Array, length: float) -> Array:
    """Return the Matern 3/2 covariance for squared distances."""
    distances = np.sqrt(3.0 * squares) / length
    covariance: Array = (1.0 + distances) * np.exp(-distances)
    return covariance


def _choose(soils: MemberSoils, points: Array) -> Geometry:
    """Return the components and the length with the least error over all properties."""
    rows = np.flatnonzero(soils.first)
    if len(rows) > MOST_CHOSEN_ON:
        rows = np.random.default_rng(len(rows)).choice(rows, MOST_CHOSEN_ON, replace=False)
    best, least = None, np.inf
    # Components are nested, so one analysis serves all counts.
    for count in sorted({min(count, points.shape[1]) for count in COMPONENTS}):
        squares = squared_distances(points[rows, :count], points[rows, :count])
        median = float(np.sqrt(np.median(squares[np.triu_indices(len(rows), 1)])))
        for factor in LENGTHS:
            length = factor * max(median, 1e-6)
            missed = _missed(soils.rows(rows), matern(squares, length))
            if best is None or missed < least:
                best, least = Geometry(count, median, length), missed
    assert best is not None
    return best


def _missed(soils: MemberSoils, covariance: Array) -> float:
    """Return the sum over the properties of the least mean squared error of left-out soils."""
    total = 0.0
    for values in soils.values.T:
        known = np.flatnonzero(~np.isnan(values))
        total += min(
            error
            for error, _ in _solved(
                covariance[np.ix_(known, known)], values[known], soils.groups[known]
            )
        )
    return total


def _best(covariance: Array, values: Array, groups: Integers) -> tuple[float, Array]:
    """Return the mean and the weights `(n,)` with the noise that misses left-out soils least."""
    _, weights = min(_solved(covariance, values, groups), key=lambda found: found[0])
    return float(values.mean()), weights


def _solved(covariance: Array, values: Array, groups: Integers) -> Iterator[tuple[float, Array]]:
    """Yield the mean squared error of left-out soils and the weights `(n,)` for each noise."""
    centred = values - values.mean()
    # What the laboratory missed of a soil is the same for all of its copies.
    shared = (groups[:, None] == groups).astype(np.float64)
    blocks = list(_blocks(groups))
    for noise in NOISES:
        disturbed = covariance + (1.0 - NUGGET) * noise * shared
        disturbed[np.diag_indices(len(values))] += NUGGET * noise
        # All blocks of the inverse are needed, so a factorisation alone would not do.
        inverse = np.linalg.inv(disturbed)
        weights = inverse @ centred
        error = sum(
            float(
                np.sum(
                    np.linalg.solve(
                        inverse[rows[:, :, None], rows[:, None, :]], weights[rows][:, :, None]
                    )
                    ** 2
                )
            )
            for rows in blocks
        )
        yield error / len(values), weights


def _blocks(groups: Integers) -> Iterator[Integers]:
    """Yield, for each number of rows that soils have, the rows of these soils `(soils, rows)`."""
    order = np.argsort(groups, kind="stable")
    _, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    for count in np.unique(counts):
        first = starts[counts == count]
        yield order[first[:, None] + np.arange(count)]

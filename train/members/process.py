"""A Gaussian process with a Matern 3/2 kernel on half-whitened principal components, as a member.

The number of components, the length and the noise are those with the least error when each soil is
left out, all of its copies together. For many soils they are chosen with the help of inducing
soils, and the process may be fitted to these: see `inducing.py`. Rasmussen and Williams 2006,
Gaussian Processes for Machine Learning, MIT Press: equations 2.25 (mean), 4.17 (Matern) and 5.12
(leave-one-out prediction).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve
from scipy.linalg.lapack import dpotrf, dpotri

from ccnvr.edge.network.kernels import KernelMember
from ccnvr.edge.network.shape import MATERN
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.members.covariance import matern, squared_distances
from ccnvr.train.members.inducing import Inducing, Noise, blocks_of, draw
from ccnvr.train.members.projection import Projection
from ccnvr.train.members.soils import MemberSoils

COMPONENTS = (16, 32, 64, 128, 256)
LENGTHS = (1.0, 2.0, 4.0)
"""In units of the median distance between soils."""

NOISE = Noise((0.02, 0.05, 0.1, 0.2, 0.4), unshared=0.1)

MOST_CHOSEN_ON = 800
"""The most spectra that components and length are chosen on, because time grows with their cube."""

MOST_EXACTLY = 1500
"""The most spectra that the noise is chosen on.

Where there are more, components and length are chosen with inducing soils.
"""

MOST_TRIED_ON = 1500
INDUCING_TRIED = 300
"""The most spectra, and the inducing ones of them, that components and length are chosen on."""

MOST_SOILS = 6000
"""The most spectra that a process is fitted to itself, because memory grows with their square."""

FEWEST_INDUCING = 800
"""The inducing soils of libraries above `MOST_SOILS`."""


@dataclass(frozen=True)
class Geometry:
    """The components that distances are computed in, and their unit."""

    components: int
    """The number of components."""

    median: float
    """The median distance between two soils there."""

    length: float
    """The length of the process, in the units of the components."""


def fit_process(
    soils: MemberSoils,
    projection: Projection,
    most_soils: int = 0,
    most_components: int = 64,
    length: float = 0.0,
) -> tuple[KernelMember, Geometry]:
    """Fit a process to each property; all of them share components and length.

    It compares a spectrum with all rows of `soils`, or, if they are more than `most_soils`, with so
    many inducing ones; 0 takes all, up to `MOST_SOILS`. Of `COMPONENTS` those up to
    `most_components` are tried, and all of `LENGTHS`; with a `length`, in units of the median
    distance, only that one in `most_components`.
    """
    loadings = projection.half_whitened()
    points = (soils.inputs - projection.centre) @ loadings.T
    geometry = _choose(soils, points, most_components, length)
    points = points[:, : geometry.components]
    kept, weights = _fit(soils, points, geometry.length, most_soils)
    member = KernelMember(
        MATERN,
        geometry.length,
        centre=projection.centre.astype(np.float32),
        components=loadings[: geometry.components].astype(np.float32),
        soils=points[kept].astype(np.float32),
        weights=weights.astype(np.float32),
        bias=np.nanmean(soils.values, axis=0).astype(np.float32),
    )
    return member, geometry


def inducing_rows(points: Array, most_soils: int) -> Integers | None:
    """Return the inducing ones of points `(n, d)`, or None if all of them are compared with."""
    if most_soils and len(points) > most_soils:
        return draw(points, most_soils)
    return draw(points, FEWEST_INDUCING) if len(points) > MOST_SOILS else None


def _fit(
    soils: MemberSoils, points: Array, length: float, most_soils: int
) -> tuple[Integers, Array]:
    """Return the rows that a spectrum is compared with `(m,)` and their weights `(m, targets)`."""
    kept = inducing_rows(points, most_soils)
    if kept is None:
        return np.arange(len(points)), _fit_exactly(soils, points, length)
    inducing = _inducing(points, kept, length)
    weights = [
        _best(inducing.solved(rows, values, groups, NOISE))
        for rows, values, groups in _measured(soils)
    ]
    return kept, np.stack(weights, axis=1)


def _fit_exactly(soils: MemberSoils, points: Array, length: float) -> Array:
    """Return the weights `(n, targets)` of a process that compares with all rows."""
    covariance = matern(squared_distances(points, points), length)
    weights = np.zeros((len(points), soils.values.shape[1]))
    for column, (rows, values, groups) in enumerate(_measured(soils)):
        between = covariance[np.ix_(rows, rows)]
        if len(points) <= MOST_EXACTLY:
            weights[rows, column] = _best(_solved(between, values, groups))
        else:
            # An inverse of all for each noise would take minutes.
            some = _of_some_soils(groups)
            solved = _solved(between[np.ix_(some, some)], values[some], groups[some])
            noise = NOISE.variances[int(np.argmin([error for error, _ in solved]))]
            between += noise * NOISE.shared_by(groups, values)
            weights[rows, column] = solve(between, values - values.mean(), assume_a="pos")
    return weights


def _of_some_soils(groups: Integers) -> Integers:
    """Return at most `MOST_EXACTLY` rows, all rows of each of their soils but one."""
    drawn = np.random.default_rng(len(groups)).permutation(np.max(groups) + 1)[groups]
    return np.sort(np.argsort(drawn, kind="stable")[:MOST_EXACTLY])


def _inducing(points: Array, kept: Integers, length: float) -> Inducing:
    covariance = matern(squared_distances(points, points[kept]), length)
    return Inducing.of(covariance, kept)


def _measured(soils: MemberSoils) -> Iterator[tuple[Integers, Array, Integers]]:
    """Yield the rows in which each property was measured, its values there, and their groups."""
    for values in soils.values.T:
        rows = np.flatnonzero(~np.isnan(values))
        yield rows, values[rows], soils.groups[rows]


def _choose(soils: MemberSoils, points: Array, most_components: int, stated: float) -> Geometry:
    """Return the components and the length with the least error over all properties.

    A `stated` length is taken, with the most components.
    """
    rows = np.flatnonzero(soils.first)
    # One set of inducing soils for all, since errors are those of the other soils.
    kept = None
    if len(points) > MOST_EXACTLY:
        rows = _some(rows, MOST_TRIED_ON)
        kept = draw(points[rows, :most_components], INDUCING_TRIED)
    else:
        rows = _some(rows, MOST_CHOSEN_ON)
    some = soils.rows(rows)
    best, least = None, np.inf
    # Components are nested, so one analysis serves all counts.
    counts = [count for count in COMPONENTS if count <= most_components]
    if stated:
        counts = [most_components]
    for count in sorted({min(count, points.shape[1]) for count in counts}):
        tried = points[rows, :count]
        squares = squared_distances(tried, tried if kept is None else tried[kept])
        between = np.triu_indices(len(squares), 1, squares.shape[1])
        median = float(np.sqrt(np.median(squares[between])))
        for factor in (stated,) if stated else LENGTHS:
            length = factor * max(median, 1e-6)
            if stated:
                return Geometry(count, median, length)
            missed = _missed(some, matern(squares, length), kept)
            if best is None or missed < least:
                best, least = Geometry(count, median, length), missed
    assert best is not None
    return best


def _some(rows: Integers, most: int) -> Integers:
    if len(rows) <= most:
        return rows
    return np.random.default_rng(len(rows)).choice(rows, most, replace=False)


def _missed(soils: MemberSoils, covariance: Array, kept: Integers | None) -> float:
    """Return the sum over the properties of the least mean squared error of left-out soils."""
    inducing = None if kept is None else Inducing.of(covariance, kept)
    return sum(
        min(
            error
            for error, _ in (
                _solved(covariance[np.ix_(rows, rows)], values, groups)
                if inducing is None
                else inducing.solved(rows, values, groups, NOISE)
            )
        )
        for rows, values, groups in _measured(soils)
    )


def _best(found: Iterator[tuple[float, Array]]) -> Array:
    """Return the weights with the noise that misses left-out soils least."""
    return min(found, key=lambda each: each[0])[1]


def _solved(covariance: Array, values: Array, groups: Integers) -> Iterator[tuple[float, Array]]:
    """Yield the mean squared error of left-out soils and the weights `(n,)` for each noise."""
    centred = values - values.mean()
    shared = NOISE.shared_by(groups, values)
    blocks = list(blocks_of(groups))
    for variance in NOISE.variances:
        inverse = _inverse(covariance + variance * shared)
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


def _inverse(covariance: Array) -> Array:
    """Return the inverse of a covariance with noise on its diagonal, which is positive definite.

    All blocks of it are needed, so a factorisation alone would not do.
    """
    # By Cholesky's factor, which takes half the time of an inverse of any matrix.
    factor, failed = dpotrf(covariance, lower=True)
    if failed:
        raise np.linalg.LinAlgError("the covariance is not positive definite")
    lower = np.tril(dpotri(factor, lower=True)[0])
    inverse: Array = lower + np.tril(lower, -1).T
    return inverse

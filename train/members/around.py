"""A Gaussian process of a few soils around the predictions of a model that was trained before.

A property is taken for a share of the model's prediction, plus an offset, plus a Matern 3/2 process
on half-whitened principal components of these soils, plus noise. Ten soils say too little of the
share and of the variances to choose one of each. So all combinations are averaged, weighted by
their marginal likelihoods: where the model knows the soils, its share is near 1 and the process
adds little; where it does not, the process takes over.

Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, MIT Press: equations 2.30
(marginal likelihood), 2.38 (a process around given functions) and 4.17 (Matern). Hoeting et al.
1999, Statistical Science 14:382-417 (averaging of models).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import cho_solve, cholesky

from ccnvr.edge.network.kernels import KernelMember
from ccnvr.edge.network.shape import MATERN
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.members.covariance import matern, squared_distances
from ccnvr.train.members.process import NOISE
from ccnvr.train.members.projection import Projection
from ccnvr.train.members.soils import MemberSoils

SHARES = {0.0: 0.1, 0.25: 0.1, 0.5: 0.2, 0.75: 0.2, 1.0: 0.4}
"""The shares of the model's prediction, and how likely each is before any soil is seen."""

OFFSETS = (0.01, 0.1, 1.0)
"""The variances of the offset, in the standardised units of the model's targets."""

SIGNALS = (0.001, 0.1, 0.3, 1.0, 3.0)
"""The variances of the process, in units of the variance of the soils' own values."""

NOISES = (0.03, 0.1, 0.3, 1.0)
"""The variances of the noise, in the same units."""

COMPONENTS = 32
# Fixed, so that one matrix of covariances serves all combinations.
LENGTH = 2.0
"""The length of the process, in units of the median distance between the soils."""

MOST_WEIGHED_ON = 400
"""The most rows that combinations are weighed on, because time grows with their cube."""

_NEGLIGIBLE = 1e-3
"""The weight below which a combination is left out."""


@dataclass(frozen=True, eq=False)
class AroundModel:
    """What is predicted: the model's outputs times `shares`, plus the outputs of `member`."""

    shares: Array
    """`(targets,)`."""

    member: KernelMember
    """The process and the offset."""


@dataclass(frozen=True)
class _Combination:
    """A share, and the variances of offset, process and noise."""

    share: float
    offset: float
    signal: float
    noise: float


def fit_around(soils: MemberSoils, projection: Projection, predicted: Array) -> AroundModel:
    """Fit a process around a model's outputs `(rows, targets)` for the same rows.

    The soils' values are in the standardised units of the model's targets.
    """
    loadings = projection.half_whitened()[:COMPONENTS]
    points = (soils.inputs - projection.centre) @ loadings.T
    squares = squared_distances(points, points)
    # Replicates of a soil are left out, since their small distances say nothing about the soils.
    apart = squares[soils.groups[:, None] != soils.groups]
    # The floor keeps the kernel finite where all soils are equal, or there is only one.
    length = LENGTH * max(float(np.sqrt(np.median(apart))) if apart.size else 0.0, 1e-6)
    covariance = matern(squares, length)
    targets = soils.values.shape[1]
    weights, bias, shares = np.zeros((len(points), targets)), np.zeros(targets), np.zeros(targets)
    for column, values in enumerate(soils.values.T):
        rows = np.flatnonzero(~np.isnan(values))
        shares[column], bias[column], weights[rows, column] = _average(
            covariance[np.ix_(rows, rows)],
            NOISE.shared_by(soils.groups[rows], values[rows]),
            values[rows],
            predicted[rows, column],
        )
    member = KernelMember(
        MATERN,
        length,
        centre=projection.centre.astype(np.float32),
        components=loadings.astype(np.float32),
        soils=points.astype(np.float32),
        weights=weights.astype(np.float32),
        bias=bias.astype(np.float32),
    )
    return AroundModel(shares, member)


def _average(
    covariance: Array, shared: Array, values: Array, predicted: Array
) -> tuple[float, float, Array]:
    """Return the mean share, offset and weights `(n,)` of the process for one property."""
    spread = float(values.var())
    if spread == 0.0:
        spread = 1.0
    combinations = [
        _Combination(share, offset, signal * spread, noise * spread)
        for offset, signal, noise, share in product(OFFSETS, SIGNALS, NOISES, SHARES)
    ]
    rows = np.arange(len(values))
    if len(rows) > MOST_WEIGHED_ON:
        # The seed follows from the number of rows, so that repeating a fit gives the same model.
        rows = np.random.default_rng(len(rows)).choice(rows, MOST_WEIGHED_ON, replace=False)
    inside = np.ix_(rows, rows)
    found = _solved(combinations, covariance[inside], shared[inside], values[rows], predicted[rows])
    likelihoods = np.array([likelihood for likelihood, _ in found])
    likelihoods += np.log([SHARES[combination.share] for combination in combinations])
    # The largest is taken off first, since the exponential of a likelihood itself underflows.
    probable = np.exp(likelihoods - likelihoods.max())
    probable /= probable.sum()
    kept = np.flatnonzero(probable > _NEGLIGIBLE)
    combinations = [combinations[number] for number in kept]
    probable = probable[kept] / probable[kept].sum()
    solved = (
        [found[number] for number in kept]
        if len(rows) == len(values)
        else _solved(combinations, covariance, shared, values, predicted)
    )
    share, offset, weights = 0.0, 0.0, np.zeros(len(values))
    for weight, combination, (_, solution) in zip(probable, combinations, solved, strict=True):
        share += weight * combination.share
        # A constant with a normal prior is a process with constant covariance: its mean is this
        # sum.
        offset += weight * combination.offset * float(solution.sum())
        weights += weight * combination.signal * solution
    return share, offset, weights


def _solved(
    combinations: list[_Combination],
    covariance: Array,
    shared: Array,
    values: Array,
    predicted: Array,
) -> list[tuple[float, Array]]:
    """Return the log marginal likelihood, but for a constant, and the solution of each one.

    The solution `(n,)` is the inverse covariance times what the share of the model leaves over.
    """
    found, last, factor = [], None, np.empty(0)
    for combination in combinations:
        variances = (combination.offset, combination.signal, combination.noise)
        # Combinations that differ in the share alone follow one another, and share the factor.
        if variances != last:
            offset, signal, noise = last = variances
            factor = cholesky(signal * covariance + offset + noise * shared, lower=True)
        left = values - combination.share * predicted
        solution = cho_solve((factor, True), left)
        likelihood = -0.5 * float(left @ solution) - float(np.log(np.diag(factor)).sum())
        found.append((likelihood, solution))
    return found

"""Support vector regression with a radial basis function, as a member.

It reads the components that the process has chosen, and so shares its distances. Nearly all soils
are support vectors. Where a model may only compare with fewer, the machine is fitted to all soils
nevertheless, and what it predicts for them is then approximated by a sum over inducing soils.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve
from sklearn.svm import SVR

from ccnvr.edge.network.kernels import KernelMember
from ccnvr.edge.network.shape import RBF
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.members.covariance import covariance, squared_distances
from ccnvr.train.members.process import MOST_CHOSEN_ON, Geometry, inducing_rows
from ccnvr.train.members.projection import Projection
from ccnvr.train.members.soils import MemberSoils

COSTS = (1.0, 3.0, 10.0)
EPSILON = 0.1
INNER_FOLDS = 3
MOST_ITERATIONS = 200_000

APPROXIMATION_NOISE = 0.1
"""The noise in the approximation by inducing soils, which keeps its weights small."""

_JITTER = 1e-6
_ROWS_AT_ONCE = 1000


def fit_support_vectors(
    soils: MemberSoils, projection: Projection, geometry: Geometry, most_soils: int = 0
) -> KernelMember:
    """Fit a machine to each property, with the cost that inner cross-validation prefers.

    For `most_soils` see `process.fit_process`.
    """
    loadings = projection.half_whitened()[: geometry.components]
    points = (soils.inputs - projection.centre) @ loadings.T
    # So that the similarity of two soils at the median distance is exp(-1).
    gamma = 1.0 / max(geometry.median, 1e-6) ** 2
    weights, bias = _fit(soils, points, gamma)
    kept = inducing_rows(points, most_soils)
    if kept is not None:
        weights = _approximated(points, kept, gamma, weights)
    else:
        used = np.any(weights != 0.0, axis=1)
        # A machine without any support vector predicts its bias, but an empty member is not
        # possible.
        used[0] |= not used.any()
        kept, weights = np.flatnonzero(used), weights[used]
    return KernelMember(
        RBF,
        float(np.sqrt(0.5 / gamma)),
        centre=projection.centre.astype(np.float32),
        components=loadings.astype(np.float32),
        soils=points[kept].astype(np.float32),
        weights=weights.astype(np.float32),
        bias=bias.astype(np.float32),
    )


def _fit(soils: MemberSoils, points: Array, gamma: float) -> tuple[Array, Array]:
    """Return the weights `(n, targets)` and the biases `(targets,)` of the machines."""
    weights, bias = np.zeros((len(points), soils.values.shape[1])), []
    for column, values in enumerate(soils.values.T):
        rows = np.flatnonzero(~np.isnan(values))
        once = rows[soils.first[rows]]
        if len(once) > MOST_CHOSEN_ON:
            once = np.random.default_rng(len(once)).choice(once, MOST_CHOSEN_ON, replace=False)
        cost = _cost(points[once], values[once], soils.groups[once], gamma)
        machine = _machine(cost, gamma).fit(points[rows], values[rows])
        weights[rows[machine.support_], column] = machine.dual_coef_[0]
        bias.append(float(machine.intercept_[0]))
    return weights, np.array(bias)


def _approximated(points: Array, kept: Integers, gamma: float, weights: Array) -> Array:
    """Return weights `(m, targets)` of the kept points for sums over all points `(n, targets)`.

    They are those of a process on these inducing soils that is taught the sums themselves.
    """
    length = float(np.sqrt(0.5 / gamma))
    compared = covariance(RBF, squared_distances(points, points[kept]), length)
    sums = np.concatenate(
        [
            covariance(RBF, squared_distances(points[some], points), length) @ weights
            # In blocks, since all similarities at once would take the square of the memory.
            for some in np.array_split(np.arange(len(points)), -(-len(points) // _ROWS_AT_ONCE))
        ]
    )
    between = compared.T @ compared + APPROXIMATION_NOISE * compared[kept]
    found: Array = solve(between + _JITTER * np.eye(len(kept)), compared.T @ sums, assume_a="pos")
    return found


def _machine(cost: float, gamma: float) -> SVR:
    return SVR(C=cost, epsilon=EPSILON, gamma=gamma, max_iter=MOST_ITERATIONS)


def _cost(points: Array, values: Array, groups: Integers, gamma: float) -> float:
    numbers = np.unique(groups)
    fold_of = np.random.default_rng(len(numbers)).permutation(len(numbers)) % INNER_FOLDS
    folds = fold_of[np.searchsorted(numbers, groups)]

    def missed(cost: float) -> float:
        total = 0.0
        for fold in range(INNER_FOLDS):
            inside, outside = folds != fold, folds == fold
            machine = _machine(cost, gamma).fit(points[inside], values[inside])
            total += float(np.sum((machine.predict(points[outside]) - values[outside]) ** 2))
        return total

    return min(COSTS, key=missed)

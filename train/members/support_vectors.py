"""Support vector regression with a radial basis function, as a member.

It reads the components that the process has chosen, and so shares its distances.
"""

from __future__ import annotations

import numpy as np
from sklearn.svm import SVR

from ccnvr.edge.network.kernels import KernelMember
from ccnvr.edge.network.shape import RBF
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.members.process import Geometry
from ccnvr.train.members.projection import Projection
from ccnvr.train.members.soils import MemberSoils

COSTS = (1.0, 3.0, 10.0)
EPSILON = 0.1
INNER_FOLDS = 3
MOST_ITERATIONS = 200_000


def fit_support_vectors(
    soils: MemberSoils, projection: Projection, geometry: Geometry
) -> KernelMember:
    """Fit a machine to each property, with the cost that inner cross-validation prefers."""
    loadings = projection.half_whitened()[: geometry.components]
    points = (soils.inputs - projection.centre) @ loadings.T
    # So that the similarity of two soils at the median distance is exp(-1).
    gamma = 1.0 / max(geometry.median, 1e-6) ** 2
    weights, bias = np.zeros((len(points), soils.values.shape[1])), []
    for column, values in enumerate(soils.values.T):
        rows = np.flatnonzero(~np.isnan(values))
        once = rows[soils.first[rows]]
        cost = _cost(points[once], values[once], soils.groups[once], gamma)
        machine = _machine(cost, gamma).fit(points[rows], values[rows])
        weights[rows[machine.support_], column] = machine.dual_coef_[0]
        bias.append(float(machine.intercept_[0]))
    used = np.any(weights != 0.0, axis=1)
    # A machine without any support vector predicts its bias, but an empty member is not possible.
    used[0] |= not used.any()
    return KernelMember(
        RBF,
        float(np.sqrt(0.5 / gamma)),
        centre=projection.centre.astype(np.float32),
        components=loadings.astype(np.float32),
        soils=points[used].astype(np.float32),
        weights=weights[used].astype(np.float32),
        bias=np.array(bias, dtype=np.float32),
    )


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

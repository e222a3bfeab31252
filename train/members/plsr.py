"""Partial least squares regression as a linear member.

It works on the principal components of the inputs, which are a rotation of them, so the result is
that of the inputs themselves. Dayal and MacGregor 1997, J. Chemom. 11:73-85, algorithm 1, for one
property at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.members.projection import Projection
from ccnvr.train.members.soils import MemberSoils

MOST_COMPONENTS = 24
INNER_FOLDS = 5

_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class LinearMember:
    """A linear calibration of flattened model inputs."""

    weights: Array
    """`(targets, inputs)`."""

    intercepts: Array
    """`(targets,)`."""

    def predict(self, inputs: Array) -> Array:
        """Return standardised properties `(n, targets)` for inputs `(n, inputs)`."""
        outputs: Array = inputs @ self.weights.T + self.intercepts
        return outputs


def fit_plsr(soils: MemberSoils, projection: Projection) -> LinearMember:
    """Fit PLSR to each property, with the components that inner cross-validation prefers."""
    scores = projection.scores(soils.inputs)
    weights, intercepts = [], []
    for values in soils.values.T:
        known = ~np.isnan(values)
        coefficients, intercept = _fit(
            scores[known], values[known], soils.groups[known], soils.first[known]
        )
        weight = coefficients @ projection.loadings
        weights.append(weight)
        intercepts.append(intercept - float(weight @ projection.centre))
    return LinearMember(np.array(weights), np.array(intercepts))


def _fit(scores: Array, values: Array, groups: Integers, first: Array) -> tuple[Array, float]:
    """Return the coefficients `(rank,)` and the intercept of one property."""
    most = max(1, min(MOST_COMPONENTS, scores.shape[1], len(np.unique(groups)) // 4))
    # One copy suffices for the choice.
    missed = _missed(scores[first], values[first], groups[first], most)
    count = int(np.argmin(missed)) + 1
    centre, mean = scores.mean(axis=0), float(values.mean())
    coefficients = pls_coefficients(scores - centre, values - mean, count)[-1]
    return coefficients, mean - float(centre @ coefficients)


def _missed(scores: Array, values: Array, groups: Integers, most: int) -> Array:
    """Return the sum of squared errors of inner folds for each number of components, `(most,)`."""
    numbers = np.unique(groups)
    fold_of = np.random.default_rng(len(numbers)).permutation(len(numbers)) % INNER_FOLDS
    folds = fold_of[np.searchsorted(numbers, groups)]
    total = np.zeros(most)
    for fold in range(INNER_FOLDS):
        inside, outside = folds != fold, folds == fold
        if not outside.any() or inside.sum() < 2:
            continue
        centre, mean = scores[inside].mean(axis=0), values[inside].mean()
        found = pls_coefficients(scores[inside] - centre, values[inside] - mean, most)
        predicted = (scores[outside] - centre) @ found.T + mean
        total += np.sum((predicted - values[outside][:, None]) ** 2, axis=0)
    return total


def pls_coefficients(inputs: Array, values: Array, most: int) -> Array:
    """Return the coefficients `(most, columns)` of models with 1 to `most` components.

    Inputs `(n, columns)` and values `(n,)` are centred. Where the values are explained before all
    components are used, the larger models equal the last one.
    """
    columns = inputs.shape[1]
    covariance = inputs.T @ values
    rotations, loadings = np.zeros((most, columns)), np.zeros((most, columns))
    coefficients, total = np.zeros((most, columns)), np.zeros(columns)
    largest = float(np.linalg.norm(covariance))
    for number in range(most):
        size = float(np.linalg.norm(covariance))
        if size > _TINY * largest:
            rotation = covariance / size
            rotation = rotation - (loadings[:number] @ rotation) @ rotations[:number]
            scores = inputs @ rotation
            square = float(scores @ scores)
            loading = scores @ inputs / square
            gain = float(rotation @ covariance) / square
            total = total + gain * rotation
            covariance = covariance - gain * square * loading
            rotations[number], loadings[number] = rotation, loading
        coefficients[number] = total
    return coefficients

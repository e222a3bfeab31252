"""Prediction intervals that hold 90 % of new soils, by normalised split conformal prediction.

They are wider where the model errs more. The score of a soil is its absolute error divided by its
difficulty. The half width of a new soil's interval is its difficulty times the 90 % quantile of the
scores of soils that the model was not trained on.

Papadopoulos, Gammerman & Vovk 2008 (Normalized nonconformity measures for regression conformal
prediction, AIA 2008:64-69); Papadopoulos & Haralambous 2011, Neural Networks 24:842-851, for the
difficulty, a regression of the errors' logarithms; Lei et al. 2018, J. Am. Stat. Assoc.
113:1094-1111, section 5.2. Errors, outputs and widths are in standardised units.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ccnvr.edge.chemometrics.targets import Difficulty, Target
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.calibration.domain import FittedDomain, Positions, conformal_quantile

COVERAGE = 0.9

FEWEST_SCORES = 50
"""The soils needed for intervals of different widths.

With fewer, a regression of their errors would follow chance rather than difficulty.
"""

_RIDGE = 10.0
"""The ridge penalty; it acts as so many soils of each kind with the average error would."""


def with_intervals(
    targets: tuple[Target, ...],
    measured: Array,
    out_of_fold: Array,
    fold_of: Integers,
    fitted: FittedDomain | None,
) -> tuple[Target, ...]:
    """Return targets with intervals from the errors of their out-of-fold predictions.

    `measured` and `out_of_fold` are `(n, targets)` in the targets' units, NaN where not measured.
    Without a fitted domain all soils have the same width.
    """
    libraries = 0 if fitted is None else len(fitted.domain.shape.libraries)
    found = []
    for target, values, predicted in zip(targets, measured.T, out_of_fold.T, strict=True):
        known = ~np.isnan(values)
        outputs = target.standardise(predicted[known])
        errors = np.abs(outputs - target.standardise(values[known]))
        held_out = None if fitted is None else fitted.held_out[known]
        half_width, difficulty = fit_interval(errors, outputs, fold_of[known], held_out, libraries)
        found.append(dataclasses.replace(target, half_width_90=half_width, difficulty=difficulty))
    return tuple(found)


def fit_interval(
    errors: Array, outputs: Array, fold_of: Integers, held_out: Positions | None, libraries: int
) -> tuple[float, Difficulty | None]:
    """Return the half width at difficulty 1, and the difficulty.

    `errors` `(n,)` are absolute errors of soils that were not trained on. The difficulty in a
    soil's score is fitted without its fold, because a new soil's error is not known either.
    """
    if held_out is None or errors.size < FEWEST_SCORES:
        return conformal_quantile(errors, COVERAGE), None
    folds = np.unique(fold_of)
    scores = np.empty_like(errors)
    for fold in folds:
        scored = fold_of == fold
        # With one fold there is no other to fit on.
        fitted_on = ~scored if folds.size > 1 else scored
        difficulty = fit_difficulty(
            errors[fitted_on], outputs[fitted_on], held_out[fitted_on], libraries
        )
        scores[scored] = errors[scored] / factors(difficulty, outputs[scored], held_out[scored])
    return conformal_quantile(scores, COVERAGE), fit_difficulty(
        errors, outputs, held_out, libraries
    )


def fit_difficulty(
    errors: Array, outputs: Array, held_out: Positions, libraries: int
) -> Difficulty:
    """Regress the logarithms of errors `(n,)` on output, log distance and nearest library.

    It is a ridge regression, scaled so that the median soil has difficulty 1. The smallest errors
    are chance hits that do not show an easy soil, so an error counts at least as a twentieth of the
    median.
    """
    columns = np.column_stack(
        [outputs, np.log(np.maximum(held_out.distance, Difficulty.LEAST_DISTANCE))]
    )
    # A column may be constant, as when all predictions are equal.
    spread = np.maximum(columns.std(axis=0), 1e-6)
    member = np.eye(libraries)[held_out.nearest]
    design = np.column_stack(
        [np.ones(errors.size), (columns - columns.mean(axis=0)) / spread, member]
    )
    floor = max(0.05 * float(np.median(errors)), np.finfo(np.float64).tiny)
    logarithms = np.log(np.maximum(errors, floor))
    # The constant is not penalised.
    penalty = np.diag([0.0] + [_RIDGE] * (design.shape[1] - 1))
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ logarithms)
    constant = -float(np.median(design[:, 1:] @ weights[1:])) - float(
        columns.mean(axis=0) / spread @ weights[1:3]
    )
    output, distance = (weights[1:3] / spread).tolist()
    return Difficulty(constant, output, distance, tuple(weights[3:].tolist()))


def factors(difficulty: Difficulty | None, outputs: Array, held_out: Positions | None) -> Array:
    """Return the factors of the half width, `(n,)`."""
    if difficulty is None or held_out is None:
        return np.ones_like(outputs)
    return difficulty.factor(outputs, held_out.nearest, held_out.distance)

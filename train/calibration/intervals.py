"""Prediction intervals that hold 90 % of new soils, by normalised split conformal prediction.

They are wider where the model errs more. The score of a soil is its absolute error divided by its
difficulty. The half width of a new soil's interval is its difficulty times the 90 % quantile of the
scores of soils that the model was not trained on, taken among soils of about the same prediction.

Papadopoulos, Gammerman & Vovk 2008 (Normalized nonconformity measures for regression conformal
prediction, AIA 2008:64-69); Papadopoulos & Haralambous 2011, Neural Networks 24:842-851, for the
difficulty, a regression of the errors' logarithms; Lei et al. 2018, J. Am. Stat. Assoc.
113:1094-1111, section 5.2; Bostrom & Johansson 2020 (Mondrian conformal regressors, PMLR
128:114-133) for the bins of the prediction. Errors, outputs and widths are in standardised units.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ccnvr.edge.chemometrics.targets import Difficulty, Target
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.calibration.domain import FittedDomain, Positions, conformal_quantile
from ccnvr.train.calibration.places import ByPlace

COVERAGE = 0.9

FEWEST_SCORES = 50
"""The soils needed for a difficulty that knows the domain.

With fewer, a regression of their errors would follow chance rather than difficulty. Then only the
prediction counts.
"""

FEWEST_PLACES = 3
"""The places that a property must be measured in for errors to say something of others."""

MOST_BINS = 10

BIN_SCORES = 100
"""The soils of a bin of the prediction; the quantile of fewer would be 92 % and more."""

REACH = 8.0
"""The factor by which a difficulty may widen or narrow an interval.

With 2, intervals of properties that are learnt without a logarithm covered .61 of the tenth with
the highest prediction, with 8 .78, and with 8 and bins .90 (docs/decisions/0074).
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
    Without a fitted domain the width depends on the prediction alone.
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


def with_new_places(
    targets: tuple[Target, ...], measured: Array, by_place: ByPlace
) -> tuple[Target, ...]:
    """Return targets with half widths for new places, from errors on places that were left out.

    Only soils that the strict domain is not sure of count, because the others get the interval for
    known places. Where a property was measured in fewer than `FEWEST_PLACES`, nothing is known of
    new ones, and the interval is at least as wide as that of the soils' own values.
    """
    found = []
    for target, values, predicted in zip(targets, measured.T, by_place.predicted.T, strict=True):
        standardised = target.standardise(values)
        # NaN where either is missing.
        errors = np.abs(target.standardise(predicted) - standardised)
        judged = ~np.isnan(errors)
        unsure = errors[judged & ~by_place.sure]
        # Soils may all be taken for known ones, as when a library stands under two names.
        chosen = unsure if unsure.size >= FEWEST_SCORES else errors[judged]
        half_width = conformal_quantile(chosen, COVERAGE) if chosen.size else 0.0
        if np.unique(by_place.places[judged]).size < FEWEST_PLACES:
            own = conformal_quantile(np.abs(standardised[~np.isnan(values)]), COVERAGE)
            half_width = max(half_width, own)
        # 0, of a model without errors, would stand for no interval.
        half_width = max(half_width, 1e-6)
        found.append(dataclasses.replace(target, half_width_90_new_places=half_width))
    return tuple(found)


def fit_interval(
    errors: Array, outputs: Array, fold_of: Integers, held_out: Positions | None, libraries: int
) -> tuple[float, Difficulty]:
    """Return the half width at difficulty 1, and the difficulty.

    `errors` `(n,)` are absolute errors of soils that were not trained on. The difficulty in a
    soil's score is fitted without its fold, because a new soil's error is not known either.
    """
    if errors.size < FEWEST_SCORES:
        held_out = None
    folds = np.unique(fold_of)
    scores = np.empty_like(errors)
    for fold in folds:
        scored = fold_of == fold
        # With one fold there is no other to fit on.
        fitted_on = ~scored if folds.size > 1 else scored
        difficulty = fit_difficulty(
            errors[fitted_on],
            outputs[fitted_on],
            None if held_out is None else held_out[fitted_on],
            libraries,
        )
        where = None if held_out is None else held_out[scored]
        scores[scored] = errors[scored] / factors(difficulty, outputs[scored], where)
    half_width = conformal_quantile(scores, COVERAGE)
    edges, by_bin = _bins(scores, outputs, half_width)
    difficulty = fit_difficulty(errors, outputs, held_out, libraries)
    return half_width, dataclasses.replace(difficulty, edges=edges, by_bin=by_bin)


def _bins(
    scores: Array, outputs: Array, half_width: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the edges between bins of the output, and the logarithm of each bin's half width.

    The half widths are relative to that of all soils. There are no bins for few soils.
    """
    count = min(MOST_BINS, outputs.size // BIN_SCORES)
    if count < 2 or half_width <= 0.0:
        return (), ()
    # Outputs may be equal, and quantiles with them; a bin between equal edges would be empty.
    edges = np.unique(np.quantile(outputs, np.arange(1, count) / count))
    bins = np.searchsorted(edges, outputs, side="right")
    widths = [
        conformal_quantile(scores[bins == number], COVERAGE) if np.any(bins == number) else 0.0
        for number in range(edges.size + 1)
    ]
    logarithms = np.log(np.clip(np.array(widths) / half_width, 1.0 / REACH, REACH))
    return tuple(edges.tolist()), tuple(logarithms.tolist())


def fit_difficulty(
    errors: Array, outputs: Array, held_out: Positions | None, libraries: int
) -> Difficulty:
    """Regress the logarithms of errors `(n,)` on output, log distance and nearest library.

    It is a ridge regression, scaled so that the median soil has difficulty 1. The smallest errors
    are chance hits that do not show an easy soil, so an error counts at least as a twentieth of the
    median. Without positions it is a regression on the output alone, which may only grow with it.
    """
    columns = outputs[:, None]
    if held_out is not None:
        distance = np.log(np.maximum(held_out.distance, Difficulty.LEAST_DISTANCE))
        columns = np.column_stack([outputs, distance])
    # A column may be constant, as when all predictions are equal.
    spread = np.maximum(columns.std(axis=0), 1e-6)
    scaled = (columns - columns.mean(axis=0)) / spread
    member = np.empty((errors.size, 0)) if held_out is None else np.eye(libraries)[held_out.nearest]
    design = np.column_stack([np.ones(errors.size), scaled, member])
    floor = max(0.05 * float(np.median(errors)), np.finfo(np.float64).tiny)
    logarithms = np.log(np.maximum(errors, floor))
    # The constant is not penalised.
    penalty = np.diag([0.0] + [_RIDGE] * (design.shape[1] - 1))
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ logarithms)
    if held_out is None:
        # On few soils a negative slope is chance: laboratories err more on high values.
        weights[1:] = np.maximum(weights[1:], 0.0)
    # What lies below these is chance as well, and a bundle with it would be refused.
    least = np.array([Difficulty.LEAST_OUTPUT_SLOPE, Difficulty.LEAST_DISTANCE_SLOPE])
    slopes = np.maximum(weights[1 : 1 + len(spread)] / spread, least[: len(spread)])
    weights[1 : 1 + len(spread)] = slopes * spread
    constant = -float(np.median(design[:, 1:] @ weights[1:])) - float(columns.mean(axis=0) @ slopes)
    output, *rest = slopes.tolist()
    of_libraries = tuple(weights[1 + len(spread) :].tolist())
    return Difficulty(constant, output, rest[0] if rest else 0.0, of_libraries, reach=REACH)


def factors(difficulty: Difficulty | None, outputs: Array, held_out: Positions | None) -> Array:
    """Return the factors of the half width, `(n,)`."""
    if difficulty is None:
        return np.ones_like(outputs)
    if held_out is None:
        return difficulty.factor(outputs)
    return difficulty.factor(outputs, held_out.nearest, held_out.distance)

"""The statistics of a comparison: bootstrap intervals of R2, and a paired test of two methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.firmware_bridge.arrays import Array

# The 2.5 % ends then rest on 50 resamples each.
RESAMPLES = 2000


def scaled(values: Array, transforms: Sequence[str]) -> Array:
    """Return values `(..., properties)` after each property's transform.

    The logarithm of a concentration takes a negative prediction for 0.
    """
    columns = [
        np.log1p(np.maximum(column, 0.0)) if transform == "log1p" else column
        for column, transform in zip(np.moveaxis(values, -1, 0), transforms, strict=True)
    ]
    return np.stack(columns, axis=-1)


def unscaled(values: Array, transforms: Sequence[str]) -> Array:
    """Undo `scaled`."""
    columns = [
        np.expm1(column) if transform == "log1p" else column
        for column, transform in zip(np.moveaxis(values, -1, 0), transforms, strict=True)
    ]
    return np.stack(columns, axis=-1)


def r2(measured: Array, predicted: Array, axis: int = -1) -> Array:
    """Return R2, 1 - SSE/SST, along `axis`; the arrays broadcast against each other."""
    error = np.sum((predicted - measured) ** 2, axis=axis)
    spread = np.sum((measured - measured.mean(axis=axis, keepdims=True)) ** 2, axis=axis)
    # A resample that drew a single soil has no spread; NaN leaves it out of the percentiles.
    ratio: Array = 1.0 - error / np.where(spread > 0.0, spread, np.nan)
    return ratio


def r2_interval(measured: Array, predicted: Array, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of R2, with soils as the units drawn.

    R2 is averaged over the repetitions of `predicted`, `(repetitions, n)`. Efron & Tibshirani 1993,
    An Introduction to the Bootstrap, ch. 13.
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(measured.size, size=(RESAMPLES, measured.size))
    of_resample = np.mean(
        [r2(measured[rows], repetition[rows]) for repetition in predicted], axis=0
    )
    low, high = np.nanpercentile(of_resample, [2.5, 97.5])
    return float(low), float(high)


def paired_p_value(measured: Array, one: Array, other: Array, seed: int = 0) -> float:
    """Return the p value of a two-sided permutation test that two methods err equally on average.

    Each method's predictions are `(repetitions, n)`. The squared errors of a soil, averaged over
    the repetitions, change places between the methods (Good 2005, Permutation, Parametric and
    Bootstrap Tests of Hypotheses, 3rd ed., ch. 3).
    """
    # Averaged first, because the repetitions of one soil are no independent soils.
    errors = [np.mean((predicted - measured) ** 2, axis=0) for predicted in (one, other)]

    def difference(first: Array, second: Array, axis: int) -> Array:
        mean: Array = np.mean(first - second, axis=axis)
        return mean

    rng = np.random.default_rng(seed)
    test = stats.permutation_test(
        errors,
        difference,
        permutation_type="samples",
        # The observed order counts as one resample more.
        n_resamples=RESAMPLES - 1,
        vectorized=True,
        rng=rng,
    )
    return float(test.pvalue)


def figures(measured: Array, predicted: Array) -> dict[str, Any]:
    """Return the figures of merit of predictions `(repetitions, n)`, averaged over the repetitions.

    R2 of each repetition and its bootstrap interval are among them.
    """
    known = ~np.isnan(measured)
    measured, predicted = measured[known], predicted[:, known]
    each = [accuracy(measured, repetition).as_dict() for repetition in predicted]
    merit: dict[str, Any] = {"n": int(measured.size)}
    for name in ("r2", "rmse", "mae", "bias", "rpiq", "rpd"):
        values = [value for row in each if (value := row[name]) is not None]
        merit[name] = round(float(np.mean(values)), 4) if values else None
    merit["r2_seeds"] = [row["r2"] for row in each]
    if measured.size > 2:
        merit["r2_low"], merit["r2_high"] = (
            round(bound, 4) for bound in r2_interval(measured, predicted)
        )
    return merit

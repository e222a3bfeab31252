"""Whether a mean is better with the network, beyond the noise of repeated cross-validation."""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student

from ccnvr.firmware_bridge.arrays import Array, Integers

CONFIDENCE = 0.95


def skill(measured: Array, predicted: Array, folds: Integers) -> Array:
    """Return a score of each fold: 1 minus error over variance, averaged over the properties.

    `measured` and `predicted` are `(n, targets)`, NaN where not measured; the variance is that of
    all soils, because a fold may hold few.
    """
    errors = (predicted - measured) ** 2 / np.nanvar(measured, axis=0)
    scores = [
        np.nanmean(
            [
                np.mean(column[~np.isnan(column)])
                for column in errors[folds == fold].T
                if not np.isnan(column).all()
            ]
        )
        for fold in np.unique(folds)
    ]
    return 1.0 - np.array(scores)


def is_better(scores: Array, others: Array, folds: int) -> bool:
    """Return whether `scores` `(repeats x folds,)` exceed `others` by more than chance.

    It is a one-sided paired t-test with the variance corrected for folds that share their training
    soils: Nadeau and Bengio 2003, Machine Learning 52:239-281, section 3.
    """
    gains = scores - others
    spread = float(gains.std(ddof=1))
    if spread == 0.0:
        return bool(gains.mean() > 0.0)
    # The ratio of test to training soils is 1 / (folds - 1).
    error = spread * np.sqrt(1.0 / gains.size + 1.0 / (folds - 1))
    return bool(gains.mean() > student.ppf(CONFIDENCE, gains.size - 1) * error)

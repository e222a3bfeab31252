"""Replicates of a sample: which of them are outliers, and what their spread adds to the intervals.

A replicate is rejected if one of its values is far from the others' median, both by their own
scatter and by the width of the model's interval:

    |y - median| > max(3.5 x 1.4826 x MAD, the interval's half width)

MAD is the median absolute deviation; 3.5 is the limit of Iglewicz and Hoaglin (1993), How to Detect
and Handle Outliers. With three or four replicates, the MAD alone rejects ordinary scatter in every
fourth sample, which is why a deviation must also be large enough to matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.targets import GAUSSIAN_90, LARGEST_PERCENTAGE, Estimate
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.quality.gate import disagree
from ccnvr.firmware_bridge.arrays import median
from ccnvr.firmware_bridge.instrument import Scan, Settings

DISAGREE = "replicates_disagree"
"""The end of the flag of a property whose replicates are too unlike, as OC:replicates_disagree."""

_LIMIT = 3.5 * 1.4826
LEAST_FOR_REJECTION = 3

_STUDENT_90 = (
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
    *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725),
    *(1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697),
)
"""Student's t at 95 % for 1 to 30 degrees of freedom: the ends of the central 90 %."""


def outliers(predictions: Sequence[Prediction]) -> NDArray[np.bool_]:
    """Return which replicates `(n,)` are outliers; those without estimates always are.

    If no majority would remain, no replicate with estimates is: nothing tells which is right.
    """
    usable = np.array([bool(prediction) for prediction in predictions])
    odd = ~usable
    if usable.sum() < LEAST_FOR_REJECTION:
        return odd
    first = predictions[int(np.argmax(usable))]
    for name in first:
        values = np.array([one[name].value if one else np.nan for one in predictions])
        halves = np.array([_half_width(one[name]) for one in predictions if one])
        away = np.abs(values - median(values[usable]))
        # What is nearer than the model's own error is no outlier, however odd.
        least = float(median(halves))
        # NaN compares false, so that what is unusable is only counted once.
        odd |= away > max(_LIMIT * float(median(away[usable])), least)
    remain = int((~odd).sum())
    return odd if 2 * remain > len(predictions) else ~usable


def mean_scan(scans: Sequence[Scan]) -> Scan:
    """Return the mean of replicates as one scan with the number of the first."""
    first = scans[0]
    # The mean of n scans of a averages each is one scan of n x a averages.
    averages = first.settings.averages * len(scans)
    return Scan(
        first.number,
        first.kind,
        np.mean([scan.counts for scan in scans], axis=0),
        Settings(first.settings.integration_us, averages),
        any(scan.saturated for scan in scans),
        float(np.mean([scan.temperature_c for scan in scans])),
    )


def with_spread(mean: Prediction, replicates: Sequence[Prediction]) -> Prediction:
    """Return the prediction of a mean with the spread of its replicates in the intervals.

    The spread adds t x s / sqrt(n), the half width of the 90 % interval of a mean of n replicates
    with standard deviation s, to each side in quadrature: the model's error and the scatter of the
    sample are independent. A property whose values are too unlike gets the flag DISAGREE.
    """
    count = len(replicates)
    if count < 2 or not mean:
        return mean
    # From 31 degrees of freedom on, t exceeds the normal quantile by about 3 % at most.
    t = _STUDENT_90[count - 2] if count - 2 < len(_STUDENT_90) else GAUSSIAN_90
    widened, flags = {}, list(mean.flags)
    for name, estimate in mean.items():
        values = np.array([replicate[name].value for replicate in replicates])
        spread = t * float(np.std(values, ddof=1)) / count**0.5
        if disagree(values, _half_width(estimate)):
            flags.append(f"{name}:{DISAGREE}")
        widened[name] = _widened(estimate, spread)
    return Prediction(widened, tuple(flags))


def _half_width(estimate: Estimate) -> float:
    """Return half of an interval's width; infinite where the model states none."""
    if estimate.low is None or estimate.high is None:
        return float("inf")
    return (estimate.high - estimate.low) / 2.0


def _widened(estimate: Estimate, by: float) -> Estimate:
    if estimate.low is None or estimate.high is None:
        return estimate
    low = estimate.value - hypot(estimate.value - estimate.low, by)
    # A content cannot be negative; where the model's own interval stops at 0, this one does.
    if estimate.low >= 0.0:
        low = max(0.0, low)
    high = estimate.value + hypot(estimate.high - estimate.value, by)
    if estimate.unit == "%":
        high = min(high, LARGEST_PERCENTAGE)
    return estimate._replace(low=low, high=high)

"""Replicates: which are rejected, and what their spread does to an interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.workflow.replicates import _STUDENT_90, mean_scan, outliers, with_spread
from ccnvr.firmware_bridge.instrument import Scan, ScanKind, Settings

BAD = Prediction({}, ("rescan:too_dark",))


def of(value: float, other: float = 0.0, half: float = 1.0) -> Prediction:
    return Prediction(
        {
            "OC": Estimate(value, "g/kg", value - half, value + half),
            "pH": Estimate(other, "pH", other - half, other + half),
        }
    )


@pytest.mark.parametrize(
    ("given", "rejected"),
    [
        ([of(1.0), of(1.1)], []),
        ([of(1.0), of(9.0)], []),
        ([of(1.0), of(1.1), of(9.0)], [2]),
        ([of(1.0), of(1.1), of(1.5)], []),  # odd, but it does not matter
        ([of(1.0), of(3.0), of(5.0)], []),  # far, but no one is odd
        ([of(1.0, 0.0), of(1.1, 0.1), of(1.0, 5.0)], [2]),
        ([of(1.0), BAD, of(1.1)], [1]),
        ([of(1.0), BAD, of(1.1), of(9.0), of(1.0)], [1, 3]),
        ([of(1.0), BAD], [1]),
        ([BAD, BAD, BAD], [0, 1, 2]),
        ([of(1.0), of(1.0), of(9.0), of(-9.0)], []),  # no majority would remain
        ([of(1.0), of(1.0), of(1.0), of(9.0), of(-9.0)], [3, 4]),
    ],
)
def test_what_is_odd_and_far_is_rejected(given: list[Prediction], rejected: list[int]) -> None:
    assert np.flatnonzero(outliers(given)).tolist() == rejected


def test_without_an_interval_nothing_tells_what_matters() -> None:
    bare = [Prediction({"OC": Estimate(one, "g/kg", None, None)}) for one in (1.0, 1.0, 99.0)]
    assert not outliers(bare).any()
    assert with_spread(bare[0], bare)["OC"].low is None


def test_the_spread_is_that_of_the_mean_of_normal_replicates() -> None:
    assert [round(float(stats.t.ppf(0.95, n)), 3) for n in range(1, 31)] == list(_STUDENT_90)
    values = [1.0, 2.0, 3.0]
    widened = with_spread(of(2.0, half=1.0), [of(one) for one in values])["OC"]
    spread = 2.920 * 1.0 / math.sqrt(3)
    assert widened.high is not None
    assert widened.high - widened.value == pytest.approx(math.hypot(1.0, spread))
    assert widened.value == 2.0


def test_a_content_has_no_negative_end_and_a_ph_keeps_its_own() -> None:
    near = Prediction({"OC": Estimate(1.0, "g/kg", 0.0, 2.0), "x": Estimate(1.0, "", -0.5, 2.5)})
    widened = with_spread(near, [near, near, near])
    assert widened["OC"].low == 0.0
    spread = with_spread(
        near, [Prediction({name: Estimate(v, "", v, v) for name in near}) for v in (0.0, 2.0)]
    )
    assert spread["OC"].low == 0.0 and (spread["x"].low or 0.0) < -2.0
    assert spread.flags == ("OC:replicates_disagree", "x:replicates_disagree")


def test_a_percentage_ends_at_100() -> None:
    sand = [Prediction({"sand": Estimate(v, "%", v - 20.0, v + 5.0)}) for v in (80.0, 95.0)]
    high = with_spread(sand[1], sand)["sand"].high
    assert high == 100.0


def test_the_mean_of_scans_is_one_scan_of_all_averages() -> None:
    scans = [
        Scan(n, ScanKind.SAMPLE, np.array([n, 10.0]), Settings(5, 4), n == 3, 20.0 + n)
        for n in (2, 3)
    ]
    mean = mean_scan(scans)
    assert mean.counts.tolist() == [2.5, 10.0]
    assert (mean.number, mean.settings, mean.saturated) == (2, Settings(5, 8), True)
    assert mean.temperature_c == 22.5

"""The chart of the check sample: its limits, its trends, and how often it cries wolf."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ccnvr.edge.workflow.check_sample import RUN, CheckChart, _deviations, chart_of


def chart(values: list[float], needed: int = 10, half: float = 1e-6) -> CheckChart:
    history = [{"OC": {"value": one, "low": one - half, "high": one + half}} for one in values]
    return chart_of(history, needed)


LEARNT = [10.0, 12.0] * 5


@pytest.mark.parametrize("count", [5, 6, 10, 20, 100])
def test_the_factor_is_that_of_the_next_of_normal_measurements(count: int) -> None:
    exact = stats.t.ppf(stats.norm.cdf(3.0), count - 1) * np.sqrt(1 + 1 / count)
    assert _deviations(count) == pytest.approx(exact, rel=0.035)


def test_few_measurements_without_a_cause_are_outside() -> None:
    source = np.random.default_rng(1)
    outside = [bool(chart(list(source.normal(0.0, 1.0, 11))).outside) for _ in range(4000)]
    assert 0.0005 < np.mean(outside) < 0.006


def test_limits_come_from_the_first_measurements_alone() -> None:
    early, late = chart(LEARNT), chart([*LEARNT, 50.0, 11.0])
    assert early.limits == late.limits
    assert late.outside == () and chart([*LEARNT, 50.0]).outside == ("OC",)
    assert chart(LEARNT[:9]).limits == {} and "9 of 10" in str(chart(LEARNT[:9]))


def test_what_matters_to_nobody_is_within() -> None:
    assert chart([*[11.0] * 10, 11.04], half=1.0).outside == ()
    assert chart([*[11.0] * 10, 11.06], half=1.0).outside == ("OC",)


def test_a_run_on_one_side_is_a_trend() -> None:
    assert chart([*LEARNT, *[11.5] * (RUN - 1)]).trends == ()
    drifting = chart([*LEARNT, *[11.5] * RUN])
    assert drifting.trends == ("OC",) and "one side of the mean" in str(drifting)


def test_scans_that_cannot_be_used_do_not_count() -> None:
    history = [{}, {"OC": {"value": 1.0, "low": None, "high": None}}, {}]
    assert chart_of(history, 5).measured == 1
    assert chart_of([], 5).measured == 0

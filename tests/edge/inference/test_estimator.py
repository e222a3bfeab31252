"""Estimates of one spectrum equal those that arrays of outputs give."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccnvr.edge.chemometrics.domain_distances import Position
from ccnvr.edge.chemometrics.targets import KNOWN, NEW, Difficulty, Target
from ccnvr.edge.inference.estimator import Estimator

NUMBERS = st.floats(-3.0, 3.0)
DIFFICULTIES = st.builds(
    Difficulty,
    NUMBERS,
    st.floats(-0.1, 3.0),
    st.floats(-0.1, 3.0),
    st.sampled_from([(), (0.5, -0.2, 1.0)]),
    st.floats(1.0, 8.0),
    st.just((-1.0, 0.0, 0.5)),
    st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
)
TARGETS = st.builds(
    Target,
    st.just("OC"),
    st.sampled_from(["g/kg", "%"]),
    st.sampled_from(["identity", "log1p"]),
    NUMBERS,
    st.floats(0.1, 2.0),
    st.sampled_from([-1.0, 0.0]),
    st.just(50.0),
    st.one_of(st.none(), st.floats(0.01, 2.0)),
    st.one_of(st.none(), DIFFICULTIES),
)
POSITIONS = st.one_of(
    st.none(), st.builds(Position, st.integers(0, 2), st.floats(0.0, 5.0), st.booleans())
)


@settings(deadline=None)
@given(TARGETS, st.floats(-5.0, 5.0), st.floats(0.0, 2.0), POSITIONS, st.booleans())
def test_an_estimate_is_what_the_target_says(
    target: Target, output: float, noise: float, position: Position | None, has_new: bool
) -> None:
    if has_new and target.half_width_90 is not None:
        target = dataclasses.replace(target, half_width_90_new_places=0.7)
    estimator = Estimator([target])
    halves = estimator.half_widths([output], position)
    prediction = estimator.prediction([output], halves, [noise], position)
    found = prediction["OC"]
    assert found.value == pytest.approx(float(target.restore(np.array(output))), rel=1e-12)
    outside = not target.lowest <= found.value <= target.highest
    assert ("OC:outside_training_range" in prediction.flags) == outside
    sure = position is not None and position.sure
    new = target.half_width_90_new_places
    assert found.places == (KNOWN if new is None or sure else NEW)
    if target.half_width_90 is None:
        assert found.low is None and found.high is None and "OC:noisy" not in prediction.flags
        return
    half = target.half_width_90
    if target.difficulty is not None and (position is not None or not target.difficulty.libraries):
        where = (
            ()
            if position is None
            else (np.array([position.nearest]), np.array([position.distance]))
        )
        half *= float(target.difficulty.factor(np.array([output]), *where)[0])
    if new is not None and not sure:
        half = max(half, new)
    assert halves == [pytest.approx(half, rel=1e-12)]
    both = np.hypot(half, noise)
    ends = [float(end) for end in target.interval(np.array(output), np.array(both))]
    assert [found.low, found.high] == pytest.approx(ends, rel=1e-12, abs=1e-12)
    # Wide enough to see beside a value of 100 %.
    assert found.low is not None and found.high is not None and found.high - found.low > 1e-6
    assert found.low <= found.value <= found.high
    assert target.unit != "%" or found.high <= 100.0
    assert ("OC:noisy" in prediction.flags) == (noise > halves[0])


@pytest.mark.parametrize(
    ("unit", "transform", "output", "value", "low", "high"),
    [
        # The mean is 10, the sd 5 and the half width 1 sd, so that this is 10 -+ 5.
        ("%", "identity", 0.0, 10.0, 5.0, 15.0),
        ("%", "identity", -1.5, 2.5, 0.0, 7.5),
        # An estimate of -20, whose interval ends at -15, tells that there is little.
        ("%", "identity", -6.0, 0.0, 0.0, 5.0),
        ("%", "identity", 30.0, 100.0, 95.0, 100.0),
        ("g/kg", "log1p", -6.0, 0.0, 0.0, np.expm1(5.0)),
        ("%", "log1p", 30.0, 100.0, 0.0, 100.0),
    ],
)
def test_an_estimate_beyond_what_is_possible_keeps_an_interval(
    unit: str, transform: str, output: float, value: float, low: float, high: float
) -> None:
    target = Target("clay", unit, transform, 10.0, 5.0, 0.0, 80.0, half_width_90=1.0)
    found = Estimator([target]).prediction([output], [1.0], [0.0], None)["clay"]
    assert [found.value, found.low, found.high] == pytest.approx([value, low, high])

"""The benchmarks compare what does the same job, and their figures follow from what was timed."""

from __future__ import annotations

import json
from itertools import count

import numpy as np
import pytest

from benchmarks import guard, guarded, processes, run
from benchmarks.timing import Times, take_turns
from tests.support.helpers import NETWORK_BUNDLE


def test_functions_take_turns_and_see_the_same_spectra() -> None:
    seen: dict[str, list[int]] = {"one": [], "other": []}
    ticks = count()
    times = take_turns(
        {name: calls.append for name, calls in seen.items()},
        rounds=5,
        most_calls=1,
        clock=lambda: float(next(ticks)),
    )
    assert seen["one"] == seen["other"]
    assert seen["one"][3:5] == [0, 1]
    assert times.median("one").median == times.first_call("other").median == 1.0


def test_a_ratio_has_an_interval_that_holds_it() -> None:
    rng = np.random.default_rng(1)
    busy = rng.uniform(1.0, 3.0, 200)
    times = Times({"slow": 2.0 * busy, "fast": busy * rng.uniform(0.9, 1.1, 200)}, {})
    ratio = times.ratio("slow", "fast")
    assert ratio.low < ratio.median < ratio.high
    assert ratio.median == pytest.approx(2.0, rel=0.1)
    assert times.percentile("slow", 95) > times.median("slow").high


@pytest.mark.slow
@pytest.mark.parametrize("bundle", ["default:nir", NETWORK_BUNDLE])
def test_others_do_the_same_job(bundle: str) -> None:
    from benchmarks import ours, peers, workload

    work = workload.make()
    bound = ours.bind(bundle, work)
    by_hand = peers.ByHand.of(bound, work)
    with_chemotools = peers.WithChemotools.of(bound, work)
    alone = peers.network_alone(bound, compiled=False)
    for number, scan in enumerate(work.scans[:8]):
        expected = [one.value for one in bound.pipeline(scan).estimates.values()]
        assert by_hand(scan.counts) == pytest.approx(expected, rel=1e-3)
        assert with_chemotools(scan.counts) == pytest.approx(expected, rel=1e-3)
        outputs = bound.model.session(bound.inputs[number])
        assert alone[peers.TORCH](number) == pytest.approx(outputs, abs=1e-3)
        assert alone[peers.EXPORTED](number)[0] == pytest.approx(outputs, abs=1e-3)  # type: ignore[index]


@pytest.mark.slow
def test_no_instructions_were_added_and_the_guard_would_notice() -> None:
    try:
        found = guard.count(inject=2_000)
    except guard.Unavailable as error:
        pytest.skip(str(error))
    slower = {"decode frames": found.pop(guarded.INJECTED)}
    (sentence,) = guard.problems(slower, found)
    assert sentence.startswith("decode frames takes")
    before = guard.baselines().get(guard.build())
    if before is None:
        pytest.skip(f"benchmarks/instructions.json has no counts for {guard.build()}")
    assert guard.problems(found, before) == []


def test_another_build_is_not_compared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["guard"])
    monkeypatch.setattr(guard, "build", lambda: "m68k, Python 3.99")
    assert guard.main() == 0
    assert "there are no counts for m68k" in capsys.readouterr().out


def test_an_installation_counts_what_a_package_needs() -> None:
    found = processes.installations()
    assert found["torch"]["mb"] > found["ours with onnxruntime"]["mb"]
    assert found["ours with NumPy alone"]["packages"] == 3


def test_each_line_of_the_history_says_what_it_was_measured_on() -> None:
    lines = [json.loads(line) for line in run.HISTORY.read_text().splitlines()]
    assert lines
    assert all({"commit", "cpu", "python"} <= line["machine"].keys() for line in lines)

"""Guided references, when they are due, and the check sample."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.storage.context import SampleIdentity
from ccnvr.edge.workflow import guides
from ccnvr.edge.workflow.activity import WAYS, Activity
from ccnvr.edge.workflow.requests import (
    CheckRequest,
    JobFailed,
    JobFinished,
    OperatorPrompt,
    ReferenceRequest,
    SampleRequest,
)
from ccnvr.firmware_bridge.serving.port import PtyPort
from ccnvr.firmware_bridge.serving.server import BackgroundServer
from ccnvr.firmware_bridge.simulators.handheld import synthetic_soils
from tests.support.helpers import ROOT, run_ccnvr
from tests.support.measuring import BY_COMMAND, Sections, daemon, handheld, rows

SAMPLE = SampleIdentity("Plot 7")
ASK: Sections = {"reference": {"when_expired": "ask"}, **BY_COMMAND}
CHECKED: Sections = {"check_sample": {"every": "white", "name": "jar 1", "learn": 5}, **BY_COMMAND}


def test_without_references_samples_are_refused_and_references_asked_for_by_steps(
    store: Path,
) -> None:
    with handheld() as (url, _), daemon(url, store, **ASK) as running:
        running.await_activity(Activity.AWAITING_REFERENCES)
        (refused,) = running.ask(SampleRequest(SAMPLE))
        assert isinstance(refused, JobFailed) and "run ccnvr reference --store" in refused.text
        events = running.ask(ReferenceRequest())
        assert [event.text.split(":")[0] for event in events] == [
            "dark reference",
            "white reference",
            "the references are taken and stored; they hold for 0.5 h",
        ]
        assert running.scan(SAMPLE)["predictions"]


def test_a_mistake_is_asked_for_again_and_what_cannot_serve_replaces_nothing(store: Path) -> None:
    with handheld() as (url, device), daemon(url, store, **BY_COMMAND) as running:
        running.await_activity(Activity.READY)
        light = device.bench._light

        def see(share: float) -> None:
            device.bench._light = lambda kind, soil: share * light(kind, soil)  # type: ignore[method-assign]

        asked: list[str] = []

        def clean(text: str) -> None:
            asked.append(text)
            if "clean the panel" in text:
                see(1.0)

        see(0.85)
        last = running.ask(ReferenceRequest(), clean)[-1]
        assert isinstance(last, JobFinished) and len(asked) == 5, (last, asked)
        see(0.0)
        last = running.ask(ReferenceRequest())[-1]
        assert isinstance(last, JobFailed) and "counts above dark" in last.text
        see(0.85)
        last = running.ask(ReferenceRequest())[-1]
        assert isinstance(last, JobFailed) and "85% of the earlier ones' light" in last.text
        see(1.0)
        assert running.scan(SAMPLE)["predictions"]
        assert len(rows(store, "SELECT 1 FROM reference_scans")) == 4
        see(0.85)
        assert isinstance(running.ask(ReferenceRequest(accept_white=True))[-1], JobFinished)


@pytest.mark.parametrize("when", ["ask", "flag", "retake"])
def test_references_expire_by_the_scans_that_they_served(
    simulated: Callable[..., str], store: Path, when: str
) -> None:
    limits: Sections = {"reference": {"when_expired": when, "max_scans": 3}, **BY_COMMAND}
    with daemon(simulated(), store, **limits) as running:
        if when == "ask":
            running.ask(ReferenceRequest())
        for _ in range(3):
            assert "reference_expired" not in running.scan()["flags"]
        if when == "ask":
            running.await_activity(Activity.AWAITING_REFERENCES)
            assert isinstance(running.ask(SampleRequest())[-1], JobFailed)
            running.ask(ReferenceRequest())
        fourth = running.scan()
        assert ("reference_expired" in fourth["flags"]) == (when == "flag")
        assert len(rows(store, "SELECT 1 FROM reference_scans")) == (2 if when == "flag" else 4)
        status = running.control.status()["references"]
        due = "they served 4 scans" if when == "flag" else None
        assert (status["due"], status["scans"]) == (due, 4 if when == "flag" else 1)


def test_used_up_references_are_not_taken_up_again_at_the_next_start(
    simulated: Callable[..., str], store: Path
) -> None:
    url = simulated()
    limits: Sections = {"reference": {"max_scans": 3}, **BY_COMMAND}
    for pairs in (1, 1, 2):
        with daemon(url, store, **limits) as running:
            running.scan()
            running.scan()
        assert len(rows(store, "SELECT 1 FROM reference_scans")) == 2 * pairs


@pytest.mark.parametrize("when", ["ask", "flag", "retake"])
def test_references_that_expire_while_a_job_is_waited_for_are_noticed(
    simulated: Callable[..., str], store: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: Sections = {"reference": {"when_expired": when, "max_age_s": 1.0}, **BY_COMMAND}
    with daemon(simulated(), store, **limits) as running:
        if when == "ask":
            running.ask(ReferenceRequest())
        running.await_activity(Activity.READY)
        # Longer than they hold, and than the daemon looks by itself.
        monkeypatch.setattr(guides, "ASK_AGAIN_S", 30.0)
        time.sleep(1.2)
        last = running.ask(SampleRequest(SAMPLE))[-1]
        if when == "ask":
            assert isinstance(last, JobFailed) and "references are due" in last.text
        else:
            assert isinstance(last, JobFinished) and last.record is not None
            assert ("reference_expired" in last.record["flags"]) == (when == "flag")
        monkeypatch.setattr(guides, "ASK_AGAIN_S", 0.05)


def test_status_shows_a_drift_of_the_detector(store: Path) -> None:
    with handheld() as (url, device), daemon(url, store, **BY_COMMAND) as running:
        running.scan()
        device.bench.temperature_c += 5.0
        assert "reference_drift" in running.scan()["flags"]
        status = running.control.status()["references"]
        assert status["drift_c"] == 5.0
        assert status["due"] == "the detector's temperature has moved by +5.0 degrees C"


def test_a_drift_asks_for_references_where_the_daemon_asks(store: Path) -> None:
    with handheld() as (url, device), daemon(url, store, **ASK) as running:
        running.ask(ReferenceRequest())
        running.scan()
        device.bench.temperature_c += 5.0
        running.scan()
        running.await_activity(Activity.AWAITING_REFERENCES)
        running.ask(ReferenceRequest())
        assert "reference_drift" not in running.scan()["flags"]


def test_the_check_sample_is_scanned_with_each_white_and_flags_what_it_doubts(store: Path) -> None:
    with (
        handheld(synthetic_soils(1, 1)) as (url, device),
        daemon(url, store, **CHECKED) as running,
    ):
        # One was scanned at the start; with four more, the limits are known.
        for text in ("2 of 5", "3 of 5", "4 of 5", "within its limits (measurement 5)"):
            events = running.ask(ReferenceRequest())
            prompts = [event.text for event in events if isinstance(event, OperatorPrompt)]
            assert prompts[-1] == "check sample: put 'jar 1' under the probe"
            assert text in events[-1].text, events
        assert "check_sample" not in running.scan()["flags"]
        light = device.bench._light
        ageing = np.linspace(1.0, 0.8, 512)
        device.bench._light = lambda kind, soil: ageing * light(kind, soil)  # type: ignore[method-assign]
        last = running.ask(CheckRequest())[-1]
        assert "outside its limits" in last.text and "take new references" in last.text
        for replicates in (1, 2):
            assert "check_sample" in running.scan(SAMPLE, replicates)["flags"]
        status = running.control.status()["check_sample"]
        assert status["name"] == "jar 1" and status["outside"] and status["measured"] == 6
    assert {one["sample"]["id"] for one in running.records if "sample" in one} == {"Plot 7"}
    doctor = run_ccnvr("doctor", store)
    assert "check sample 'jar 1' of SIM-512 is outside its limits" in doctor.stdout
    assert doctor.returncode == 1
    # The next run knows of it, and a measurement within the limits ends it.
    device.bench._light = light  # type: ignore[method-assign]
    with (
        BackgroundServer(PtyPort(), device) as server,
        daemon(server.url, store, **CHECKED) as again,
    ):
        assert "check_sample" in again.scan()["flags"]
        last = again.ask(CheckRequest())[-1]
        assert "within its limits (measurement 7)" in last.text
        assert "check_sample" not in again.scan()["flags"]
    assert "check sample 'jar 1' of SIM-512 is within" in run_ccnvr("doctor", store).stdout


def test_a_check_sample_that_cannot_be_used_is_told(store: Path) -> None:
    with handheld() as (url, device), daemon(url, store, **CHECKED) as running:
        running.await_activity(Activity.READY)
        device.bench._light = lambda kind, soil: 0.001  # type: ignore[method-assign]
        last = running.ask(CheckRequest())[-1]
        assert "could not be used; scan it again" in last.text
        assert running.control.status()["check_sample"]["measured"] == 1


def test_the_states_follow_each_other_as_they_are_drawn() -> None:
    page = ROOT / "docs" / "measuring.md"
    drawn: dict[str, set[str]] = {one.name: set() for one in Activity}
    for line in page.read_text("utf-8").splitlines():
        before, arrow, after = line.strip().partition(" --> ")
        if arrow and before != "[*]" and after != "[*]":
            drawn[before].add(after.partition(" :")[0])
    assert drawn == {one.name: {after.name for after in WAYS[one]} for one in Activity}

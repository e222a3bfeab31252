"""What starts a scan, replicates, and what becomes of a job that is cut off."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
import tty
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.storage.context import SampleIdentity
from ccnvr.edge.workflow.activity import Activity
from ccnvr.edge.workflow.control import JobRefused
from ccnvr.edge.workflow.requests import (
    JobFailed,
    JobFinished,
    OperatorPrompt,
    ReferenceRequest,
    SampleRequest,
)
from ccnvr.firmware_bridge.instrument import Settings
from ccnvr.firmware_bridge.serving.faults import Line, parse
from ccnvr.firmware_bridge.serving.port import PtyPort
from ccnvr.firmware_bridge.serving.server import BackgroundServer
from ccnvr.firmware_bridge.simulators.handheld import (
    SimulatedHandheld,
    SimulatedSpectrometer,
    synthetic_soils,
)
from tests.edge.daemon.test_daemon import take_samples
from tests.edge.position.test_position import GGA
from tests.support.helpers import CCNVR, assert_one_sentence, run_ccnvr
from tests.support.measuring import BY_COMMAND, Daemon, daemon, handheld, rows, until

SAMPLE = SampleIdentity("Plot 7", 0.0, 15.0, "Ana", "after rain")


def test_a_command_scans_a_sample_and_nothing_else_is_scanned(
    simulated: Callable[..., str], store: Path
) -> None:
    with daemon(simulated(), store, **BY_COMMAND) as running:
        running.await_activity(Activity.READY)
        record = running.scan(SAMPLE)
        assert record["sample"] == SAMPLE.as_data()
        assert set(record["predictions"]) == {"OC", "N", "CEC", "pH", "clay"}
        time.sleep(0.2)
        until(lambda: running.records == [record])
        plain = running.scan()
        assert "sample" not in plain and plain["scan_id"] != record["scan_id"]
        running.await_activity(Activity.READY)
        status = running.control.status()
        assert status["activity"] == "ready" and status["health"]["state"] == "ok"
        assert status["references"]["due"] is None and status["references"]["scans"] == 2
        assert status["instrument"]["serial"] == "SIM-512"
    assert [sample for (sample,) in rows(store, "SELECT sample_id FROM scans")] == ["Plot 7", None]
    assert rows(store, "SELECT * FROM jobs") == []


def test_the_button_of_the_instrument_scans(store: Path) -> None:
    with (
        handheld() as (url, device),
        daemon(url, store, scan={"start": "instrument", "operator": "Ana"}) as running,
    ):
        running.await_activity(Activity.READY)
        time.sleep(0.3)
        assert running.records == []
        for count in (1, 2):
            device.press()
            until(partial(_has, running, count))
        time.sleep(0.3)
        assert len(running.records) == 2
        assert running.records[0]["sample"] == {"operator": "Ana"}


def _has(running: Daemon, count: int) -> bool:
    return len(running.records) == count


def test_an_instrument_without_a_button_is_refused(store: Path) -> None:
    path = store.with_name("config.toml")
    path.write_text('[scan]\nstart = "instrument"\n')
    url = "sim://?driver=asd&pace=0"
    result = run_ccnvr("run", "-c", path, "--instrument", url, "--store", store, "--count", 1)
    assert_one_sentence(result, 1, "has no button that ccnvr can read", 'start = "command"')


def test_the_timer_goes_on_while_samples_are_asked_for(
    simulated: Callable[..., str], store: Path
) -> None:
    with daemon(simulated(), store, scan={"interval_s": 0.2}) as running:
        running.await_activity(Activity.READY)
        record = running.scan(SAMPLE)
        until(lambda: len(running.records) > 5)
    named = [one["scan_id"] for one in running.records if "sample" in one]
    assert named == [record["scan_id"]]


def test_replicates_make_one_record_and_stay_in_the_store(store: Path) -> None:
    with handheld(synthetic_soils(1, 1)) as (url, _), daemon(url, store, **BY_COMMAND) as running:
        events = running.ask(SampleRequest(SAMPLE, 10))
        assert [event.text for event in events[:2]] == [
            "replicate 1 of 10 is scanned",
            "replicate 2 of 10 is scanned",
        ]
        last = events[-1]
        assert isinstance(last, JobFinished) and last.record is not None
        record = last.record
        assert len(record["replicates"]["used"]) == 10 and record["replicates"]["rejected"] == []
        assert record["scan_id"] == record["replicates"]["used"][0] + "-mean"
        single = running.scan(SAMPLE)
        until(lambda: len(running.records) == 2)
    assert running.records == [record, single]
    assert rows(store, "SELECT averages FROM scans WHERE replicates IS NOT NULL") == [(160,)]
    texts = rows(store, "SELECT predictions FROM scans WHERE replicate_of IS NOT NULL")
    values = [json.loads(text)["OC"]["value"] for (text,) in texts]
    assert len(values) == 10
    assert abs(record["predictions"]["OC"]["value"] - np.mean(values)) < np.ptp(values)


def test_an_odd_replicate_is_rejected_and_a_spread_widens_the_interval(store: Path) -> None:
    soil, other = synthetic_soils(1, 1)[0], np.linspace(0.9, 0.3, 512)
    mixed = np.array([soil, soil, other, soil, soil])
    with handheld(mixed) as (url, _), daemon(url, store, **BY_COMMAND) as running:
        record = running.scan(SAMPLE, 5)
        assert [one.rsplit("-", 1)[1] for one in record["replicates"]["rejected"]] == ["8"]
    assert not [flag for flag in record["flags"] if "replicates_disagree" in flag]
    with (
        handheld(np.array([soil, other]), boot=2) as (url, _),
        daemon(url, store, **BY_COMMAND) as running,
    ):
        wide = running.scan(SAMPLE, 2)
    assert any("replicates_disagree" in flag for flag in wide["flags"])
    widths = [
        {name: one["high"] - one["low"] for name, one in each["predictions"].items()}
        for each in (record, wide)
    ]
    # Where the spread is the larger part, it widens the interval by more than the root of 2.
    assert max(widths[1][name] / widths[0][name] for name in widths[0]) > 1.4


def test_replicates_of_which_most_cannot_be_used_give_no_number(store: Path) -> None:
    soil = synthetic_soils(1, 1)[0]
    seen = np.array([soil, np.full(512, 0.001), np.full(512, 0.001)])
    with handheld(seen) as (url, _), daemon(url, store, **BY_COMMAND) as running:
        record = running.scan(SAMPLE, 3)
    assert record["predictions"] == {} and "rescan:too_dark" in record["flags"]
    assert len(record["replicates"]["rejected"]) == 2


def test_a_job_says_when_the_link_is_lost_and_the_next_one_goes_well(store: Path) -> None:
    device = SimulatedHandheld(SimulatedSpectrometer(synthetic_soils(3, 1), boot=1, pace=0.0))
    line = Line(device, parse("hangup@35"), seed=1)
    with (
        BackgroundServer(PtyPort(store.with_name("port")), line) as server,
        daemon(server.url, store, **BY_COMMAND) as running,
    ):
        ends = [running.ask(SampleRequest(SampleIdentity("S0")))[-1]]
        while isinstance(ends[-1], JobFinished):
            assert len(ends) < 60
            ends.append(running.ask(SampleRequest(SampleIdentity(f"S{len(ends)}")))[-1])
        assert isinstance(ends[-1], JobFailed) and "scan again" in ends[-1].text
        lost = f"S{len(ends) - 1}"
        running.await_activity(Activity.READY)
        again = running.scan(SampleIdentity(lost))
    # If the instrument had taken the scan, it is stored under its sample.
    named = rows(store, f"SELECT scan_id, flags FROM scans WHERE sample_id = '{lost}'")
    assert named[-1][0] == again["scan_id"] and len(named) in (1, 2)
    assert all("read_later" in flags for _, flags in named[:-1])
    names = {name for (name,) in rows(store, "SELECT sample_id FROM scans")}
    assert names == {f"S{number}" for number in range(len(ends))}


@pytest.mark.slow
@pytest.mark.parametrize(("replicates", "purpose"), [(1, None), (0, "check"), (3, None)])
def test_killed_during_a_sample_its_scan_keeps_its_name(
    simulator_process: Callable[..., str], store: Path, replicates: int, purpose: str | None
) -> None:
    url = simulator_process()
    arguments = ["run", "--instrument", url, "--store", store]
    assert run_ccnvr(*arguments, "--count", 1).returncode == 0
    # As if the daemon had died after the instrument took the scan, and before it was stored.
    take_samples(url, 1, Settings(10_000, 16))
    with closing(sqlite3.connect(store)) as connection:
        connection.execute(
            "INSERT INTO jobs VALUES (1, 'SIM-512', 1, ?, ?)",
            (replicates, json.dumps({"id": "Plot 7"})),
        )
        connection.commit()
    result = run_ccnvr(*arguments, "--count", 3 if purpose is None else 2)
    assert result.returncode == 0, result.stderr
    assert ("sample 'Plot 7' was not scanned to the end" in result.stderr) == (replicates == 3)
    stored = rows(store, "SELECT sample_id, purpose, flags FROM scans ORDER BY id")
    assert stored[1][:2] == ("Plot 7", purpose) and "read_later" in stored[1][2]
    assert [name for name, _, _ in stored[2:]] == [None, None]
    assert rows(store, "SELECT * FROM jobs") == []


def test_a_position_is_stored_with_each_scan_while_it_is_known(
    simulated: Callable[..., str], store: Path
) -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    where = {"source": "nmea", "port": f"serial://{os.ttyname(theirs)}?baud=9600", "max_age_s": 1.0}
    with daemon(simulated(), store, position=where, **BY_COMMAND) as running:
        assert "position" not in running.scan()
        os.write(ours, GGA)
        until(lambda: running.control.status()["position"]["position"])
        position = running.scan()["position"]
        assert position["latitude"] == pytest.approx(48.1173)
        assert position["accuracy_m"] == pytest.approx(13.5)
        until(lambda: not running.control.status()["position"]["position"])
        assert "position" not in running.scan()
    os.close(ours)
    os.close(theirs)


def test_a_daemon_that_ends_ends_its_jobs(simulated: Callable[..., str], store: Path) -> None:
    with daemon(simulated(), store, **BY_COMMAND) as running:
        running.await_activity(Activity.READY)
        job = running.control.submit(ReferenceRequest())
        assert isinstance(job.next_event(10), OperatorPrompt)
        waiting = running.control.submit(SampleRequest())
    for one in (job, waiting):
        event = one.next_event(5)
        assert isinstance(event, JobFailed) and "start it again" in event.text
    with pytest.raises(JobRefused, match="the daemon has ended"):
        running.control.submit(SampleRequest())


@pytest.mark.slow
def test_the_commands_ask_and_answer_in_words(simulated: Callable[..., str], store: Path) -> None:
    with daemon(simulated(), store, **BY_COMMAND) as running:
        running.await_activity(Activity.READY)
        given = ["--id", "Plot 7", "--top", "0", "--bottom", "15", "--note", "a\nb"]
        result = run_ccnvr("scan", "--store", store, *given, "--replicates", 3)
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        assert lines[0] == "replicate 1 of 3 is scanned"
        assert lines[2] == "sample Plot 7, 0 to 15 cm"
        assert lines[3].startswith("OC ") and "g/kg (" in lines[3]
        assert any(line.startswith("mean of ") for line in lines)
        as_json = run_ccnvr("scan", "--store", store, "--json")
        assert json.loads(as_json.stdout)["predictions"]
        guided = run_ccnvr("reference", "--store", store, input="\n\n")
        assert guided.returncode == 0, guided.stderr
        assert "put the white panel under the probe" in guided.stdout
        assert "the references are taken and stored" in guided.stdout
        unanswered = run_ccnvr("reference", "--store", store, stdin=subprocess.DEVNULL)
        assert_one_sentence(unanswered, 1, "nobody can press Enter", "--yes")
        # The daemon notices that whoever asked has gone, and goes on.
        running.await_activity(Activity.READY)
        assert running.scan(SAMPLE)["sample"]["id"] == "Plot 7"
        status = json.loads(run_ccnvr("reference", "--store", store, "--status").stdout)
        assert status["references"]["scans"] == 1
    gone = run_ccnvr("scan", "--store", store)
    assert_one_sentence(gone, 1, "no daemon serves store", "ccnvr run --instrument URL --store")
    wrong = run_ccnvr("scan", "--store", store, "--top", "30", "--bottom", "10")
    assert_one_sentence(wrong, 2, "top_cm = 30 lies below bottom_cm = 10")


@pytest.mark.slow
def test_a_command_is_answered_by_a_daemon_of_another_process(
    simulator_process: Callable[..., str], store: Path
) -> None:
    path, url = store.with_name("config.toml"), simulator_process()
    path.write_text('[scan]\nstart = "command"\n')
    command = [*CCNVR, "run", "-c", str(path), "--instrument", url, "--store", str(store)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    until(store.with_name(".s.sqlite.control").exists)
    scan = run_ccnvr("scan", "--store", store, "--id", "\x1b[2J", "--json")
    assert scan.returncode == 0, scan.stderr
    assert json.loads(scan.stdout)["sample"] == {"id": r"\x1b[2J"}
    # Killed, it leaves its socket, which the next one replaces.
    process.kill()
    out, _ = process.communicate()
    assert json.loads(out)["scan_id"] == json.loads(scan.stdout)["scan_id"]
    assert_one_sentence(run_ccnvr("scan", "--store", store), 1, "no daemon serves store")
    again = run_ccnvr("run", "--instrument", url, "--store", store, "--count", 1)
    assert again.returncode == 0, again.stderr
    assert not store.with_name(".s.sqlite.control").exists()

"""The reader's references: restarts behind an open port, clocks that were set, doubts, drift."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccnvr.edge.daemon import config, main_loop
from ccnvr.edge.quality.reference_checks import ReferenceRefused
from ccnvr.edge.storage import host_clock
from ccnvr.edge.storage.host_clock import Moment
from ccnvr.firmware_bridge.instrument import ScanKind
from ccnvr.firmware_bridge.serving.faults import Line, parse
from ccnvr.firmware_bridge.serving.port import TcpPort
from ccnvr.firmware_bridge.serving.server import BackgroundServer
from ccnvr.firmware_bridge.simulators.handheld import (
    SimulatedHandheld,
    SimulatedSpectrometer,
    synthetic_soils,
)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccnvr.edge.daemon.reader.RECONNECT_S", 0.01)
    monkeypatch.setattr("ccnvr.edge.workflow.guides.ASK_AGAIN_S", 0.01)


def run(url: str, store: Path, count: int, **reference: Any) -> list[dict[str, Any]]:
    """Run the daemon in this process and return its records."""
    settings = config.load(
        None, {"instrument": {"url": url}, "store": {"path": str(store)}, "reference": reference}
    )
    records: list[dict[str, Any]] = []
    main_loop.run(settings, count, records.append)
    return records


def handheld(boot: int = 1) -> SimulatedHandheld:
    return SimulatedHandheld(SimulatedSpectrometer(synthetic_soils(3, 1), boot=boot, pace=0.0))


def boots_of_scans_and_references(path: Path) -> list[tuple[int, int, int]]:
    """Return the boot of each predicted scan and of the references that served it."""
    query = (
        "SELECT s.scan_id, d.boot, w.boot FROM scans s"
        " JOIN reference_scans d ON d.id = s.dark_id JOIN reference_scans w ON w.id = s.white_id"
    )
    with closing(sqlite3.connect(path)) as connection:
        return [(int(i.split("-")[2]), d, w) for i, d, w in connection.execute(query)]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(12, 60, 5))
def test_references_of_another_boot_never_serve_whenever_the_power_fails(
    tmp_path: Path, first: int
) -> None:
    """With references of its own the instrument goes on by itself; the port stays open."""
    line = Line(handheld(), parse(f"reset@{first}"), seed=1)
    with BackgroundServer(TcpPort("127.0.0.1", 0), line) as server:
        records = run(server.url, tmp_path / "s.sqlite", 12, when_expired="retake")
    assert line.struck == 1
    served = boots_of_scans_and_references(tmp_path / "s.sqlite")
    assert {boot for boot, _, _ in served} - {1} == {2}
    assert all(scan == dark == white for scan, dark, white in served)
    # A scan that the restarted instrument had taken before anyone noticed has no references.
    for record in records:
        assert record["predictions"] or "rescan:no_reference" in record["flags"]


def test_a_restart_asks_for_the_panel_and_waits_until_it_is_recognised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody may be there: soil lies under the probe twice, and then the panel."""
    device = handheld()
    line = Line(device, parse("reset@30"), seed=1)
    seen, whites = device.bench._light, 0

    def light(kind: ScanKind, soil: Any) -> Any:
        nonlocal whites
        if kind is ScanKind.WHITE and line.struck:
            whites += 1
            return seen(kind, soil) * (1.0 if whites > 2 else 0.6)
        return seen(kind, soil)

    device.bench._light = light  # type: ignore[method-assign]
    with (
        BackgroundServer(TcpPort("127.0.0.1", 0), line) as server,
        caplog.at_level("WARNING", logger="ccnvr"),
    ):
        records = run(server.url, tmp_path / "s.sqlite", 50)
    assert len(records) == 50 and whites == 3
    served = boots_of_scans_and_references(tmp_path / "s.sqlite")
    assert {boot for boot, _, _ in served} == {1, 2}
    assert all(scan == dark == white for scan, dark, white in served)
    told = [record.getMessage() for record in caplog.records]
    for words in (
        "was started again, so its references no longer hold; put the white panel",
        "trying again until the white panel is there",
    ):
        assert sum(words in message for message in told) == 1


def references_taken(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM reference_scans").fetchone()[0]) // 2


@pytest.mark.parametrize(
    ("wall_s", "uptime_s", "changes", "taken"),
    [
        (600.0, 600.0, {}, 1),
        (3_000.0, 3_000.0, {}, 2),  # too old
        (300.0, 36_000.0, {}, 2),  # ten hours, of which the wall clock lost most
        (300.0, 2.0, {}, 2),  # the wall clock was set
        (-300.0, 60.0, {}, 2),
        (-36_000.0, 60.0, {}, 2),
        (-2 * 86_400.0, 60.0, {}, 2),
        (300.0, -5.0, {"host_boot": "another"}, 1),  # rebooted, right time on both sides
        (300.0, -5.0, {"host_boot": "another", "synchronised": False}, 2),
    ],
)
def test_references_are_as_old_as_a_clock_that_nobody_set_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    simulated: Callable[..., str],
    wall_s: float,
    uptime_s: float,
    changes: dict[str, Any],
    taken: int,
) -> None:
    then = replace(host_clock.now(), host_boot="b", uptime_s=1_000.0, synchronised=True)
    later = Moment(then.wall + timedelta(seconds=wall_s), "b", 1_000.0 + uptime_s, True)
    url = simulated()
    for moment in (then, replace(later, **changes)):
        monkeypatch.setattr(host_clock, "now", lambda moment=moment: moment)
        run(url, tmp_path / "s.sqlite", 1)
    assert references_taken(tmp_path / "s.sqlite") == taken


def test_records_say_whether_the_clock_was_synchronised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: Callable[..., str]
) -> None:
    url = simulated()
    for state in (True, False, None):
        monkeypatch.setattr(host_clock, "clock_synchronised", lambda state=state: state)
        (record,) = run(url, tmp_path / "s.sqlite", 1)
        assert record["clock_synchronised"] is state


def test_a_warming_detector_is_flagged_or_gets_new_references(tmp_path: Path) -> None:
    for when in ("flag", "retake"):
        device, path = handheld(), tmp_path / f"{when}.sqlite"
        device.bench.drift_c = 1.0
        with BackgroundServer(TcpPort("127.0.0.1", 0), device) as server:
            records = run(server.url, path, 10, when_expired=when, max_drift_c=3.0)
        drifted = ["reference_drift" in record["flags"] for record in records]
        # Dark is 3 degrees colder than the second sample after white.
        assert drifted[:2] == [False, False]
        assert sum(drifted) == 8 if when == "flag" else 0 < sum(drifted) < 5
        assert (references_taken(path) == 1) == (when == "flag")


@pytest.mark.slow
def test_a_disturbed_instrument_that_counts_no_starts_may_have_restarted(tmp_path: Path) -> None:
    quiet = run("sim://?driver=asd&pace=0", tmp_path / "a.sqlite", 4)
    assert not any("restart_possible" in record["flags"] for record in quiet)
    disturbed = run("sim://?driver=asd&pace=0&faults=drop@12", tmp_path / "b.sqlite", 4)
    doubtful = ["restart_possible" in record["flags"] for record in disturbed]
    assert doubtful[-1] and doubtful == sorted(doubtful)


def test_a_new_lamp_is_accepted_on_request_and_compared_with_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    bright = np.full((1, 512), 0.4)

    def day(boot: int, light: float, **reference: Any) -> int:
        spectrometer = SimulatedSpectrometer(bright, boot=boot, pace=0.0)
        seen = spectrometer.bench._light
        spectrometer.bench._light = lambda kind, soil: light * seen(kind, soil)  # type: ignore[method-assign]
        with BackgroundServer(TcpPort("127.0.0.1", 0), SimulatedHandheld(spectrometer)) as server:
            return len(run(server.url, path, 1, **reference))

    assert day(1, 1.0) == 1
    with pytest.raises(ReferenceRefused, match=r"has 70% of the earlier ones' light"):
        day(2, 0.7)
    assert day(3, 0.7, accept_white=True) == 1
    assert day(4, 0.7) == 1
    with pytest.raises(ReferenceRefused, match=r"has 143% of the earlier ones' light"):
        day(5, 1.0)
    assert references_taken(path) == 3

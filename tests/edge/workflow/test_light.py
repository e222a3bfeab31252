"""The scan with the lamp off: when it is taken, what it flags, how lamp and shutter are left."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccnvr.edge.storage.context import SampleIdentity
from ccnvr.edge.workflow.requests import CheckRequest
from ccnvr.firmware_bridge.link.messages import Held
from tests.support.measuring import BY_COMMAND, daemon, handheld, rows, until

SAMPLE = SampleIdentity("Plot 7")


def test_light_from_outside_is_flagged_for_scans_that_are_asked_for(store: Path) -> None:
    with handheld() as (url, device), daemon(url, store, **BY_COMMAND) as running:
        assert "stray_light" not in running.scan(SAMPLE)["flags"]
        device.bench.stray = 0.02
        assert "stray_light" in running.scan(SAMPLE)["flags"]
        running.ask(CheckRequest())
        device.bench.stray = 0.0
        assert "stray_light" not in running.scan(SAMPLE)["flags"]
        until(lambda: len(running.records) == 3)
        board = device._board
        assert (board.lamp, board.shutter) == (Held.AUTOMATIC, Held.AUTOMATIC)
    # Nothing of a scan with the lamp off is stored, and nothing of it waits in the instrument.
    numbers = [int(scan_id.rpartition("-")[2]) for (scan_id,) in rows(store, _IDS)]
    assert numbers == [4, 6, 8, 10]
    flags = rows(store, "SELECT flags FROM scans WHERE purpose = 'check'")
    assert "stray_light" in flags[0][0]
    assert device._device._scans.samples() == 0


@pytest.mark.parametrize("check_light", ["asked", "none", "all"])
def test_scans_of_a_timer_are_checked_if_so_configured(store: Path, check_light: str) -> None:
    sections = {"scan": {"check_light": check_light}}
    with handheld() as (url, device):
        device.bench.stray = 0.02
        with daemon(url, store, **sections) as running:
            until(lambda: len(running.records) >= 2)
    flagged = {"stray_light" in record["flags"] for record in running.records}
    assert flagged == {check_light == "all"}


def test_a_lamp_that_is_held_on_stays_on(store: Path) -> None:
    with handheld() as (url, device):
        device._board.lamp = Held.ON
        device.bench.stray = 0.02
        with daemon(url, store, **BY_COMMAND) as running:
            assert "stray_light" not in running.scan(SAMPLE)["flags"]
        assert device._board.lamp is Held.ON


def test_a_lamp_that_a_dead_daemon_left_held_off_is_released(store: Path) -> None:
    with handheld() as (url, device):
        device._board.lamp, device._board.shutter = Held.OFF, Held.ON
        # An open shutter would let this into the dark reference.
        device.bench.stray = 0.02
        with daemon(url, store, **BY_COMMAND) as running:
            assert "stray_light" in running.scan(SAMPLE)["flags"]


_IDS = "SELECT scan_id FROM scans ORDER BY id"

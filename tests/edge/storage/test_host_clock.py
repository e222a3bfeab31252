"""The age of a reference by this computer's clocks, whatever was done to them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ccnvr.edge.storage import host_clock
from ccnvr.edge.storage.host_clock import Moment, age_s

THEN = Moment(datetime(2026, 11, 29, 12, tzinfo=UTC), "boot-1", 500.0, True)


def later(wall_s: float, uptime_s: float, **changes: object) -> Moment:
    """Return a moment after THEN by the wall clock and by the uptime."""
    moment = replace(THEN, wall=THEN.wall + timedelta(seconds=wall_s), uptime_s=500.0 + uptime_s)
    return replace(moment, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("synchronised", [True, False, None])
def test_the_uptime_counts_within_a_boot(synchronised: bool | None) -> None:
    assert age_s(THEN, later(600.2, 600.0, synchronised=synchronised)) == 600.0


@pytest.mark.parametrize("set_by_s", [-2 * 86_400, -36_000, -300, 300, 36_000])
def test_a_clock_that_was_set_makes_an_age_unknown(set_by_s: float) -> None:
    """Set back, or put right: ten hours may have passed while a virtual machine was paused."""
    assert age_s(THEN, later(600.0 + set_by_s, 600.0)) is None


def test_an_uptime_that_fell_makes_an_age_unknown() -> None:
    assert age_s(THEN, later(-100.0, -100.0)) is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (True, True, 600.0),
        (True, False, None),
        (False, True, None),
        (None, True, None),
        (True, None, None),
    ],
)
def test_after_a_reboot_the_wall_clock_counts_if_it_was_right_both_times(
    before: bool | None, after: bool | None, expected: float | None
) -> None:
    present = later(600.0, -400.0, host_boot="boot-2", synchronised=after)
    assert age_s(replace(THEN, synchronised=before), present) == expected
    assert age_s(THEN, later(-1.0, -400.0, host_boot="boot-2")) is None


def test_a_computer_that_does_not_tell_its_boot_knows_no_age(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(host_clock, "_BOOT_ID", tmp_path / "none")
    blind = host_clock.now()
    assert (blind.host_boot, blind.uptime_s) == (None, None)
    assert age_s(blind, blind) is None


def test_this_computer_tells_its_clocks() -> None:
    first, second = host_clock.now(), host_clock.now()
    assert first.host_boot == second.host_boot is not None
    passed = age_s(first, second)
    assert passed is not None and 0.0 <= passed < 10.0
    assert first.synchronised in (True, False, None)

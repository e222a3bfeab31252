"""The clocks of this computer: what time it is, how sure that is, and how much time has passed.

A computer without a battery-backed clock wakes up with a wrong time and corrects it once it meets
the network; a user may set it as well. The age of a reference is therefore not a difference of two
wall-clock times alone.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from ccnvr.firmware_bridge.frozen import frozen

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UPTIME = Path("/proc/uptime")

_TIME_ERROR = 5
"""The value of adjtimex() while no time source disciplines the clock (adjtimex(2))."""

_TIMEX = ctypes.create_string_buffer(512)
"""More bytes than `struct timex` has on any architecture.

All are zero at first, and the kernel leaves `modes` alone, which is 0 to read only; that needs no
privilege. The return value is enough, so neither the layout of the structure matters, nor which
thread wrote it last.
"""

_DISAGREE_S = 60.0
"""Wall clock and uptime may differ by this much before the wall clock counts as set by someone."""

_DISAGREE_SHARE = 0.001
"""The same, as a share of the time that has passed; NTP slews a clock by at most 500 ppm."""


@frozen
class Moment:
    """A moment as this computer's clocks show it.

    Attributes:
        wall: the wall-clock time.
        host_boot: the id of the computer's boot, which is new after each start; None if unknown.
        uptime_s: the time since that boot in s, with time spent asleep; None if unknown.
        synchronised: whether a time source disciplined the wall clock; None if unknown.
    """

    wall: datetime
    host_boot: str | None
    uptime_s: float | None
    synchronised: bool | None


def now() -> Moment:
    """Return the present moment."""
    try:
        host_boot = _boot_of(_BOOT_ID)
        # This is CLOCK_BOOTTIME. It is read from the kernel's file because libraries that fake the
        # time for a process fake clock_gettime() as well.
        uptime_s = float(os.pread(_open(_UPTIME), 64, 0).split()[0])
    except (OSError, ValueError, IndexError):
        return Moment(datetime.now(UTC), None, None, clock_synchronised())
    return Moment(datetime.now(UTC), host_boot, uptime_s, clock_synchronised())


@cache
def _boot_of(path: Path) -> str | None:
    """Return the id of this boot, which stays the same for as long as this process lives."""
    return path.read_text().strip() or None


@cache
def _open(path: Path) -> int:
    """Return a descriptor of a file of the kernel, which makes its text anew for each read."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


@cache
def _adjtimex() -> Callable[[object], int] | None:
    """Return the function of the C library, looked up once; None if the library lacks it."""
    try:
        function: Callable[[object], int] = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    return function


def clock_synchronised() -> bool | None:
    """Return whether the kernel holds the wall clock to be synchronised; None if it does not say.

    Every NTP, PTP and GPS daemon tells the kernel, and the kernel withdraws it when the daemon has
    fallen silent for hours. A time stamp of one daemon, such as that of systemd-timesyncd, would
    know neither the others nor the silence.
    """
    adjtimex = _adjtimex()
    if adjtimex is None:
        return None
    state = int(adjtimex(_TIMEX))
    return None if state < 0 else state != _TIME_ERROR


def age_s(then: Moment, present: Moment) -> float | None:
    """Return how long before `present` a moment was, in s; None if the clocks cannot tell.

    Within one boot of the computer the uptime counts, and the wall clock must agree with it: if it
    does not, someone has set the clock, or the computer was paused as a virtual machine, during
    which the uptime stands still. After a reboot only the wall clock is left, which counts if it
    was synchronised both times.
    """
    by_wall = (present.wall - then.wall).total_seconds()
    if then.host_boot is None or then.uptime_s is None or present.uptime_s is None:
        return None
    if then.host_boot == present.host_boot:
        passed = present.uptime_s - then.uptime_s
        tolerated = _DISAGREE_S + _DISAGREE_SHARE * abs(passed)
        return passed if passed >= 0.0 and abs(by_wall - passed) <= tolerated else None
    sure = then.synchronised and present.synchronised
    return by_wall if sure and by_wall >= 0.0 else None

"""The sections of the daemon's configuration that the measuring workflow reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ccnvr.edge.storage.context import MOST_ID
from ccnvr.edge.workflow.requests import MOST_REPLICATES

MOST_LEARNT = 100


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise a ValueError unless a value lies in its range."""
    if not low <= value <= high:
        raise ValueError(f"{name} = {value} is outside {low} to {high}")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise a ValueError unless a value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is not one of {', '.join(choices)}")


@dataclass(frozen=True)
class ScanConfig:
    """What starts a scan, and how many scans make a sample's record.

    `start` is "timer", "command" or "instrument" (its button). `interval_s` is the time from the
    start of one scan to the next with "timer"; 0 means as fast as possible. `operator` belongs to
    each sample for which no other is given. With `control` false, the daemon has no control socket.
    """

    start: str = "timer"
    interval_s: float = 0.0
    replicates: int = 1
    operator: str = ""
    control: bool = True

    def __post_init__(self) -> None:
        check_choice("start", self.start, ("timer", "command", "instrument"))
        check_range("interval_s", self.interval_s, 0.0, 86_400.0)
        check_range("replicates", self.replicates, 1, MOST_REPLICATES)
        check_range("the length of operator", len(self.operator), 0, MOST_ID)


@dataclass(frozen=True)
class CheckSampleConfig:
    """When the check sample is scanned, and how its limits are found.

    `every` is "never" or "white" (after each white reference). `name` tells one check sample from
    another: with a new name, the limits are learnt anew, from the first `learn` measurements.
    """

    every: str = "never"
    name: str = "check sample"
    learn: int = 10

    def __post_init__(self) -> None:
        check_choice("every", self.every, ("never", "white"))
        check_range("the length of name", len(self.name), 1, MOST_ID)
        check_range("learn", self.learn, 3, MOST_LEARNT)


@dataclass(frozen=True)
class PositionConfig:
    """Where positions come from.

    `source` is "none", "gpsd" or "nmea". `gpsd` is the HOST:PORT of gpsd, `port` the URL of a
    receiver that sends NMEA 0183, such as "serial:///dev/ttyUSB0?baud=9600". A position older than
    `max_age_s` is not stored with a scan.
    """

    source: str = "none"
    gpsd: str = "127.0.0.1:2947"
    port: str = ""
    max_age_s: float = 10.0

    def __post_init__(self) -> None:
        check_choice("source", self.source, ("none", "gpsd", "nmea"))
        check_range("max_age_s", self.max_age_s, 0.5, 3_600.0)
        host, _, number = self.gpsd.rpartition(":")
        if not host or not number.isdecimal() or not 1 <= int(number[:6]) <= 65_535:
            raise ValueError(f"gpsd = {self.gpsd!r} is not HOST:PORT")
        if self.source == "nmea" and not self.port:
            raise ValueError("port names no receiver; give serial:///dev/NAME?baud=9600")

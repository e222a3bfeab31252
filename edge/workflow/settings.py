"""The sections of the daemon's configuration that the measuring workflow reads."""

from __future__ import annotations

from dataclasses import dataclass

from ccnvr.edge.storage.context import MOST_ID
from ccnvr.edge.typed import check_choice, check_range
from ccnvr.edge.workflow.requests import MOST_REPLICATES

MOST_LEARNT = 100


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

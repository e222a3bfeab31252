"""The sections of the daemon's configuration that the measuring workflow reads."""

from __future__ import annotations

from ccnvr.edge.storage.context import MOST_ID
from ccnvr.edge.typed import check_choice, check_range
from ccnvr.edge.workflow.requests import MOST_REPLICATES
from ccnvr.firmware_bridge.frozen import frozen

MOST_LEARNT = 100


@frozen
class ScanConfig:
    """What starts a scan, and how many scans make a sample's record.

    `start` is "timer", "command" or "instrument" (its button). `interval_s` is the time from the
    start of one scan to the next with "timer"; 0 means as fast as possible, and without it that of
    [run] counts. `operator` belongs to each sample for which no other is given. With `control`
    false, the daemon has no control socket. `check_light` says before which samples an instrument
    that can do so scans with its lamp off: those that someone asks for ("asked"), "all" or "none".
    """

    start: str = "timer"
    interval_s: float | None = None
    replicates: int = 1
    operator: str = ""
    control: bool = True
    check_light: str = "asked"

    def __post_init__(self) -> None:
        check_choice("check_light", self.check_light, ("asked", "all", "none"))
        check_choice("start", self.start, ("timer", "command", "instrument"))
        if self.interval_s is not None:
            check_range("interval_s", self.interval_s, 0.0, 86_400.0)
        check_range("replicates", self.replicates, 1, MOST_REPLICATES)
        check_range("the length of operator", len(self.operator), 0, MOST_ID)


@frozen
class ReferenceConfig:
    """The age, use and drift at which references expire, what happens then, and the white panel.

    `when_expired` is "flag", "retake" or "ask". With "flag", predictions carry `reference_expired`
    until someone puts the panel in place and runs `ccnvr reference`, or starts the daemon again.
    With "retake", the daemon takes new references at once, which suits an instrument with a
    built-in white reference. With "ask", the daemon takes no scan without references that hold: it
    waits for `ccnvr reference`, at its start as well.

    `max_scans` is how many scans a pair may serve; 0 means no limit. `max_drift_c` is how far the
    detector's temperature may move from that of the references, in degrees Celsius. `accept_white`
    takes a white that is unlike the earlier ones, once the lamp or the panel was replaced, and
    forgets the earlier ones.
    """

    max_age_s: float = 1_800.0
    max_scans: int = 0
    max_drift_c: float = 3.0
    when_expired: str = "flag"
    white_panel_reflectance: float = 0.99
    accept_white: bool = False

    def __post_init__(self) -> None:
        check_range("max_age_s", self.max_age_s, 1.0, 30 * 86_400.0)
        check_range("max_scans", self.max_scans, 0, 100_000)
        check_range("max_drift_c", self.max_drift_c, 0.1, 100.0)
        check_choice("when_expired", self.when_expired, ("flag", "retake", "ask"))
        check_range("white_panel_reflectance", self.white_panel_reflectance, 0.05, 1.1)


@frozen
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
        check_range("learn", self.learn, 5, MOST_LEARNT)

"""What the reader of the instrument remembers from one connection to the next."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from ccnvr.edge.service.liveness import Liveness
from ccnvr.edge.storage.context import GeoPosition
from ccnvr.edge.storage.health import STEP_S
from ccnvr.edge.workflow.control import Control, Job
from ccnvr.firmware_bridge.frozen import frozen

_LOG = logging.getLogger(__name__)


def nowhere() -> GeoPosition | None:
    """Return the position where no source of positions is configured."""
    return None


@frozen
class Beginning:
    """How a run, or another round of it, begins.

    Attributes:
        attended: a person is there, who has the white panel in place.
        patient: whatever the instrument does may pass, also before its first scan.
        renew: take new references first, even if fresh ones are stored.
    """

    attended: bool = True
    patient: bool = False
    renew: bool = False


@dataclass
class Course:
    """The course of a run with its instrument; used by the reader's thread alone.

    Attributes:
        control: where jobs come from, and where the status is shown.
        position: returns the present position at once.
        remaining: the number of samples still to take; None if there is no limit.
        renew: whether new references are wanted, even if fresh ones are stored.
        patient: whether whatever the instrument does may pass.
        attended: whether someone is there who can bring the white panel: the person who starts the
            daemon is, and later nobody may be.
        proved: whether the instrument has given a scan.
        serial: the serial number of the instrument whose references serve; "" before the first.
        link_was_lost: whether an instrument that counts no starts may have restarted since its
            references were taken.
        retries_before: the repeats of commands until the references were taken.
        last_warning: the last warning about the instrument, which is not repeated.
        job: the job that is carried out now.
        progress: where this thread declares by when it will have moved on.
        longest_scan_s: how long a scan may take.
        stopping: set when no further scan is to be taken.
    """

    control: Control = field(default_factory=Control)
    position: Callable[[], GeoPosition | None] = nowhere
    remaining: int | None = None
    renew: bool = False
    patient: bool = False
    attended: bool = True
    proved: bool = False
    serial: str = ""
    link_was_lost: bool = False
    retries_before: int = 0
    last_warning: str = ""
    job: Job | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    progress: Liveness = field(default_factory=Liveness)
    longest_scan_s: float = 0.0

    @classmethod
    def begun(
        cls, beginning: Beginning, count: int | None, control: Control, progress: Liveness
    ) -> Self:
        """Return the course of a run that begins now, with `count` samples to take."""
        return cls(
            control,
            remaining=count,
            renew=beginning.renew,
            patient=beginning.patient,
            attended=beginning.attended,
            proved=beginning.patient,
            progress=progress,
        )

    @property
    def done(self) -> bool:
        """Whether no further sample is to be taken."""
        return self.remaining == 0 or self.stopping.is_set()

    def warn_once(self, message: str) -> None:
        """Log a warning unless it repeats the last one; an instrument may be away for days."""
        # The status is set anyway: it may have said "measuring" meanwhile.
        if message != self.last_warning:
            _LOG.warning("%s", message)
        self.last_warning = self.progress.status = message

    def declare(self, pause_s: float = 0.0) -> None:
        """Declare that this thread moves on after a pause and a scan, so that it is missed."""
        self.progress.doing(pause_s + self.longest_scan_s + STEP_S)

    def answered(self) -> None:
        """Note that the instrument has given a scan."""
        if self.last_warning:
            _LOG.info("the instrument answers again")
        self.proved, self.last_warning = True, ""
        self.progress.status = "measuring"

    def fail_job(self, reason: str) -> None:
        """End the present job, if there is one, without success."""
        if self.job is not None:
            self.job.fail(reason)
        self.job = None

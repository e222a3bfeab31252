"""Who is asked for the white panel and the check sample, how, and how often."""

from __future__ import annotations

import logging
from typing import Protocol

from ccnvr.edge.quality.reference_checks import ReferenceRefused
from ccnvr.edge.workflow.activity import Activity
from ccnvr.edge.workflow.control import OPERATOR_S, Job
from ccnvr.edge.workflow.course import Course

ASKS = 3
"""How often an operator is asked for references before the daemon gives up."""

ASK_AGAIN_S = 10.0
"""The time that an operator has to bring the white panel after a reference was refused, in s."""

_LOG = logging.getLogger(__name__)


class Stopped(Exception):
    """The end of a wait for the operator, because the reader is to stop."""


class Guide(Protocol):
    """Who brings the white panel and the check sample, and how they are asked."""

    def ready(self, what: str) -> None:
        """Ask for something under the probe, and return once it is there.

        Raises:
            Stopped: the reader is to stop.
            JobCancelled: nobody answers.
        """
        ...

    def again(self, refused: ReferenceRefused, asked: int) -> None:
        """Ask for both references again, after `asked` of them were refused.

        Raises:
            ReferenceRefused: nobody is there to mend it.
            Stopped: the reader is to stop.
            JobCancelled: nobody answers.
        """
        ...


class LogGuide:
    """A guide that has only the log: it says what is needed, and waits for a fixed time."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def ready(self, what: str) -> None:
        """Say what is needed, and wait; see `Guide`."""
        _LOG.warning("%s; going on in %.0f s", what, ASK_AGAIN_S)
        self._wait()

    def again(self, refused: ReferenceRefused, asked: int) -> None:
        """Say what is wrong, and wait; see `Guide`."""
        # After SIGHUP the daemon goes on asking: a signal must not end it.
        if not self._course.attended or (asked == ASKS and not self._course.patient):
            raise refused
        _LOG.warning("%s; taking both again in %.0f s", refused, ASK_AGAIN_S)
        self._wait()

    def _wait(self) -> None:
        self._course.control.activity.change(Activity.AWAITING_OPERATOR)
        self._course.declare(ASK_AGAIN_S)
        if self._course.stopping.wait(ASK_AGAIN_S):
            raise Stopped


class JobGuide:
    """A guide that asks whoever asked for the references, and waits for an answer."""

    def __init__(self, course: Course, job: Job) -> None:
        self._course = course
        self._job = job

    def ready(self, what: str) -> None:
        """Prompt for something; see `Guide`."""
        self._course.control.activity.change(Activity.AWAITING_OPERATOR)
        self._course.declare(OPERATOR_S)
        self._job.prompt(what, self._course.stopping)

    def again(self, refused: ReferenceRefused, asked: int) -> None:
        """Prompt for both references again; see `Guide`."""
        # The former pair still serves, so that giving up does no harm.
        if asked == ASKS:
            raise refused
        self.ready(f"{refused}; then both references are taken again")

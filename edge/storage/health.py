"""The state of the daemon that others may ask for, and the patience with what passes."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

from ccnvr.edge.service.liveness import Liveness
from ccnvr.firmware_bridge.frozen import frozen

_LOG = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
"""The pause doubles from try to try; its end bounds how late the daemon notices the cause's end."""

STEP_S = 60.0
"""By when a thread of the daemon moves on unless it says otherwise, in s; a disk may be slow."""


@dataclass
class Health:
    """What is well and what is not; safe to use from several threads. `silent` logs no notes."""

    silent: bool = False
    _problem: str = ""
    _since: float = 0.0
    _notes: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def degraded(self, problem: str) -> None:
        """Note a problem; it is logged once, however often and by whomever it is met."""
        with self._lock:
            if problem == self._problem:
                return
            if not self._problem:
                self._since = time.monotonic()
            self._problem = problem
        _LOG.warning("%s; trying again", problem)

    def restored(self) -> None:
        """Note that the problem is over."""
        with self._lock:
            if not self._problem:
                return
            lasted = time.monotonic() - self._since
            self._problem = ""
        _LOG.info("the store can be used again after %.1f s", lasted)

    def note(self, message: str) -> None:
        """Log something that was lost or repaired, and keep it for `status`."""
        with self._lock:
            self._notes.append(message)
        if not self.silent:
            _LOG.warning("%s", message)

    def status(self) -> dict[str, object]:
        """Return the state as JSON values: `state`, `problem`, `since_s` and `notes`."""
        with self._lock:
            problem = self._problem
            return {
                "state": "degraded" if problem else "ok",
                "problem": problem or None,
                "since_s": round(time.monotonic() - self._since, 1) if problem else None,
                "notes": list(self._notes),
            }


@frozen
class Patience:
    """How a daemon waits for trouble to pass: with growing pauses, until it is told to stop."""

    health: Health
    stopping: threading.Event
    progress: Liveness = field(default_factory=Liveness)

    def wait(self, problem: str, tries: int) -> bool:
        """Wait before the next try and return True; return False if the daemon is to stop."""
        self.health.degraded(problem)
        self.progress.doing(STEP_S)
        # Without the inner bound the power would no longer fit a float after some 1,024 tries,
        # which is half an hour of waiting.
        pause = min(FIRST_PAUSE_S * 2 ** min(tries, 10), LONGEST_PAUSE_S)
        return not self.stopping.wait(pause)

"""SIGINT, SIGTERM and SIGHUP as a run of the daemon sees them, and how long an end may take."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ccnvr.edge.standard_error import tell

GRACE_S = 2.0
"""The time after a signal in which what has begun may be finished, in s."""

BACKSTOP_S = 4.0
"""After this time the process ends itself, whatever it is doing: users expect an end within 5 s."""

_LOOK_UP_S = 0.2


class RunSignals:
    """What signals ask of a run.

    SIGINT and SIGTERM end the run; a second one ends the process at once, as SIGKILL would. SIGHUP
    ends the present round, after which the run reads its configuration again and goes on;
    `end_round` ends it for another reason.

    Attributes:
        stopping: set while the present round is to end.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._ending = False
        self._asked_at = 0.0
        # Two counts and not a flag, which would be cleared with a SIGHUP that came meanwhile.
        self._hangups = self._hangups_seen = 0
        self._on_stop: Callable[[], None] = lambda: None

    @property
    def ending(self) -> bool:
        """Whether the run is to end, and not only the present round."""
        return self._ending

    def overdue(self) -> bool:
        """Return whether the present round should have ended by now."""
        return self.stopping.is_set() and time.monotonic() - self._asked_at > GRACE_S

    def must_end(self) -> bool:
        """Return whether the run should have ended by now."""
        return self._ending and self.overdue()

    def next_round(self) -> bool:
        """Begin another round; return whether SIGHUP came since the last one was begun."""
        self._on_stop = lambda: None
        hangups = self._hangups
        asked, self._hangups_seen = hangups != self._hangups_seen, hangups
        if not self._ending:
            self.stopping.clear()
        # Again, because a signal may have come between the look and the clearing.
        if self._ending or self._hangups != hangups:
            self.stopping.set()
        return asked

    def call_on_stop(self, action: Callable[[], None]) -> None:
        """Call `action` when the round is to end; it must be safe in a signal handler."""
        self._on_stop = action
        if self.stopping.is_set():
            action()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals while the block runs.

        Nothing is done outside the main thread, where Python allows no handlers.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {signal.SIGINT: self._end, signal.SIGTERM: self._end, signal.SIGHUP: self._pause}
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        finished = threading.Event()
        # Started here: a signal handler must not, because threading's lock may be held.
        backstop = threading.Thread(
            target=self._end_at_last, args=(finished,), name="backstop", daemon=True
        )
        backstop.start()
        try:
            yield
        finally:
            finished.set()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        # Scans that are not acknowledged wait in the instrument, so a second signal loses nothing.
        signal.signal(number, signal.SIG_DFL)
        self._ending = True
        self._stop()

    def end_round(self) -> None:
        """End the present round; may be called from any thread."""
        # One that is stopping already is followed by another one, or by the end.
        if not self.stopping.is_set():
            self._stop()

    def _pause(self, number: int, frame: FrameType | None) -> None:
        self._hangups += 1
        self.end_round()

    def _stop(self) -> None:
        # In this order: whoever sees the event looks at the time next.
        self._asked_at = time.monotonic()
        self.stopping.set()
        self._on_stop()

    def _end_at_last(self, finished: threading.Event) -> None:
        """End the process if it has not ended some time after it was told to.

        A thread that waits in a system call, for a disk or a device, cannot be interrupted.
        """
        while not finished.wait(_LOOK_UP_S):
            if self._ending and time.monotonic() - self._asked_at > BACKSTOP_S:
                tell(
                    f"the run has not ended {BACKSTOP_S} s after it was told to and is ended now; "
                    "what was acknowledged is stored",
                    logging.ERROR,
                )
                # Not sys.exit, which ends this thread alone and lets Python wait for the others.
                os._exit(1)

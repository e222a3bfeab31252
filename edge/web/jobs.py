"""The job that the page has given the daemon: one at a time, seen by all who look at the page."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ccnvr.edge.workflow.control import Control, Job
from ccnvr.edge.workflow.requests import (
    JobFailed,
    JobFinished,
    JobProgress,
    JobRequest,
    OperatorPrompt,
)

_LOOK_UP_S = 0.2

_NAMES = {
    OperatorPrompt: "prompt",
    JobProgress: "progress",
    JobFinished: "finished",
    JobFailed: "failed",
}


class PageJobs:
    """The present job and its last event; safe to use from several threads.

    Args:
        control: the daemon's control.
        on_event: is called after each event.
    """

    def __init__(self, control: Control, on_event: Callable[[], None]) -> None:
        self._control = control
        self._on_event = on_event
        self._job: Job | None = None
        self._number = 0
        self._last: dict[str, Any] = {"job": 0, "event": "none", "text": ""}
        self._lock = threading.Lock()

    @property
    def last(self) -> dict[str, Any]:
        """The last event of the present or last job: its number, the event's name and text."""
        with self._lock:
            return self._last

    def submit(self, request: JobRequest) -> dict[str, Any]:
        """Give the daemon a job and return its first event.

        Raises:
            JobRefused: the daemon does not take it.
        """
        with self._lock:
            # One for all pages: two people with one instrument must see each other's prompts.
            if self._job is not None:
                return {**self._last, "busy": True}
            self._job = self._control.submit(request)
            self._number += 1
            self._last = {"job": self._number, "event": "progress", "text": "asked for"}
            threading.Thread(
                target=self._follow, args=(self._job, self._number), name="page-job", daemon=True
            ).start()
            return self._last

    def proceed(self) -> None:
        """Answer the present job's prompt."""
        with self._lock:
            if self._job is not None:
                # At once, so that the button cannot answer the next prompt as well.
                self._last = {**self._last, "event": "progress"}
                self._job.proceed()

    def cancel(self) -> None:
        """Withdraw the present job."""
        with self._lock:
            if self._job is not None:
                self._job.cancel()

    def _follow(self, job: Job, number: int) -> None:
        while True:
            # The end of the daemon ends the job too, and so this thread.
            event = job.next_event(_LOOK_UP_S)
            if event is None:
                continue
            with self._lock:
                self._last = {"job": number, "event": _NAMES[type(event)], "text": event.text}
                if isinstance(event, JobFinished | JobFailed):
                    self._job = None
            self._on_event()
            if isinstance(event, JobFinished | JobFailed):
                return

"""The control of a running daemon from the same process: jobs for it, and its status.

A web page uses this directly, `control_socket` for other processes. Everything here may be called
from several threads.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from ccnvr.edge.storage.health import Health
from ccnvr.edge.workflow.activity import ActivityLog
from ccnvr.edge.workflow.requests import (
    JobEvent,
    JobFailed,
    JobFinished,
    JobProgress,
    JobRequest,
    OperatorPrompt,
)
from ccnvr.firmware_bridge.errors import CcnvrError

MOST_WAITING = 4
"""How many jobs may wait; more would only be carried out when their sample is long gone."""

OPERATOR_S = 600.0
"""How long a job waits for the operator, in s."""

# A wait for one event is not ended by another, so the others are looked at this often.
_LOOK_UP_S = 0.1


class JobRefused(CcnvrError):
    """A job that the daemon does not take."""


class JobCancelled(CcnvrError):
    """The end of a job because whoever asked for it, or the daemon, went away."""


class Job:
    """A request that the daemon carries out, and what it tells of it.

    One side asks: it reads `next_event`, and answers prompts by `proceed`. The other side is the
    daemon.
    """

    def __init__(self, request: JobRequest) -> None:
        self.request = request
        self.cancelled = threading.Event()
        self.ended = threading.Event()
        self._events: queue.SimpleQueue[JobEvent] = queue.SimpleQueue()
        self._proceed = threading.Event()

    def next_event(self, timeout_s: float) -> JobEvent | None:
        """Wait for the next event; None if none comes in time.

        The last event is a JobFinished or a JobFailed.
        """
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def proceed(self) -> None:
        """Answer the prompt: the operator is ready."""
        self._proceed.set()

    def cancel(self) -> None:
        """Withdraw the request; a scan that has begun is still stored."""
        self.cancelled.set()

    def tell(self, text: str) -> None:
        """Tell how far the job is. For the daemon."""
        self._events.put(JobProgress(text))

    def prompt(self, text: str, stopping: threading.Event) -> None:
        """Ask the operator for something and wait until it is done. For the daemon.

        Raises:
            JobCancelled: the operator does not come, or the daemon is to stop.
        """
        # Before the prompt is told: an answer to an earlier one must not answer this one.
        self._proceed.clear()
        self._events.put(OperatorPrompt(text))
        deadline = time.monotonic() + OPERATOR_S
        while not self._proceed.wait(_LOOK_UP_S):
            if stopping.is_set():
                raise JobCancelled("the daemon ends; start it again and repeat the request")
            if self.cancelled.is_set():
                raise JobCancelled("the request was withdrawn")
            if time.monotonic() > deadline:
                raise JobCancelled(
                    f"nobody answered for {OPERATOR_S:.0f} s; repeat the request when the operator "
                    "is there"
                )

    def finish(self, text: str, record: dict[str, Any] | None = None) -> None:
        """End the job; a second end is ignored. For the daemon."""
        self._end(JobFinished(text, record))

    def fail(self, text: str) -> None:
        """End the job without success; a second end is ignored. For the daemon."""
        self._end(JobFailed(text))

    def _end(self, event: JobEvent) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self._events.put(event)


class Control:
    """The jobs that wait for the daemon, and its status.

    Attributes:
        activity: the state of the daemon's work with the instrument.
        health: what is wrong with the store, and what was lost.
    """

    def __init__(self, health: Health | None = None) -> None:
        self.activity = ActivityLog()
        self.health = health or Health()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting = 0
        self._closed = ""
        self._parts: dict[str, Callable[[], object]] = {}
        self._lock = threading.Lock()

    def submit(self, request: JobRequest) -> Job:
        """Hand in a job.

        Raises:
            JobRefused: too many jobs wait, or the daemon has ended.
        """
        with self._lock:
            if self._closed:
                raise JobRefused(self._closed)
            if self._waiting >= MOST_WAITING:
                raise JobRefused(f"{self._waiting} requests wait already; wait until one is done")
            self._waiting += 1
            job = Job(request)
            self._jobs.put(job)
        return job

    def status(self) -> dict[str, Any]:
        """Return the daemon's status as JSON values."""
        with self._lock:
            parts, waiting = dict(self._parts), self._waiting
        present = self.activity.present
        # The parts are called without the lock, since they may take their own.
        status: dict[str, Any] = {
            "activity": present.name.lower(),
            "text": present.value,
            "jobs_waiting": waiting,
            "health": self.health.status(),
        }
        return status | {name: part() for name, part in parts.items()}

    def show(self, name: str, part: Callable[[], object]) -> None:
        """Add a part to the status; `part` returns JSON values and is called from any thread."""
        with self._lock:
            self._parts[name] = part

    def next_job(self, timeout_s: float) -> Job | None:
        """Return the next job that is not withdrawn; None after `timeout_s` or `wake`.

        For the daemon.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                job = self._jobs.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if job is None:
                return None
            # Counted apart, because the size of a queue is only an estimate.
            with self._lock:
                self._waiting -= 1
            if not job.cancelled.is_set():
                return job
            job.fail("the request was withdrawn")

    def wake(self) -> None:
        """End a wait for the next job; safe in a signal handler."""
        # A SimpleQueue may be put to while its own `get` is interrupted, unlike a Queue.
        self._jobs.put(None)

    def close(self, reason: str) -> None:
        """Refuse all jobs from now on, and end those that wait. For the daemon."""
        # First, so that no job comes in behind the last that is ended here.
        with self._lock:
            self._closed = reason
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                job.fail(reason)

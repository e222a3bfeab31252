"""A daemon in a thread of the tests' process, with its control, and instruments to measure with."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.daemon import config, main_loop
from ccnvr.edge.service.supervision import Supervision
from ccnvr.edge.workflow.activity import Activity
from ccnvr.edge.workflow.control import Control, Job
from ccnvr.edge.workflow.requests import (
    JobEvent,
    JobFailed,
    JobFinished,
    JobRequest,
    OperatorPrompt,
    SampleRequest,
)
from ccnvr.firmware_bridge.serving.port import PtyPort
from ccnvr.firmware_bridge.serving.server import BackgroundServer
from ccnvr.firmware_bridge.simulators.handheld import (
    SimulatedHandheld,
    SimulatedSpectrometer,
    synthetic_soils,
)
from tests.support.helpers import NETWORK_BUNDLE

Sections = dict[str, dict[str, Any]]

BY_COMMAND: Sections = {"scan": {"start": "command"}}


class Daemon:
    """A daemon in a thread of this process, with its control."""

    def __init__(self, url: str, store: Path, **sections: dict[str, Any]) -> None:
        self.control = Control()
        self.records: list[dict[str, Any]] = []
        self.error: BaseException | None = None
        self._supervision = Supervision()
        # Not the default, which is rebuilt now and then and would move the values.
        model = {"bundle": str(NETWORK_BUNDLE)}
        fixed: dict[str, dict[str, Any]] = {
            "instrument": {"url": url}, "store": {"path": str(store)}, "model": model,
        }  # fmt: skip
        self._settings = config.load(None, {**fixed, **sections})
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            main_loop.run(
                self._settings,
                None,
                self.records.append,
                control=self.control,
                supervision=self._supervision,
            )
        except BaseException as error:
            self.error = error

    def ask(
        self, request: JobRequest, before_proceed: Callable[[str], None] = lambda text: None
    ) -> list[JobEvent]:
        """Return the events of a job whose prompts are answered."""
        return list(events_of(self.control.submit(request), before_proceed))

    def scan(self, *given: Any) -> dict[str, Any]:
        """Return the record of a sample."""
        last = self.ask(SampleRequest(*given))[-1]
        assert isinstance(last, JobFinished), last
        assert last.record is not None
        return last.record

    def await_activity(self, wanted: Activity) -> None:
        until(lambda: self.control.activity.present is wanted or self.error)
        assert self.error is None, self.error

    def stop(self) -> None:
        self._supervision.signals._end(2, None)
        self._thread.join(10)
        assert not self._thread.is_alive()


def events_of(job: Job, before_proceed: Callable[[str], None]) -> Iterator[JobEvent]:
    """Yield the events of a job, and answer its prompts."""
    while True:
        event = job.next_event(20)
        assert event is not None, "nothing came of the job"
        yield event
        if isinstance(event, JobFinished | JobFailed):
            return
        if isinstance(event, OperatorPrompt):
            before_proceed(event.text)
            job.proceed()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def daemon(url: str, store: Path, **sections: dict[str, Any]) -> Iterator[Daemon]:
    """A running daemon."""
    running = Daemon(url, store, **sections)
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def handheld(
    soils: np.ndarray | None = None, **options: Any
) -> Iterator[tuple[str, SimulatedHandheld]]:
    """A handheld on a pseudo-terminal whose bench and button a test may use."""
    soils = synthetic_soils(7, 1) if soils is None else soils
    device = SimulatedHandheld(SimulatedSpectrometer(soils, **{"pace": 0.0, "boot": 1, **options}))
    with BackgroundServer(PtyPort(), device) as server:
        yield server.url, device


def rows(store: Path, query: str) -> list[Any]:
    """Return the rows of a query on a store."""
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute(query).fetchall()

"""The exchange between the reader and the main loop: scans one way, confirmations the other.

The reader hands scans over through a short queue. The main loop confirms each one once it is on
disk, and only then may the reader acknowledge it to the instrument.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ccnvr.edge.daemon.references import PreparedPipeline
from ccnvr.edge.storage.context import NO_CONTEXT, ScanContext
from ccnvr.edge.workflow.control import Job
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan

QUEUE_LENGTH = 2
"""One scan is predicted while the next waits; more would only delay the newest prediction."""

_LOOK_UP_S = 0.2
"""How often those who wait look whether the other side has given up, in s."""


@dataclass(frozen=True)
class Work:
    """A sample's scan with everything that is needed to predict and store it.

    Attributes:
        info: the instrument.
        prepared: the pipeline for the scan, or None where no references belong to it.
        scan: the scan.
        received: when the scan arrived, in s of the monotonic clock.
        flags: flags for the record, besides those of the prediction.
        context: the sample, the position and the purpose.
        job: who is told of the record; None for a scan that nobody asked for.
        last: whether the record of the sample follows from this scan and the replicates before it.
        ends_job: whether the job that the store knows of is done with this scan.
    """

    info: InstrumentInfo
    prepared: PreparedPipeline | None
    scan: Scan
    received: float
    flags: tuple[str, ...]
    context: ScanContext = NO_CONTEXT
    job: Job | None = None
    last: bool = True
    ends_job: bool = False


@dataclass(frozen=True)
class Ended:
    """The last item of a reader: the error that ended it, or None if it finished."""

    error: BaseException | None


@dataclass(frozen=True)
class Seal:
    """The reader's request to confirm all that is committed, without waiting for another scan."""


Item = Work | Seal | Ended


class Handover:
    """A bounded queue of work with confirmations, between one reader and one main loop."""

    def __init__(self) -> None:
        self._work: queue.Queue[Item] = queue.Queue(QUEUE_LENGTH)
        self._confirmed: queue.SimpleQueue[Scan] = queue.SimpleQueue()
        # Touched by the reader alone, so it needs no lock.
        self._in_flight = 0
        self._abandoned = threading.Event()

    def next(self, must_end: Callable[[], bool] = lambda: False) -> Item:
        """Wait for the reader's next item. For the main loop.

        Once `must_end` is true and nothing has come, the reader is taken for ended: it may wait for
        the instrument much longer than a user waits for the end of the daemon.
        """
        while True:
            try:
                return self._work.get(timeout=_LOOK_UP_S)
            except queue.Empty:
                if must_end():
                    return Ended(None)

    def confirm(self, scan: Scan) -> None:
        """Tell the reader that a scan is committed. For the main loop."""
        self._confirmed.put(scan)

    def abandon(self) -> None:
        """Release a waiting reader, because the main loop takes nothing more."""
        self._abandoned.set()

    def put(self, work: Work) -> None:
        """Hand a scan over; waits while the queue is full. For the reader."""
        self._in_flight += 1
        self._put(work)

    def end(self, error: BaseException | None) -> None:
        """Hand over the last item. For the reader."""
        self._put(Ended(error))

    def newly_confirmed(self, *, wait: bool) -> Iterator[Scan]:
        """Yield the scans that were committed since the last call. For the reader.

        Args:
            wait: wait until every scan that was handed over is committed.
        """
        if wait and self._in_flight:
            self._put(Seal())
        while self._in_flight and not self._abandoned.is_set():
            try:
                scan = self._confirmed.get(block=wait, timeout=_LOOK_UP_S)
            except queue.Empty:
                if wait:
                    continue
                return
            self._in_flight -= 1
            yield scan

    def _put(self, item: Item) -> None:
        # With a time limit: a full queue that nobody empties any more would hold the reader, and
        # with it the end of the process.
        while not self._abandoned.is_set():
            try:
                self._work.put(item, timeout=_LOOK_UP_S)
                return
            except queue.Full:
                continue

"""The exchange between the reader and the main loop: scans one way, confirmations the other.

The reader hands scans over through a short queue. While it is full, the instrument is not asked for
the next scan, so no scan is dropped. The main loop confirms each one once it is on disk, and only
then may the reader acknowledge it to the instrument.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from ccnvr.edge.daemon.references import PreparedPipeline, ReferenceKeeper
from ccnvr.edge.storage.context import CHECK, NO_CONTEXT, SampleIdentity, ScanContext
from ccnvr.edge.workflow.control import Job
from ccnvr.edge.workflow.course import Course
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import Instrument, InstrumentInfo, Scan, ScanKind, Settings

QUEUE_LENGTH = 2
"""One scan is predicted while the next waits; more would only delay the newest prediction."""

_LOOK_UP_S = 0.2
"""How often those who wait look whether the other side has given up, in s."""

_LOG = logging.getLogger(__name__)


@frozen
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


@frozen
class Ended:
    """The last item of a reader: the error that ended it, or None if it finished."""

    error: BaseException | None


@frozen
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


class ScanDelivery:
    """The delivery of scans of one connection to the main loop.

    Args:
        instrument: the instrument.
        keeper: its references.
        course: what is remembered from one connection to the next.
        handover: the way to the main loop and back.
    """

    def __init__(
        self, instrument: Instrument, keeper: ReferenceKeeper, course: Course, handover: Handover
    ) -> None:
        self._instrument = instrument
        self._keeper = keeper
        self._course = course
        self._handover = handover

    def work(
        self,
        prepared: PreparedPipeline | None,
        scan: Scan,
        flags: tuple[str, ...],
        context: ScanContext,
    ) -> Work:
        """Return what the main loop is to do with a scan that has just come."""
        return Work(self._keeper.info, prepared, scan, time.monotonic(), flags, context)

    def hand_over(self, work: Work) -> None:
        """Hand a scan over to the main loop; waits while the handover is full."""
        course = self._course
        course.answered()
        if course.remaining is not None and work.last and work.context.purpose is None:
            course.remaining -= 1
        course.progress.waiting()
        self._handover.put(work)

    def acknowledge(self, *, wait: bool) -> None:
        """Acknowledge the committed scans; with `wait`, every scan that was handed over."""
        if wait:
            self._course.progress.waiting()
        for scan in self._handover.newly_confirmed(wait=wait):
            self._instrument.acknowledge(scan)

    def recover(self) -> None:
        """Hand over the scans that the instrument still keeps.

        They were taken by an earlier run, by this one before the link was lost, or by someone who
        pressed the instrument's button.
        """
        # Before the store is asked what it holds: scans in flight are about to be committed.
        self._await_confirmations()
        keeper, store = self._keeper, self._keeper.store
        begun = store.job.begun(keeper.info)
        prepared: dict[Settings, PreparedPipeline | None] = {}
        for scan in self._instrument.unacknowledged():
            if self._course.done:
                return
            # A reference that no host has stored has no samples yet, and its age is unknown; a new
            # one will be taken.
            if scan.kind is not ScanKind.SAMPLE or store.holds(keeper.info, scan):
                self._instrument.acknowledge(scan)
                continue
            if scan.settings not in prepared:
                _LOG.info("reading scans that waited in the instrument")
                # Whatever their age, the stored references are the nearest in time to these scans.
                prepared[scan.settings] = keeper.find(scan.settings, of_any_age=True)
            context, ends = _context_of(begun)
            work = self.work(prepared[scan.settings], scan, ("read_later",), context)
            self.hand_over(replace(work, ends_job=ends))
            begun = None if ends else begun
            self.acknowledge(wait=True)
        if begun is not None:
            _LOG.warning("%s was not scanned to the end; scan it again", _named(begun[0]))
        store.job.end()

    def _await_confirmations(self) -> None:
        """Wait until every scan that was handed over is committed, without acknowledging it.

        The link on which these scans came is lost; the instrument offers them again.
        """
        for _ in self._handover.newly_confirmed(wait=True):
            pass


def _context_of(begun: tuple[SampleIdentity, int] | None) -> tuple[ScanContext, bool]:
    """Return the context of a scan that a job took before it was cut off, and whether it ends it.

    A replicate alone becomes a record of its own: nothing tells whether the others were of the same
    sample in the same place.
    """
    if begun is None:
        return ScanContext(), False
    sample, replicates = begun
    return ScanContext(sample, purpose=None if replicates else CHECK), replicates < 2


def _named(sample: SampleIdentity) -> str:
    return f"sample {sample.id!r}" if sample.id else "a sample"

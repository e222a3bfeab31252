"""The way of an instrument's scans to the main loop, and of the acknowledgements back.

While the handover to the main loop is full, the instrument is not asked for the next scan, so no
scan is dropped. A scan is acknowledged to the instrument only after the main loop has committed it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from ccnvr.edge.daemon.handover import Handover, Work
from ccnvr.edge.daemon.references import PreparedPipeline, ReferenceKeeper
from ccnvr.edge.storage.context import CHECK, SampleIdentity, ScanContext
from ccnvr.edge.workflow.course import Course
from ccnvr.firmware_bridge.instrument import Instrument, Scan, ScanKind, Settings

_LOG = logging.getLogger(__name__)


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

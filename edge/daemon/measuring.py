"""The measuring with one connection to the instrument: references, jobs, timer, button, samples."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from typing import Any

from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.handover import ScanDelivery
from ccnvr.edge.daemon.references import PreparedPipeline, ReferenceKeeper, ReferenceTaker
from ccnvr.edge.inference.pipeline import Pipeline
from ccnvr.edge.quality.reference_checks import ReferenceRefused
from ccnvr.edge.storage.context import CHECK, SampleIdentity, ScanContext
from ccnvr.edge.workflow import guides
from ccnvr.edge.workflow.activity import Activity
from ccnvr.edge.workflow.control import Job, JobCancelled
from ccnvr.edge.workflow.course import Course
from ccnvr.edge.workflow.reference_age import ReferenceAge
from ccnvr.edge.workflow.requests import ReferenceRequest, SampleRequest
from ccnvr.firmware_bridge.errors import InstrumentError, LinkLost
from ccnvr.firmware_bridge.instrument import (
    ButtonInstrument,
    Instrument,
    LampInstrument,
    Quantity,
    Scan,
    ScanKind,
)

_POLL_S = 0.1
"""How often the instrument's button is looked at, in s; a longer pause would be felt."""

_LOG = logging.getLogger(__name__)


class Measuring:
    """The work with a connected and identified instrument.

    Args:
        config: the daemon's configuration.
        instrument: the instrument.
        keeper: its references.
        course: what is remembered from one connection to the next.
        delivery: the way of its scans to the main loop.
    """

    def __init__(
        self,
        config: Config,
        instrument: Instrument,
        keeper: ReferenceKeeper,
        course: Course,
        delivery: ScanDelivery,
    ) -> None:
        self._config = config
        self._instrument = instrument
        self._keeper = keeper
        self._course = course
        self._delivery = delivery
        self._activity = course.control.activity
        self._taker = ReferenceTaker(instrument, keeper, course)
        self._prepared: PreparedPipeline | None = None
        self._age = ReferenceAge(config.reference, math.inf)
        self._taken_at = -math.inf
        self._pressed = 0
        info = keeper.info
        stated = {"model": info.model, "serial": info.serial, "boot": info.boot}
        course.control.show("instrument", lambda: stated)
        course.control.show("references", self._reference_status)

    def serve(self) -> None:
        """Take samples until done.

        Raises:
            InstrumentError: the link is lost, or the instrument fails.
        """
        self._activity.change(Activity.RECOVERING)
        if isinstance(self._instrument, LampInstrument):
            # A former run may have ended while it looked for light beside the lamp's.
            self._instrument.release_lamp()
        self._delivery.recover()
        if self._course.done:
            return
        try:
            self._begin()
            while not self._course.done:
                self._go_on()
        except guides.Stopped:
            pass
        self._delivery.acknowledge(wait=True)

    def _begin(self) -> None:
        """See that there are references, from the store or new ones.

        Raises:
            InstrumentError: the references cannot serve, or there is no button.
        """
        course, keeper, when = self._course, self._keeper, self._config.reference.when_expired
        if self._config.scan.start == "instrument":
            self._pressed = self._presses()
        if keeper.info.quantity is not Quantity.COUNTS:
            self._use(PreparedPipeline(Pipeline(keeper.predictor, keeper.info), None, math.inf))
        else:
            # After a reconnection the pair of this power-on is kept however old it is: its scans
            # are flagged.
            found = keeper.find(keeper.settings, of_any_age=not course.attended)
            if found is not None and not course.renew:
                self._use(found)
            elif when == "ask":
                self._await_references("there are no references that hold", automatic=False)
            elif course.attended or when == "retake":
                self._take(guides.LogGuide(course))
            else:
                self._await_panel()
        course.attended, course.serial = False, keeper.info.serial

    def _await_panel(self) -> None:
        """Ask for the white panel after the instrument lost its power or another one came.

        Nobody may have been there. The panel is recognised by the instrument's earlier whites;
        without any, only a person can tell that it is in place.
        """
        serial, before = self._keeper.info.serial, self._course.serial
        if not before:
            what = f"instrument {serial} has no references since it was switched on"
        elif serial == before:
            what = "the instrument was started again, so its references no longer hold"
        else:
            what = f"instrument {serial} answers where {before} did, and has no references"
        self._await_references(what, automatic=bool(self._keeper.earlier_whites()))

    def _await_references(self, what: str, *, automatic: bool) -> None:
        """Take no scan until there are references.

        Args:
            what: why they are needed.
            automatic: try again and again, until the white panel is recognised.
        """
        self._prepared = None
        hint = f"run ccnvr reference --store {self._config.store.path}"
        if self._config.reference.when_expired == "flag":
            hint = f"send SIGHUP (systemctl reload ccnvr) or {hint}"
        self._course.warn_once(
            f"{what}; put the white panel under the probe" + ("" if automatic else f", then {hint}")
        )
        # Nothing else will come for a while, so that what is committed is acknowledged now.
        self._delivery.acknowledge(wait=True)
        while self._prepared is None:
            self._activity.change(Activity.AWAITING_REFERENCES)
            job = self._job_until(time.monotonic() + guides.ASK_AGAIN_S)
            if job is not None:
                self._do(job)
            elif automatic:
                try:
                    self._take_pair()
                except ReferenceRefused as refused:
                    self._course.warn_once(
                        f"{refused}; trying again until the white panel is there"
                    )

    def _go_on(self) -> None:
        """Do what is next: take new references, carry out a job, or take a sample."""
        self._activity.change(Activity.READY)
        if not self._references_hold():
            why = self._age.due(time.monotonic()) or "the line was disturbed"
            return self._await_references(f"new references are due: {why}", automatic=False)
        start = self._config.scan.start
        # With a timer, what is committed by now is acknowledged without waiting, and the rest after
        # later scans. Otherwise nobody knows when the next scan will come.
        self._delivery.acknowledge(wait=start != "timer")
        interval_s = {"timer": self._config.interval_s, "instrument": _POLL_S}
        since = self._taken_at if start == "timer" else time.monotonic()
        job = self._job_until(since + interval_s.get(start, guides.ASK_AGAIN_S))
        if job is not None:
            return self._do(job)
        # They may have expired during the wait.
        if start == "timer" and self._references_hold():
            self._taken_at = time.monotonic()
            return self._measure(SampleRequest())
        if start == "instrument" and self._presses() != self._pressed and self._references_hold():
            self._measure(SampleRequest())
            # Presses during the scan are an impatient operator's, not those of another sample.
            self._pressed = self._presses()
        return None

    def _references_hold(self) -> bool:
        """Return whether the references may serve the next scan; take new ones if so configured.

        Where they are only flagged, they may.
        """
        when = self._config.reference.when_expired
        if when == "flag" or not (self._doubts() or self._age.due(time.monotonic())):
            return True
        if when == "retake":
            self._take(guides.LogGuide(self._course))
            self._activity.change(Activity.READY)
        return when == "retake"

    def _do(self, job: Job) -> None:
        """Carry out a job.

        Raises:
            InstrumentError: the link is lost; the reader ends the job.
            Stopped: the reader is to stop, and ends the job.
        """
        self._course.job, request = job, job.request
        try:
            if isinstance(request, ReferenceRequest):
                self._guide(job, request)
            elif self._prepared is None or not self._references_hold():
                job.fail(
                    "references are due; put the white panel under the probe and run ccnvr "
                    f"reference --store {self._config.store.path}"
                )
            elif isinstance(request, SampleRequest):
                self._measure(request, job)
            else:
                self._check(guides.JobGuide(self._course, job), job)
        except JobCancelled as cancelled:
            if self._course.stopping.is_set():
                raise guides.Stopped from cancelled
            job.fail(str(cancelled))
        self._course.job = None

    def _guide(self, job: Job, request: ReferenceRequest) -> None:
        """Take references with prompts for whoever asked for them, and scan the check sample."""
        if self._keeper.info.quantity is not Quantity.COUNTS:
            return job.fail("this instrument measures reflectance itself and needs no references")
        guide = guides.JobGuide(self._course, job)
        try:
            self._use(self._taker.take(guide, announced=False, accept_white=request.accept_white))
        except LinkLost:
            raise
        except InstrumentError as error:
            # The pair cannot serve, and the former one, if there is one, still does.
            return job.fail(str(error))
        if self._config.check_sample.every == "white":
            job.tell("the references are taken and stored")
            return self._check(guide, job)
        hours = self._config.reference.max_age_s / 3600.0
        return job.finish(f"the references are taken and stored; they hold for {hours:.2g} h")

    def _take(self, guide: guides.Guide) -> None:
        self._use(self._taker.take(guide))
        if self._config.check_sample.every == "white":
            self._check(guide)

    def _take_pair(self) -> None:
        self._use(self._taker.take_pair())
        if self._config.check_sample.every == "white":
            self._check(guides.LogGuide(self._course))

    def _check(self, guide: guides.Guide, job: Job | None = None) -> None:
        """Scan the check sample; the main loop tells `job` what came of it."""
        info, name = self._keeper.info, self._config.check_sample.name
        guide.ready(f"check sample: put {name!r} under the probe")
        self._activity.change(Activity.CHECKING)
        self._course.declare()
        sample = SampleIdentity(name)
        # Should the daemon die now, the next one must not take this scan for a sample's.
        self._keeper.store.job.begin(info, sample, 0)
        doubts = (*self._doubts(), *self._light(job))
        scan = self._instrument.scan(ScanKind.SAMPLE)
        context = ScanContext(sample, self._course.position(), CHECK)
        work = self._delivery.work(self._prepared, scan, doubts, context)
        self._count_use(scan)
        self._delivery.hand_over(replace(work, job=job, ends_job=True))

    def _measure(self, request: SampleRequest, job: Job | None = None) -> None:
        """Scan a sample, as many times as it has replicates."""
        count = request.replicates or self._config.scan.replicates
        sample = request.sample
        if not sample.operator:
            sample = replace(sample, operator=self._config.scan.operator)
        # What the store can tell from a scan itself needs no note; a note is a commit more.
        noted = request.sample.known or count > 1
        if noted:
            self._keeper.store.job.begin(self._keeper.info, sample, count)
        mean_id = None
        for number in range(1, count + 1):
            self._delivery.acknowledge(wait=False)
            if self._course.stopping.is_set():
                raise guides.Stopped
            self._activity.change(Activity.MEASURING)
            self._course.declare()
            position, doubts = self._course.position(), (*self._doubts(), *self._light(job))
            scan = self._instrument.scan(ScanKind.SAMPLE)
            if count > 1:
                mean_id = mean_id or f"{self._keeper.info.scan_id(scan.number)}-mean"
            context, last = ScanContext(sample, position, None, mean_id), number == count
            work = self._delivery.work(self._prepared, scan, doubts, context)
            self._count_use(scan)
            self._delivery.hand_over(replace(work, job=job, last=last, ends_job=noted and last))
            if job is not None and not last:
                job.tell(f"replicate {number} of {count} is scanned")

    def _use(self, prepared: PreparedPipeline) -> None:
        self._prepared = prepared
        self._age = ReferenceAge(self._config.reference, prepared.fresh_until, prepared.scans)

    def _doubts(self) -> tuple[str, ...]:
        """Return flags for what makes the references doubtful before the next scan."""
        if self._prepared is None or self._prepared.reference_ids is None:
            return ()
        course, repeats = self._course, self._instrument.statistics.retries
        disturbed = course.link_was_lost or repeats > course.retries_before
        return (
            *(("reference_expired",) if self._age.expired(time.monotonic()) else ()),
            *(("restart_possible",) if disturbed and not self._keeper.info.counts_starts else ()),
        )

    def _light(self, job: Job | None) -> tuple[str, ...]:
        """Return the flag of light beside the lamp's on the sample, where it is looked for."""
        # A press of the button is a person's wish as well.
        asked = job is not None or self._config.scan.start != "timer"
        when = self._config.scan.check_light
        if when == "all" or (when == "asked" and asked):
            return self._taker.stray_light(self._prepared)
        return ()

    def _job_until(self, end: float) -> Job | None:
        """Wait for a job until `end`, in s of the monotonic clock; None if none comes.

        Raises:
            Stopped: the reader is to stop.
        """
        pause_s = max(0.0, end - time.monotonic())
        self._course.declare(pause_s)
        job = self._course.control.next_job(pause_s)
        if self._course.stopping.is_set():
            self._course.job = job
            raise guides.Stopped
        return job

    def _presses(self) -> int:
        if not isinstance(self._instrument, ButtonInstrument):
            raise InstrumentError(
                f"instrument {self._keeper.info.serial} has no button that ccnvr can read; set "
                'start = "command" or "timer" in [scan]'
            )
        return self._instrument.presses()

    def _count_use(self, scan: Scan) -> None:
        """Count a scan for the age of the references that it uses."""
        if self._prepared is not None:
            drift_c = self._prepared.pipeline.drift_c(scan)
            self._age = replace(self._age, scans=self._age.scans + 1, drift_c=drift_c)

    def _reference_status(self) -> dict[str, Any] | None:
        # Called from other threads; both attributes are replaced and never changed.
        prepared, age = self._prepared, self._age
        return age.status() if prepared is not None and prepared.reference_ids else None

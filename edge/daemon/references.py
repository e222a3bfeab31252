"""The references of a connected instrument: checked, stored, and found again after a restart."""

from __future__ import annotations

import logging
import time

from ccnvr.edge.inference.pipeline import Pipeline, References
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.quality.gate import MOST_STRAY_LIGHT
from ccnvr.edge.quality.reference_checks import ReferenceRefused, check_white
from ccnvr.edge.storage import host_clock
from ccnvr.edge.store.store import Store
from ccnvr.edge.workflow.activity import Activity
from ccnvr.edge.workflow.course import Course
from ccnvr.edge.workflow.guides import Guide
from ccnvr.edge.workflow.settings import ReferenceConfig
from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import (
    Instrument,
    InstrumentInfo,
    LampInstrument,
    Scan,
    ScanKind,
    Settings,
)

_LOG = logging.getLogger(__name__)

EARLIER_WHITES = 5
"""How many earlier white references a new one is compared with."""


_STEPS = {
    ScanKind.DARK: "dark reference: cover the probe or switch the lamp off, unless the instrument "
    "does that by itself",
    ScanKind.WHITE: "white reference: put the white panel under the probe, with the lamp on and "
    "warm",
}
"""What the operator is asked for before each scan of a guided pair."""


@frozen
class PreparedPipeline:
    """A pipeline ready for samples, with the references that it uses.

    Attributes:
        pipeline: the way from counts to prediction.
        reference_ids: the ids of dark and white in the store; None for an instrument that
            measures reflectance itself and needs no references.
        fresh_until: when the references expire, in s of the monotonic clock.
        scans: how many scans they had served when they were prepared.
    """

    pipeline: Pipeline
    reference_ids: tuple[int, int] | None
    fresh_until: float
    scans: int = 0


@frozen
class ReferenceKeeper:
    """A model bound to a connected instrument, and the store that keeps its references.

    Attributes:
        info: the instrument.
        settings: the scan settings in force.
        predictor: the model bound to the instrument's wavelengths.
        config: the references' lifetime and the panel's reflectance.
        store: the store.
    """

    info: InstrumentInfo
    settings: Settings
    predictor: Predictor
    config: ReferenceConfig
    store: Store

    def prepare(self, dark: Scan, white: Scan, *, accept_white: bool = False) -> PreparedPipeline:
        """Check a new pair of references and store it.

        With `accept_white`, the earlier whites are forgotten and this one is not compared.

        Raises:
            ReferenceRefused: the pair shows a mistake; taking it again may help.
            InstrumentError: the pair cannot serve.
        """
        # Checked before it is stored: a bad pair must not be found again at the next start.
        pipeline = self._pipeline(dark, white, self.config.white_panel_reflectance)
        if accept_white or self.config.accept_white:
            self.store.references.forget_earlier(self.info, ScanKind.WHITE)
        bands = self.predictor.bands
        earlier = self.earlier_whites()
        check_white(
            dark.counts[bands], white.counts[bands], [scan.counts[bands] for scan in earlier]
        )
        if not earlier:
            _LOG.info(
                "taking the first white reference of %s in this store on trust; see that the panel "
                "was clean and the lamp warm",
                self.info.serial,
            )
        ids = (
            self.store.references.add(self.info, dark).id,
            self.store.references.add(
                self.info, white, panel_reflectance=self.config.white_panel_reflectance
            ).id,
        )
        return PreparedPipeline(pipeline, ids, time.monotonic() + self.config.max_age_s)

    def earlier_whites(self) -> list[Scan]:
        """Return the instrument's last white references with these settings."""
        stored = self.store.references.earlier(
            self.info, ScanKind.WHITE, self.settings, EARLIER_WHITES
        )
        # A firmware of other bands has other whites.
        return [
            reference.scan
            for reference in stored
            if reference.scan.counts.size == self.info.wavelengths_nm.size
        ]

    def find(self, settings: Settings, *, of_any_age: bool = False) -> PreparedPipeline | None:
        """Return the pipeline with the newest stored dark and white reference, or None.

        Only references since the instrument was last switched on count. None means that one of
        the two is missing for these settings, that they do not suit the model, or that they have
        expired and `of_any_age` is false.
        """
        dark, white = (
            self.store.references.newest(self.info, kind, settings)
            for kind in (ScanKind.DARK, ScanKind.WHITE)
        )
        if dark is None or white is None:
            return None
        present = host_clock.now()
        ages = [host_clock.age_s(reference.moment, present) for reference in (dark, white)]
        # An unknown age does not count as fresh.
        oldest_s = max(float("inf") if age is None else age for age in ages)
        panel = white.panel_reflectance or self.config.white_panel_reflectance
        # Another panel than the one that was measured needs a new white.
        replaced = panel != self.config.white_panel_reflectance
        if not of_any_age and (replaced or oldest_s >= self.config.max_age_s):
            return None
        try:
            pipeline = self._pipeline(dark.scan, white.scan, panel)
        except InstrumentError:
            # The pair was stored for a model that reads other bands.
            return None
        # From here on the monotonic clock counts, which nobody sets.
        fresh_until = time.monotonic() + self.config.max_age_s - oldest_s
        scans = self.store.scans_with(white.id, self.config.max_scans)
        if not of_any_age and 0 < self.config.max_scans <= scans:
            return None
        return PreparedPipeline(pipeline, (dark.id, white.id), fresh_until, scans)

    def _pipeline(self, dark: Scan, white: Scan, panel_reflectance: float) -> Pipeline:
        references = References(dark, white, panel_reflectance, self.config.max_drift_c)
        return Pipeline(self.predictor, self.info, references)


class ReferenceTaker:
    """Takes pairs of references with a connected instrument."""

    def __init__(self, instrument: Instrument, keeper: ReferenceKeeper, course: Course) -> None:
        self._instrument = instrument
        self._keeper = keeper
        self._course = course

    def take(
        self, guide: Guide, *, announced: bool = True, accept_white: bool = False
    ) -> PreparedPipeline:
        """Take dark and white, and again if the numbers show a mistake that a person can mend.

        Args:
            guide: who is asked.
            announced: whether the operator knows that the panel must be under the probe now.
            accept_white: take a white unlike the earlier ones.

        Raises:
            InstrumentError: the pair cannot serve; none of it is stored.
            Stopped: the reader is to stop.
            JobCancelled: nobody answers.
        """
        asked = 0
        while True:
            try:
                return self.take_pair(None if announced else guide, accept_white)
            except ReferenceRefused as refused:
                asked += 1
                guide.again(refused, asked)

    def take_pair(self, guide: Guide | None = None, accept_white: bool = False) -> PreparedPipeline:
        """Take dark and white, check and store them, then acknowledge them.

        Raises:
            InstrumentError: the pair cannot serve; none of it is stored.
        """
        retries = self._instrument.statistics.retries
        scans = [self._scan(kind, guide) for kind in (ScanKind.DARK, ScanKind.WHITE)]
        prepared = self._keeper.prepare(*scans, accept_white=accept_white)
        course = self._course
        course.renew, course.link_was_lost, course.retries_before = False, False, retries
        for scan in scans:
            self._instrument.acknowledge(scan)
        return prepared

    def stray_light(self, prepared: PreparedPipeline | None) -> tuple[str, ...]:
        """Scan the sample with the lamp off, and return the flag of other light that is seen.

        Nothing is looked for where the instrument cannot do so, or without references.

        Raises:
            InstrumentError: the instrument fails.
        """
        instrument = self._instrument
        if prepared is None or not isinstance(instrument, LampInstrument):
            return ()
        lamp_off = instrument.scan_without_lamp()
        if lamp_off is None:
            return ()
        # Nothing of it is stored, so the instrument need not keep it.
        instrument.acknowledge(lamp_off)
        found = prepared.pipeline.light_beside_lamp(lamp_off)
        return ("stray_light",) if found > MOST_STRAY_LIGHT else ()

    def _scan(self, kind: ScanKind, guide: Guide | None) -> Scan:
        if guide is not None:
            guide.ready(_STEPS[kind])
        self._course.control.activity.change(Activity.TAKING_REFERENCES)
        hint = "" if kind is ScanKind.DARK else "; the white panel must be under the probe"
        _LOG.info("taking the %s reference%s", kind.name.lower(), hint)
        self._course.declare()
        return self._instrument.scan(kind)

"""The references of a connected instrument: checked, stored, and found again after a restart."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from ccnvr.edge.daemon.config import ReferenceConfig
from ccnvr.edge.daemon.store import Store
from ccnvr.edge.inference.pipeline import Pipeline, References
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.quality.reference_checks import check_white
from ccnvr.edge.storage import host_clock
from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings

_LOG = logging.getLogger(__name__)

EARLIER_WHITES = 5
"""How many earlier white references a new one is compared with."""


@dataclass(frozen=True)
class PreparedPipeline:
    """A pipeline ready for samples, with the references that it uses.

    Attributes:
        pipeline: the way from counts to prediction.
        reference_ids: the ids of dark and white in the store; None for an instrument that
            measures reflectance itself and needs no references.
        fresh_until: when the references expire, in s of the monotonic clock.
    """

    pipeline: Pipeline
    reference_ids: tuple[int, int] | None
    fresh_until: float


@dataclass(frozen=True)
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

    def prepare(self, dark: Scan, white: Scan) -> PreparedPipeline:
        """Check a new pair of references and store it.

        Raises:
            ReferenceRefused: the pair shows a mistake; taking it again may help.
            InstrumentError: the pair cannot serve.
        """
        # Checked before it is stored: a bad pair must not be found again at the next start.
        pipeline = self._pipeline(dark, white, self.config.white_panel_reflectance)
        if self.config.accept_white:
            self.store.forget_earlier(self.info, ScanKind.WHITE)
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
            self.store.add_reference(self.info, dark).id,
            self.store.add_reference(
                self.info, white, panel_reflectance=self.config.white_panel_reflectance
            ).id,
        )
        return PreparedPipeline(pipeline, ids, time.monotonic() + self.config.max_age_s)

    def earlier_whites(self) -> list[Scan]:
        """Return the instrument's last white references with these settings."""
        stored = self.store.earlier_references(
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
            self.store.newest_reference(self.info, kind, settings)
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
        return PreparedPipeline(pipeline, (dark.id, white.id), fresh_until)

    def _pipeline(self, dark: Scan, white: Scan, panel_reflectance: float) -> Pipeline:
        references = References(dark, white, panel_reflectance, self.config.max_drift_c)
        return Pipeline(self.predictor, self.info, references)

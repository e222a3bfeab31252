"""The thread that owns the instrument: references, scans in order, acknowledgement once stored,
reconnection.

Scans pass to the main loop through a short queue. While it is full the instrument is not asked for
the next scan, so nothing is dropped. A scan is acknowledged to the instrument only after the main
loop has stored it; after a crash or a lost link, what is unacknowledged is read again, and skipped
if the store already has it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from ccnvr.edge.daemon.config import Config, ReferenceConfig
from ccnvr.edge.daemon.store import Store
from ccnvr.edge.inference.pipeline import Pipeline, References
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.connect.registry import open_instrument
from ccnvr.firmware_bridge.errors import CcnvrError, InstrumentError
from ccnvr.firmware_bridge.instrument import (
    Instrument,
    InstrumentInfo,
    LinkStatistics,
    Quantity,
    Scan,
    ScanKind,
    Settings,
)

QUEUE_LENGTH = 2
RECONNECT_S = 1.0


@dataclass(frozen=True)
class Prepared:
    """A pipeline with references, their ids in the store, and until when (monotonic, s) they are
    fresh.

    An instrument that measures reflectance itself needs none.
    """

    pipeline: Pipeline
    reference_ids: tuple[int, int] | None
    fresh_until: float


@dataclass(frozen=True)
class Work:
    """A sample's scan with all that is needed to predict and store it.

    `prepared` is None where no references belong to the scan; `received` is a monotonic time in s;
    `flags` go into the record.
    """

    info: InstrumentInfo
    prepared: Prepared | None
    scan: Scan
    received: float
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """The reader's last word: why it ended, or None for done."""

    error: BaseException | None


class Reader(threading.Thread):
    """Takes `count` samples (None: until stopped) and puts them into `work`, then one `Ended`.

    With `renew` it begins with new references, whatever is stored.
    """

    def __init__(
        self,
        config: Config,
        model: ProvedModel,
        count: int | None,
        notice: Callable[[str], None],
        renew: bool = False,
    ) -> None:
        super().__init__(name="reader", daemon=True)
        self.work: queue.Queue[Work | Ended] = queue.Queue(QUEUE_LENGTH)
        self.statistics = LinkStatistics()
        self._config = config
        self._model = model
        self._remaining = count
        self._renew = renew
        # Whoever starts the daemon can bring the white panel; later, nobody may be there.
        self._attended = True
        self._notice = notice
        self._stored: queue.SimpleQueue[Scan] = queue.SimpleQueue()
        self._in_flight = 0
        self._proved = False
        self._last_notice = ""
        self._stop_taking = threading.Event()
        self._abandoned = threading.Event()

    def stored(self, scan: Scan) -> None:
        """The main loop has committed this scan."""
        self._stored.put(scan)

    def stop(self) -> None:
        """Take no further scan; what was taken is still handed over and acknowledged. Safe in a
        signal handler.
        """
        self._stop_taking.set()

    def abandon(self) -> None:
        """End without waiting for the main loop, which has failed; unstored scans stay with the
        instrument.
        """
        self._abandoned.set()
        self._stop_taking.set()
        self.join()

    def run(self) -> None:
        """The thread's body."""
        error: BaseException | None = None
        try:
            store = Store(self._config.store_path)
            try:
                self._keep_connected(store)
            finally:
                store.close()
        except BaseException as raised:  # handed to the main loop, which raises it there
            error = raised
        self._put(Ended(error))

    def _keep_connected(self, store: Store) -> None:
        while True:
            try:
                instrument = open_instrument(self._config.instrument.url)
                try:
                    self._serve(instrument, store)
                    return
                finally:
                    instrument.close()
                    self.statistics.add(instrument.statistics)
            except InstrumentError as error:
                # Until a first scan came through, a fault is most likely a wrong setting, which no
                # patience mends.
                if not self._proved:
                    raise
                self._say_once(f"{error}; trying again")
                if self._stop_taking.wait(RECONNECT_S):
                    return

    def _serve(self, instrument: Instrument, store: Store) -> None:
        info = instrument.identify()
        predictor = self._model.bind(info.wavelengths_nm)
        settings = instrument.configure(self._config.instrument.settings)
        bound = _Bound(info, settings, predictor, self._config.reference, store)
        self._recover(instrument, bound)
        if self._done():
            return
        prepared = self._references(instrument, bound)
        taken_at = -float("inf")
        while not self._done():
            stale = time.monotonic() > prepared.fresh_until
            if stale and self._config.reference.when_expired == "retake":
                prepared = self._take_references(instrument, bound)
                continue
            self._acknowledge(instrument, wait=False)
            if self._stop_taking.wait(
                max(0.0, taken_at + self._config.run.interval_s - time.monotonic())
            ):
                break
            taken_at = time.monotonic()
            scan = instrument.scan(ScanKind.SAMPLE)
            self._hand_over(info, prepared, scan, ("reference_expired",) if stale else ())
        self._acknowledge(instrument, wait=True)

    def _done(self) -> bool:
        return self._remaining == 0 or self._stop_taking.is_set()

    def _recover(self, instrument: Instrument, bound: _Bound) -> None:
        """Hand over the scans that an earlier run, or this one before the link was lost, has not
        acknowledged.
        """
        self._await_stored()
        prepared: dict[Settings, Prepared | None] = {}
        for scan in instrument.unacknowledged():
            if self._done():
                return
            # A reference that no host has stored has no samples yet, and its age is unknown: a new
            # one will be taken.
            if scan.kind is not ScanKind.SAMPLE or bound.store.holds(bound.info, scan):
                instrument.acknowledge(scan)
                continue
            if scan.settings not in prepared:
                self._notice("reading scans that waited in the instrument")
                # Whatever their age, the stored references are the nearest in time to these scans.
                prepared[scan.settings] = bound.stored(scan.settings, of_any_age=True)
            self._hand_over(bound.info, prepared[scan.settings], scan, ("read_later",))
            self._acknowledge(instrument, wait=True)

    def _references(self, instrument: Instrument, bound: _Bound) -> Prepared:
        """The stored pair if it is fresh, else a new one, unless nobody may be there to bring the
        white panel.
        """
        if bound.info.quantity is not Quantity.COUNTS:
            return Prepared(Pipeline(bound.predictor, bound.info), None, float("inf"))
        # A daemon at work keeps the pair of this start of the instrument however old: it will be
        # flagged.
        prepared = bound.stored(bound.settings, of_any_age=not self._attended)
        if prepared is None or self._renew:
            if not self._attended and self._config.reference.when_expired == "flag":
                raise CcnvrError(
                    "the instrument was started again, so its references no longer hold; put the "
                    "white panel under the probe "
                    "and start ccnvr run again"
                )
            prepared = self._take_references(instrument, bound)
        self._attended = False
        return prepared

    def _take_references(self, instrument: Instrument, bound: _Bound) -> Prepared:
        """Dark and white, stored only once they have proved usable: a bad pair must not be found
        again.
        """
        scans = []
        for kind in (ScanKind.DARK, ScanKind.WHITE):
            where = "" if kind is ScanKind.DARK else ": the white panel belongs under the probe"
            self._notice(f"taking the {kind.name.lower()} reference{where}")
            scans.append(instrument.scan(kind))
        prepared = bound.prepare(*scans)
        self._renew = False
        for scan in scans:
            instrument.acknowledge(scan)
        return prepared

    def _hand_over(
        self, info: InstrumentInfo, prepared: Prepared | None, scan: Scan, flags: tuple[str, ...]
    ) -> None:
        if self._last_notice:
            self._notice("the instrument answers again")
        self._proved, self._last_notice = True, ""
        self._in_flight += 1
        if self._remaining is not None:
            self._remaining -= 1
        self._put(Work(info, prepared, scan, time.monotonic(), flags))

    def _say_once(self, message: str) -> None:
        """Tell the person, unless it is what they were told last: an instrument may be away for
        days.
        """
        if message != self._last_notice:
            self._notice(message)
        self._last_notice = message

    def _put(self, item: Work | Ended) -> None:
        while not self._abandoned.is_set():
            try:
                self.work.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def _acknowledge(self, instrument: Instrument, *, wait: bool) -> None:
        """Acknowledge what the main loop has stored; with `wait`, everything that was
        handed over.
        """
        for scan in self._newly_stored(wait=wait):
            instrument.acknowledge(scan)

    def _await_stored(self) -> None:
        """Wait until nothing is in flight; the scans' acknowledgements were lost with the
        old link.
        """
        for _ in self._newly_stored(wait=True):
            pass

    def _newly_stored(self, *, wait: bool) -> Iterator[Scan]:
        """The scans that the main loop has stored since the last time; with `wait`, until none is
        in flight.
        """
        while self._in_flight and not self._abandoned.is_set():
            try:
                scan = self._stored.get(block=wait, timeout=0.2)
            except queue.Empty:
                if wait:
                    continue
                return
            self._in_flight -= 1
            yield scan


@dataclass(frozen=True)
class _Bound:
    """A model bound to a connected instrument with the settings in force, and where its references
    are kept.
    """

    info: InstrumentInfo
    settings: Settings
    predictor: Predictor
    config: ReferenceConfig
    store: Store

    def prepare(self, dark: Scan, white: Scan) -> Prepared:
        """Check a pair of references and store it.

        Raises:
            InstrumentError: the pair cannot serve.
        """
        pipeline = self._pipeline(dark, white)
        ids = (
            self.store.add_reference(self.info, dark).id,
            self.store.add_reference(self.info, white).id,
        )
        return Prepared(pipeline, ids, time.monotonic() + self.config.max_age_s)

    def stored(self, settings: Settings, *, of_any_age: bool = False) -> Prepared | None:
        """The newest stored pair of this start of the instrument, if it can serve and is fresh (or
        `of_any_age`).
        """
        dark, white = (
            self.store.newest_reference(self.info, kind, settings)
            for kind in (ScanKind.DARK, ScanKind.WHITE)
        )
        if dark is None or white is None:
            return None
        now = datetime.now(UTC)
        ages = [(now - reference.time).total_seconds() for reference in (dark, white)]
        # A reference from the future means that the clock was set back: its age is unknown, so it
        # is not fresh.
        if not of_any_age and not all(0.0 <= age < self.config.max_age_s for age in ages):
            return None
        try:
            pipeline = self._pipeline(dark.scan, white.scan)
        except InstrumentError:
            # Stored for a model that looks at other bands.
            return None
        return Prepared(
            pipeline, (dark.id, white.id), time.monotonic() + self.config.max_age_s - max(ages)
        )

    def _pipeline(self, dark: Scan, white: Scan) -> Pipeline:
        return Pipeline(
            self.predictor, self.info, References(dark, white, self.config.white_panel_reflectance)
        )

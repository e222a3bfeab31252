"""The thread that owns the instrument: references, scans in order, acknowledgement once stored, reconnection.

Scans pass to the main loop through a short queue. While it is full the instrument is not asked for the next scan, so
nothing is dropped. A scan is acknowledged to the instrument only after the main loop has stored it; after a crash or a
lost link, what is unacknowledged is read again, and skipped if the store already has it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from ccnvr.edge.config import Config
from ccnvr.edge.pipeline import Pipeline, References
from ccnvr.edge.predictor import Model, Predictor
from ccnvr.edge.store import Store, StoredReference
from ccnvr.firmware_bridge.driver import open_instrument
from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.instrument import Instrument, InstrumentInfo, LinkStatistics, Scan, ScanKind

QUEUE_LENGTH = 2
RECONNECT_S = 1.0


@dataclass(frozen=True)
class Work:
    """A sample's scan with all that is needed to predict and store it; `received` is a monotonic time in seconds."""

    info: InstrumentInfo
    pipeline: Pipeline
    reference_ids: tuple[int, int]
    scan: Scan
    received: float


@dataclass(frozen=True)
class Ended:
    """The reader's last word: why it ended, or None for done."""

    error: BaseException | None


class Reader(threading.Thread):
    """Takes `count` samples (None: until stopped) and puts them into `work`, then one `Ended`."""

    def __init__(self, config: Config, model: Model, count: int | None, notice: Callable[[str], None]) -> None:
        super().__init__(name="reader", daemon=True)
        self.work: queue.Queue[Work | Ended] = queue.Queue(QUEUE_LENGTH)
        self.statistics = LinkStatistics()
        self._config = config
        self._model = model
        self._remaining = count
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
        """Take no further scan; what was taken is still handed over and acknowledged. Safe in a signal handler."""
        self._stop_taking.set()

    def abandon(self) -> None:
        """End without waiting for the main loop, which has failed; unstored scans stay with the instrument."""
        self._abandoned.set()
        self._stop_taking.set()
        self.join()

    def run(self) -> None:
        """The thread's body."""
        error: BaseException | None = None
        try:
            store = Store(self._config.store_path, writer=False)
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
                # Until a first scan came through, a fault is most likely a wrong setting, which no patience mends.
                if not self._proved:
                    raise
                self._say_once(f"{error}; trying again")
                if self._stop_taking.wait(RECONNECT_S):
                    return

    def _serve(self, instrument: Instrument, store: Store) -> None:
        info = instrument.identify()
        predictor = self._model.bind(info.wavelengths_nm)
        instrument.configure(self._config.instrument.settings)
        self._recover(instrument, store, info, predictor)
        taken_at = -float("inf")
        references: list[StoredReference] = []
        while not self._stop_taking.is_set() and self._remaining != 0:
            if not self._fresh(references):
                references = self._references(instrument, store, info)
                pipeline = self._pipeline(predictor, info, references)
            self._acknowledge(instrument, wait=False)
            if self._stop_taking.wait(max(0.0, taken_at + self._config.run.interval_s - time.monotonic())):
                break
            taken_at = time.monotonic()
            self._hand_over(info, pipeline, references, instrument.scan(ScanKind.SAMPLE))
        self._acknowledge(instrument, wait=True)

    def _recover(self, instrument: Instrument, store: Store, info: InstrumentInfo, predictor: Predictor) -> None:
        """Hand over the scans that an earlier run, or this one before the link was lost, has not acknowledged."""
        self._await_stored()
        waiting = []
        for scan in instrument.unacknowledged():
            if scan.kind is not ScanKind.SAMPLE:
                store.add_reference(info, scan)
                instrument.acknowledge(scan)
            elif store.has(info.scan_id(scan.number)):
                instrument.acknowledge(scan)
            else:
                waiting.append(scan)
        if not waiting:
            return
        # Whatever their age, the stored references are the nearest in time to these scans.
        references = self._stored_references(store, info) or self._references(instrument, store, info)
        pipeline = self._pipeline(predictor, info, references)
        self._notice(f"{len(waiting)} scans waited in the instrument and are read now")
        for scan in waiting[: self._remaining]:
            self._hand_over(info, pipeline, references, scan)
        self._acknowledge(instrument, wait=True)

    def _hand_over(self, info: InstrumentInfo, pipeline: Pipeline, references: list[StoredReference], scan: Scan) -> None:
        dark, white = references
        if self._last_notice:
            self._notice("the instrument answers again")
        self._proved, self._last_notice = True, ""
        self._in_flight += 1
        if self._remaining is not None:
            self._remaining = max(0, self._remaining - 1)
        self._put(Work(info, pipeline, (dark.id, white.id), scan, time.monotonic()))

    def _say_once(self, message: str) -> None:
        """Tell the person, unless it is what they were told last: an instrument may be away for days."""
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
        """Acknowledge what the main loop has stored; with `wait`, everything that was handed over."""
        while self._in_flight and not self._abandoned.is_set():
            try:
                scan = self._stored.get(block=wait, timeout=0.2)
            except queue.Empty:
                if wait:
                    continue
                return
            self._in_flight -= 1
            instrument.acknowledge(scan)

    def _await_stored(self) -> None:
        """Wait until nothing is in flight; the scans' acknowledgements were lost with the old link."""
        while self._in_flight and not self._abandoned.is_set():
            try:
                self._stored.get(timeout=0.2)
                self._in_flight -= 1
            except queue.Empty:
                continue

    def _references(self, instrument: Instrument, store: Store, info: InstrumentInfo) -> list[StoredReference]:
        """Dark and white references: the stored ones if fresh, else new ones."""
        references = self._stored_references(store, info)
        if self._fresh(references):
            return references
        references = []
        for kind in (ScanKind.DARK, ScanKind.WHITE):
            self._notice(f"taking the {kind.name.lower()} reference")
            scan = instrument.scan(kind)
            references.append(store.add_reference(info, scan))
            instrument.acknowledge(scan)
        return references

    def _stored_references(self, store: Store, info: InstrumentInfo) -> list[StoredReference]:
        settings = self._config.instrument.settings
        found = [store.newest_reference(info, kind, settings) for kind in (ScanKind.DARK, ScanKind.WHITE)]
        return [reference for reference in found if reference] if all(found) else []

    def _fresh(self, references: list[StoredReference]) -> bool:
        now, limit = datetime.now(UTC), self._config.reference.max_age_s
        # A reference from the future means that the clock was set back: its age is unknown, so it is not fresh.
        return bool(references) and all(0.0 <= (now - kept.time).total_seconds() <= limit for kept in references)

    def _pipeline(self, predictor: Predictor, info: InstrumentInfo, references: list[StoredReference]) -> Pipeline:
        dark, white = references
        panel = self._config.reference.white_panel_reflectance
        return Pipeline(predictor, info, References(dark.scan, white.scan, panel))

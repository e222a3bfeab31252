"""The thread that owns the instrument: references, scans in order, acknowledgement, reconnection.

While the handover to the main loop is full, the instrument is not asked for the next scan, so no
scan is dropped. A scan is acknowledged to the instrument only after the main loop has committed
it. After a crash or a lost link, unacknowledged scans are read again, and those that the store
already holds are skipped.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace

from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.handover import Handover, Work
from ccnvr.edge.daemon.references import PreparedPipeline, ReferenceKeeper
from ccnvr.edge.daemon.store import Store
from ccnvr.edge.inference.models import Model
from ccnvr.edge.inference.pipeline import Pipeline
from ccnvr.edge.quality.reference_checks import ReferenceRefused
from ccnvr.edge.service.progress import Progress
from ccnvr.edge.storage.health import STEP_S, Patience
from ccnvr.firmware_bridge.connect.registry import open_instrument
from ccnvr.firmware_bridge.errors import InstrumentError, InstrumentRestarted
from ccnvr.firmware_bridge.instrument import (
    Instrument,
    LinkStatistics,
    Quantity,
    Scan,
    ScanKind,
    Settings,
)

RECONNECT_S = 1.0
"""The pause before the port is opened again, in s."""

ASKS = 3
"""How often an operator is asked for references before the daemon gives up."""

ASK_AGAIN_S = 10.0
"""The time that an operator has to bring the white panel after a reference was refused, in s."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beginning:
    """How a reader begins.

    Attributes:
        attended: a person is there, who has the white panel in place.
        patient: whatever the instrument does may pass, also before its first scan.
        renew: take new references first, even if fresh ones are stored.
    """

    attended: bool = True
    patient: bool = False
    renew: bool = False


AT_A_TERMINAL = Beginning()


class Reader(threading.Thread):
    """A thread that takes samples and hands them over.

    Args:
        config: the daemon's configuration.
        model: the model that the references must suit; of a family, the best for the instrument.
        count: the number of samples to take; None means until `stop`.
        beginning: how the reader begins.
        patience: how to wait for trouble of the store to pass; None raises it at once.
    """

    def __init__(
        self,
        config: Config,
        model: Model,
        count: int | None,
        beginning: Beginning = AT_A_TERMINAL,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(name="reader", daemon=True)
        self.handover = Handover()
        self.statistics = LinkStatistics()
        self._config = config
        self._model = model
        self._remaining = count
        self._renew = beginning.renew
        self._patience = patience
        # The person who starts the daemon can bring the white panel; later, nobody may be there.
        self._attended = beginning.attended
        self._proved = self._patient = beginning.patient
        self._serial = ""
        # Whether an instrument that counts no starts may have restarted since its references were
        # taken: the link was lost, or a command had to be repeated.
        self._link_was_lost = False
        self._retries_before = 0
        self._last_warning = ""
        self._stopping = threading.Event()
        self._progress = patience.progress if patience else Progress()

    def stop(self) -> None:
        """Take no further scan, but hand over and acknowledge those already taken.

        Only an event is set, so this is safe in a signal handler.
        """
        self._stopping.set()

    def abandon(self, timeout_s: float | None = None) -> None:
        """End without waiting for the main loop, and wait for the thread.

        Scans that are not committed stay in the instrument.

        Args:
            timeout_s: how long to wait for a thread that waits for the instrument; None for as long
                as that takes.
        """
        self.handover.abandon()
        self._stopping.set()
        self.join(timeout_s)

    def run(self) -> None:
        """Run the thread: serve the instrument until done, then hand over the end."""
        error: BaseException | None = None
        try:
            # A SQLite connection belongs to one thread, so the reader opens its own.
            store = Store(self._config.store_path, patience=self._patience)
            try:
                self._keep_connected(store)
            finally:
                store.close()
        except BaseException as raised:  # the main loop raises it again in its own thread
            error = raised
        self._progress.waiting()
        self.handover.end(error)

    def _keep_connected(self, store: Store) -> None:
        while True:
            self._declare()
            try:
                instrument = open_instrument(self._config.instrument.url)
                try:
                    self._serve(instrument, store)
                    return
                finally:
                    instrument.close()
                    self.statistics.add(instrument.statistics)
            except InstrumentError as error:
                # Before the first scan, a fault is most likely a wrong setting, which waiting does
                # not mend; but a restart is the instrument's doing.
                if not self._proved and not isinstance(error, InstrumentRestarted):
                    raise
                self._link_was_lost = True
                self._warn_once(f"{error}; trying again")
                if self._stopping.wait(RECONNECT_S):
                    return

    def _serve(self, instrument: Instrument, store: Store) -> None:
        """Take samples from a connected instrument until done.

        Raises:
            InstrumentError: the link is lost, or the instrument fails.
        """
        info = instrument.identify()
        if self._serial and info.serial != self._serial:
            _LOG.warning("instrument %s answers where %s did", info.serial, self._serial)
        predictor = self._model.bind(info.wavelengths_nm)
        settings = instrument.configure(self._config.instrument.settings)
        keeper = ReferenceKeeper(info, settings, predictor, self._config.reference, store)
        self._recover(instrument, keeper)
        if self._done():
            return
        prepared = self._references(instrument, keeper)
        taken_at = -float("inf")
        retake = self._config.reference.when_expired == "retake"
        while prepared is not None and not self._done():
            doubts = self._doubts(instrument, keeper, prepared)
            if doubts and retake:
                prepared = self._take_references(instrument, keeper)
                continue
            # What is committed by now is acknowledged without waiting; the rest after later scans.
            self._acknowledge(instrument, wait=False)
            self._declare(self._config.run.interval_s)
            if self._stopping.wait(
                max(0.0, taken_at + self._config.run.interval_s - time.monotonic())
            ):
                break
            taken_at = time.monotonic()
            scan = instrument.scan(ScanKind.SAMPLE)
            self._hand_over(keeper, prepared, scan, doubts)
            if retake and prepared.pipeline.drifted(scan):
                prepared = replace(prepared, fresh_until=-float("inf"))
        self._acknowledge(instrument, wait=True)

    def _doubts(
        self, instrument: Instrument, keeper: ReferenceKeeper, prepared: PreparedPipeline
    ) -> tuple[str, ...]:
        """Return flags for what makes the references doubtful before the next scan."""
        if prepared.reference_ids is None:
            return ()
        expired = time.monotonic() > prepared.fresh_until
        disturbed = self._link_was_lost or instrument.statistics.retries > self._retries_before
        return (
            *(("reference_expired",) if expired else ()),
            *(("restart_possible",) if disturbed and not keeper.info.counts_starts else ()),
        )

    def _done(self) -> bool:
        return self._remaining == 0 or self._stopping.is_set()

    def _recover(self, instrument: Instrument, keeper: ReferenceKeeper) -> None:
        """Hand over the scans that the instrument still keeps.

        They were taken by an earlier run, by this one before the link was lost, or by someone who
        pressed the instrument's button.
        """
        # Before the store is asked what it holds: scans in flight are about to be committed.
        self._await_confirmations()
        prepared: dict[Settings, PreparedPipeline | None] = {}
        for scan in instrument.unacknowledged():
            if self._done():
                return
            # A reference that no host has stored has no samples yet, and its age is unknown; a new
            # one will be taken.
            if scan.kind is not ScanKind.SAMPLE or keeper.store.holds(keeper.info, scan):
                instrument.acknowledge(scan)
                continue
            if scan.settings not in prepared:
                _LOG.info("reading scans that waited in the instrument")
                # Whatever their age, the stored references are the nearest in time to these scans.
                prepared[scan.settings] = keeper.find(scan.settings, of_any_age=True)
            self._hand_over(keeper, prepared[scan.settings], scan, ("read_later",))
            self._acknowledge(instrument, wait=True)

    def _references(
        self, instrument: Instrument, keeper: ReferenceKeeper
    ) -> PreparedPipeline | None:
        """Return the stored pair of references if it may be used, or else take a new one.

        Return None if the reader is stopped while it waits for the white panel.

        Raises:
            InstrumentError: the pair cannot serve.
        """
        if keeper.info.quantity is not Quantity.COUNTS:
            return PreparedPipeline(Pipeline(keeper.predictor, keeper.info), None, float("inf"))
        # After a reconnection the pair of this power-on is kept however old it is: its scans are
        # flagged.
        prepared = keeper.find(keeper.settings, of_any_age=not self._attended)
        if prepared is None or self._renew:
            if self._attended or self._config.reference.when_expired == "retake":
                prepared = self._take_references(instrument, keeper)
            else:
                prepared = self._await_panel(instrument, keeper)
            if prepared is None:
                return None
        self._attended, self._serial = False, keeper.info.serial
        return prepared

    def _await_panel(
        self, instrument: Instrument, keeper: ReferenceKeeper
    ) -> PreparedPipeline | None:
        """Ask for the white panel until it is there; return None if the reader is stopped.

        The instrument lost its power, or another one was plugged in, while nobody may have been
        there. The panel is recognised by the instrument's earlier whites; without any, only a
        person can tell that it is in place.
        """
        serial = keeper.info.serial
        if not self._serial:
            what = f"instrument {serial} has no references since it was switched on"
        elif serial == self._serial:
            what = "the instrument was started again, so its references no longer hold"
        else:
            what = f"instrument {serial} answers where {self._serial} did, and has no references"
        known = bool(keeper.earlier_whites())
        self._warn_once(
            f"{what}; put the white panel under the probe"
            + ("" if known else ", then send SIGHUP (systemctl reload ccnvr)")
        )
        while not self._stopping.wait(ASK_AGAIN_S):
            self._declare(ASK_AGAIN_S)
            if not known:
                continue
            try:
                return self._take_pair(instrument, keeper)
            except ReferenceRefused as refused:
                self._warn_once(f"{refused}; trying again until the white panel is there")
        return None

    def _take_references(
        self, instrument: Instrument, keeper: ReferenceKeeper
    ) -> PreparedPipeline | None:
        """Take dark and white, and again if the numbers show a mistake that a person can mend.

        Return None if the reader is stopped meanwhile.

        Raises:
            InstrumentError: the pair cannot serve; none of it is stored.
        """
        asked = 0
        while True:
            try:
                return self._take_pair(instrument, keeper)
            except ReferenceRefused as refused:
                asked += 1
                # After SIGHUP the daemon goes on asking: a signal must not end it.
                if not self._attended or (asked == ASKS and not self._patient):
                    raise
                _LOG.warning("%s; taking both again in %.0f s", refused, ASK_AGAIN_S)
                if self._stopping.wait(ASK_AGAIN_S):
                    return None

    def _take_pair(self, instrument: Instrument, keeper: ReferenceKeeper) -> PreparedPipeline:
        """Take dark and white, check and store them, then acknowledge them.

        Raises:
            InstrumentError: the pair cannot serve; none of it is stored.
        """
        retries = instrument.statistics.retries
        scans = []
        for kind in (ScanKind.DARK, ScanKind.WHITE):
            hint = "" if kind is ScanKind.DARK else "; the white panel must be under the probe"
            _LOG.info("taking the %s reference%s", kind.name.lower(), hint)
            self._declare()
            scans.append(instrument.scan(kind))
        prepared = keeper.prepare(*scans)
        self._renew, self._link_was_lost, self._retries_before = False, False, retries
        for scan in scans:
            instrument.acknowledge(scan)
        return prepared

    def _hand_over(
        self,
        keeper: ReferenceKeeper,
        prepared: PreparedPipeline | None,
        scan: Scan,
        flags: tuple[str, ...],
    ) -> None:
        if self._last_warning:
            _LOG.info("the instrument answers again")
        self._proved, self._last_warning = True, ""
        self._progress.status = "measuring"
        if self._remaining is not None:
            self._remaining -= 1
        self._progress.waiting()
        self.handover.put(Work(keeper.info, prepared, scan, time.monotonic(), flags))

    def _warn_once(self, message: str) -> None:
        """Log a warning unless it repeats the last one; an instrument may be away for days."""
        if message != self._last_warning:
            _LOG.warning("%s", message)
        self._last_warning = self._progress.status = message

    def _declare(self, pause_s: float = 0.0) -> None:
        """Declare by when this thread will have moved on, so that a stuck one is noticed."""
        settings = self._config.instrument
        # Three times, because some drivers read a scan twice and repeat what was damaged.
        scan_s = 3e-6 * settings.integration_us * settings.averages
        self._progress.doing(pause_s + scan_s + STEP_S)

    def _acknowledge(self, instrument: Instrument, *, wait: bool) -> None:
        """Acknowledge the committed scans; with `wait`, every scan that was handed over."""
        if wait:
            self._progress.waiting()
        for scan in self.handover.newly_confirmed(wait=wait):
            instrument.acknowledge(scan)

    def _await_confirmations(self) -> None:
        """Wait until every scan that was handed over is committed, without acknowledging it.

        The link on which these scans came is lost; the instrument offers them again.
        """
        for _ in self.handover.newly_confirmed(wait=True):
            pass

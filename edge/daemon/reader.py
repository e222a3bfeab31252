"""The thread that owns the instrument: it connects, and connects again when the link is lost.

After a crash or a lost link, unacknowledged scans are read again, and those that the store already
holds are skipped; `measuring` does that and the rest.
"""

from __future__ import annotations

import logging
import threading

from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.handover import Handover, ScanDelivery
from ccnvr.edge.daemon.measuring import Measuring
from ccnvr.edge.daemon.references import ReferenceKeeper
from ccnvr.edge.inference.models import Model
from ccnvr.edge.position.keeper import PositionKeeper
from ccnvr.edge.storage.health import Patience
from ccnvr.edge.store.store import Store
from ccnvr.edge.workflow.activity import Activity
from ccnvr.edge.workflow.control_socket import ControlServer
from ccnvr.edge.workflow.course import Course
from ccnvr.firmware_bridge.connect.registry import open_instrument
from ccnvr.firmware_bridge.errors import InstrumentError, InstrumentRestarted
from ccnvr.firmware_bridge.instrument import Instrument, LinkStatistics

RECONNECT_S = 1.0
"""The pause before the port is opened again, in s."""

_LOG = logging.getLogger(__name__)


class Reader(threading.Thread):
    """A thread that takes samples and hands them over.

    Args:
        config: the daemon's configuration.
        model: the model that the references must suit; of a family, the best for the instrument.
        course: what to do, and what is remembered from one connection to the next.
        patience: how to wait for trouble of the store to pass; None raises it at once.
    """

    def __init__(
        self, config: Config, model: Model, course: Course, patience: Patience | None = None
    ) -> None:
        super().__init__(name="reader", daemon=True)
        self.handover = Handover()
        self.statistics = LinkStatistics()
        self._config = config
        self._model = model
        self._course = course
        self._patience = patience
        settings = config.instrument
        # Three times, because some drivers read a scan twice and repeat what was damaged.
        course.longest_scan_s = 3e-6 * settings.integration_us * settings.averages

    def stop(self) -> None:
        """Take no further scan, but hand over and acknowledge those already taken.

        This is safe in a signal handler.
        """
        self._course.stopping.set()
        self._course.control.wake()

    def abandon(self, timeout_s: float | None = None) -> None:
        """End without waiting for the main loop, and wait for the thread.

        Scans that are not committed stay in the instrument.

        Args:
            timeout_s: how long to wait for a thread that waits for the instrument; None for as long
                as that takes.
        """
        self.handover.abandon()
        self.stop()
        self.join(timeout_s)

    def run(self) -> None:
        """Run the thread: serve the instrument until done, then hand over the end."""
        error: BaseException | None = None
        position = PositionKeeper(self._config.position)
        server = ControlServer(self._course.control, self._config.store_path)
        try:
            if self._config.position.source != "none":
                position.start()
                self._course.position = position.position
                self._course.control.show("position", position.status)
            if self._config.scan.control:
                server.start()
            # A SQLite connection belongs to one thread, so the reader opens its own.
            store = Store(self._config.store_path, patience=self._patience)
            try:
                self._keep_connected(store)
            finally:
                store.close()
        except BaseException as raised:  # the main loop raises it again in its own thread
            error = raised
        self._course.fail_job(
            f"the daemon ends ({error})" if error else "the daemon ends; start it again"
        )
        self._course.control.activity.change(Activity.ENDED)
        self._course.progress.waiting()
        self.handover.end(error)
        # Last, so that whoever asked for the last scan is told what came of it.
        for companion in (position, server):
            if companion.is_alive():
                companion.close()

    def _keep_connected(self, store: Store) -> None:
        course = self._course
        while True:
            course.control.activity.change(Activity.CONNECTING)
            course.declare()
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
                if not course.proved and not isinstance(error, InstrumentRestarted):
                    raise
                course.link_was_lost = True
                course.warn_once(f"{error}; trying again")
                course.fail_job(
                    f"{error}; if the instrument took the scan, it is stored with the flag "
                    "read_later: scan again"
                )
                # An instrument that restarted answers already, and its port is open.
                answers = isinstance(error, InstrumentRestarted)
                if course.stopping.wait(RECONNECT_S / 10 if answers else RECONNECT_S):
                    return

    def _serve(self, instrument: Instrument, store: Store) -> None:
        """Take samples from a connected instrument until done.

        Raises:
            InstrumentError: the link is lost, or the instrument fails.
        """
        info = instrument.identify()
        if self._course.serial and info.serial != self._course.serial:
            _LOG.warning("instrument %s answers where %s did", info.serial, self._course.serial)
        predictor = self._model.bind(info.wavelengths_nm)
        settings = instrument.configure(self._config.instrument.settings)
        keeper = ReferenceKeeper(info, settings, predictor, self._config.reference, store)
        delivery = ScanDelivery(instrument, keeper, self._course, self.handover)
        Measuring(self._config, instrument, keeper, self._course, delivery).serve()

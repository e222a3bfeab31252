"""The main loop: it predicts each scan, commits it, and only then tells streams and instrument."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import NoReturn

from ccnvr.edge.daemon.broadcast import Broadcast
from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.handover import Ended, Seal, Work
from ccnvr.edge.daemon.reader import Reader
from ccnvr.edge.daemon.store import Store
from ccnvr.edge.inference.models import Model, load_bundle
from ccnvr.edge.inference.pipeline import NO_REFERENCES
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.quality.prompts import prompts
from ccnvr.edge.storage.database import repair_store
from ccnvr.edge.storage.health import Health, Patience
from ccnvr.edge.storage.trouble import StoreDamaged, StoreError, StoreMoved
from ccnvr.edge.streams.destination import Deliver
from ccnvr.firmware_bridge.instrument import LinkStatistics, Scan

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSummary:
    """The number of scans that a run predicted, the statistics of its link, and repairs."""

    predicted: int
    statistics: LinkStatistics
    repairs: int = 0


CURSOR_EVERY = 8
"""Scans between two commits of a stream's cursor; a crash may have so many delivered again."""

PRUNE_EVERY, PRUNE_AT_ONCE = 32, 128
"""Scans between two looks at the store's size, and how many are deleted at once: faster than they
come, so that a store whose limit was lowered gets there."""

LOG_BYTES = 4_000_000
"""What a store's log and shared memory take beside its main file, at most."""


def run(
    config: Config,
    count: int | None,
    deliver: Deliver,
    renew: bool = False,
    health: Health | None = None,
) -> RunSummary:
    """Run the daemon: read scans, predict, store and deliver them.

    Args:
        config: the configuration.
        count: the number of scans to predict; None means until SIGINT or SIGTERM.
        deliver: takes each record, in a thread of its own.
        renew: take new dark and white references first, even if fresh ones are stored.
        health: is told what is wrong and what was lost, for those who ask.

    Raises:
        CcnvrError: the bundle, the store or the instrument cannot be used; what was stored stays
            stored.
        OSError: `deliver` failed, for example because the reader of a pipe went away.
    """
    model = load_bundle(
        config.model.bundle, config.model.engine, config.model.profile, tell=_LOG.info
    )
    if isinstance(model, ProvedModel):
        _LOG.info("engine %s", model.choice)
    patience = Patience(health or Health(), threading.Event())
    total = RunSummary(0, LinkStatistics())
    while True:
        rest = None if count is None else count - total.predicted
        run = _Run(config, model, deliver, patience)
        try:
            return run.serve(rest, renew, total)
        except StoreDamaged as damage:
            # Once for each damage: a repaired store that is damaged again has a broken disk.
            if run.predicted == 0 and total.repairs:
                raise
            patience.health.note(str(damage))
            repair_store(config.store_path, patience.health)
            total = replace(
                total, predicted=total.predicted + run.predicted, repairs=total.repairs + 1
            )
            renew = False


class _Run:
    """The daemon from the opening of its store to the closing."""

    def __init__(self, config: Config, model: Model, deliver: Deliver, patience: Patience) -> None:
        self.predicted = 0
        self._config = config
        self._model = model
        self._patience = patience
        self._store = Store(config.store_path, owner=True, patience=patience)
        self._streams = Broadcast(config, deliver, patience)

    def serve(self, count: int | None, renew: bool, before: RunSummary) -> RunSummary:
        """Serve the instrument; return what this run and those before it did."""
        reader = Reader(self._config, self._model, count, renew, self._patience)
        try:
            with _stopping_on_signals(reader, self._patience.stopping):
                self._streams.start()
                reader.start()
                try:
                    self._predict_all(reader)
                finally:
                    # Both threads end before the store is closed, because that releases its lock.
                    reader.abandon()
                    self._streams.finish()
        except StoreMoved as moved:
            self._rescue(moved)
        finally:
            self._store.close()
            before.statistics.add(reader.statistics)
        if self._streams.error is not None:
            raise self._streams.error
        return replace(before, predicted=before.predicted + self.predicted)

    def _predict_all(self, reader: Reader) -> None:
        """Predict what the reader hands over until it ends.

        The order is the daemon's promise: a scan is committed before a stream shows it, and only
        when the next commit lies behind it in the log may the reader acknowledge it, whereupon the
        instrument forgets it. So a power cut that damages the last page takes no scan away.
        """
        committed: Scan | None = None
        told: list[str] = []
        while True:
            item = reader.handover.next()
            if isinstance(item, Ended):
                if item.error is not None:
                    raise item.error
                return
            if isinstance(item, Seal):
                self._store.seal()
            else:
                flags = self._predict(item)
                self._streams.wake()
                # Said once, and not again for each of a thousand wet soils.
                if told != (told := prompts(flags)):
                    _tell(item, told)
            if committed is not None:
                reader.handover.confirm(committed)
            committed = None if isinstance(item, Seal) else item.scan
            # Without a stream nobody sees the predictions, so the run ends; scans already taken
            # are still stored.
            if self._streams.error is not None:
                reader.stop()

    def _predict(self, work: Work) -> tuple[str, ...]:
        """Predict one scan and commit it; return its flags."""
        prediction = work.prepared.pipeline(work.scan) if work.prepared else NO_REFERENCES
        prediction = Prediction(prediction.estimates, (*prediction.flags, *work.flags))
        latency_ms = round((time.monotonic() - work.received) * 1e3, 3)
        references = work.prepared.reference_ids if work.prepared else None
        delivered = self._streams.delivered
        # In batches: each commit of a cursor writes one more page.
        due = self.predicted % CURSOR_EVERY == 0
        if self._store.database.log_lost:
            self._tell_missing(work)
        self._store.add_scan(
            work.info,
            work.scan,
            prediction,
            references,
            self._model.for_wavelengths(work.info.wavelengths_nm).bundle.digest,
            latency_ms,
            delivered if due else {},
        )
        self.predicted += 1
        if self._config.store.max_size_mb and self.predicted % PRUNE_EVERY == 0:
            # Room for the log, and for what comes until the next look.
            most = self._config.store.max_size_mb * 1_000_000 - LOG_BYTES
            self._store.prune(most, delivered, PRUNE_AT_ONCE)
        return prediction.flags

    def _tell_missing(self, work: Work) -> None:
        """Count, at the first scan after the log was lost, the scans that went with it."""
        self._store.database.log_lost = False
        missing = self._store.missing_before(work.info, work.scan)
        if missing:
            scan_id = work.info.scan_id(work.scan.number)
            self._patience.health.note(
                f"{missing} scans of this power-on before {scan_id} are not in the store: lost, or "
                "taken by another program"
            )

    def _rescue(self, moved: StoreMoved) -> NoReturn:
        """Copy a store that was taken away, and say where to."""
        try:
            copy = self._store.database.rescue()
        except StoreError as error:
            raise StoreError(f"{moved}; its scans could not be copied: {error}") from moved
        raise StoreError(
            f"{moved}; all its scans were copied to {copy}: see who moves the store, and start "
            "ccnvr run again"
        ) from moved


def _tell(work: Work, told: list[str]) -> None:
    """Tell the operator what to do about a scan."""
    for prompt in told:
        _LOG.warning("scan %s: %s", work.info.scan_id(work.scan.number), prompt)


@contextmanager
def _stopping_on_signals(reader: Reader, stopping: threading.Event) -> Iterator[None]:
    """Stop the reader on SIGINT or SIGTERM, so that scans already taken are stored first.

    A second signal ends the process at once, as SIGKILL would. Nothing is lost by that: what is
    not acknowledged waits in the instrument.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stopping.set()
        reader.stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

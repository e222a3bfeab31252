"""The main loop: it predicts each scan, commits it, and only then tells streams and instrument."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.handover import Ended, Work
from ccnvr.edge.daemon.reader import Reader
from ccnvr.edge.daemon.store import Store
from ccnvr.edge.daemon.stream import Deliver, Stream
from ccnvr.edge.inference.pipeline import NO_REFERENCES
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.instrument import LinkStatistics

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSummary:
    """The number of scans that a run predicted, and the statistics of its link."""

    predicted: int
    statistics: LinkStatistics


def run(config: Config, count: int | None, deliver: Deliver, renew: bool = False) -> RunSummary:
    """Run the daemon: read scans, predict, store and deliver them.

    Args:
        config: the configuration.
        count: the number of scans to predict; None means until SIGINT or SIGTERM.
        deliver: takes each record, in a thread of its own.
        renew: take new dark and white references first, even if fresh ones are stored.

    Raises:
        CcnvrError: the bundle, the store or the instrument cannot be used; what was stored stays
            stored.
        OSError: `deliver` failed, for example because the reader of a pipe went away.
    """
    model = ProvedModel(config.model.bundle, config.model.engine, config.model.profile)
    _LOG.info("engine %s", model.choice)
    store = Store(config.store_path, owner=True)
    try:
        stream = Stream("stdout", config.store_path, deliver)
        reader = Reader(config, model, count, renew)
        with _stopping_on_signals(reader):
            stream.start()
            reader.start()
            try:
                predicted = _predict_all(store, model, reader, stream)
            finally:
                # Both threads end before the store is closed, because that releases its lock.
                reader.abandon()
                stream.finish()
    finally:
        store.close()
    if stream.error is not None:
        raise stream.error
    return RunSummary(predicted, reader.statistics)


def _predict_all(store: Store, model: ProvedModel, reader: Reader, stream: Stream) -> int:
    """Predict what the reader hands over until it ends; return how many scans that were.

    The order is the daemon's promise: a scan is committed before a stream shows it, and only then
    may the reader acknowledge it, whereupon the instrument forgets it.
    """
    predicted = 0
    while True:
        item = reader.handover.next()
        if isinstance(item, Ended):
            if item.error is not None:
                raise item.error
            return predicted
        _predict(store, model, item)
        stream.wake()
        reader.handover.confirm(item.scan)
        predicted += 1
        # Without a stream nobody sees the predictions, so the run ends; scans already taken are
        # still stored.
        if stream.error is not None:
            reader.stop()


def _predict(store: Store, model: ProvedModel, work: Work) -> None:
    """Predict one scan and commit it."""
    prediction = work.prepared.pipeline(work.scan) if work.prepared else NO_REFERENCES
    prediction = Prediction(prediction.estimates, (*prediction.flags, *work.flags))
    latency_ms = round((time.monotonic() - work.received) * 1e3, 3)
    references = work.prepared.reference_ids if work.prepared else None
    store.add_scan(work.info, work.scan, prediction, references, model.bundle.digest, latency_ms)


@contextmanager
def _stopping_on_signals(reader: Reader) -> Iterator[None]:
    """Stop the reader on SIGINT or SIGTERM, so that scans already taken are stored first.

    A second signal ends the process at once, as SIGKILL would. Nothing is lost by that: what is
    not acknowledged waits in the instrument.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        reader.stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

"""The main loop: predicts each scan, commits it, and only then lets the streams and the instrument
know.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from ccnvr.edge.daemon.config import Config
from ccnvr.edge.daemon.reader import Ended, Reader, Work
from ccnvr.edge.daemon.store import Store
from ccnvr.edge.daemon.stream import Deliver, Stream
from ccnvr.edge.inference.pipeline import NO_REFERENCES
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.instrument import LinkStatistics


@dataclass(frozen=True)
class RunSummary:
    """What a run did."""

    predicted: int
    statistics: LinkStatistics


def notice(message: str) -> None:
    """Tell the person at the terminal; standard output belongs to the stream."""
    print(f"ccnvr: {message}", file=sys.stderr, flush=True)


def run(
    config: Config,
    count: int | None,
    deliver: Deliver,
    say: Callable[[str], None] = notice,
    renew: bool = False,
) -> RunSummary:
    """Predict `count` scans (None: until SIGINT or SIGTERM), delivering each record to `deliver`.

    With `renew`, dark and white are taken anew even if fresh ones are stored.

    Raises:
        CcnvrError: the bundle, the store or the instrument cannot be used; what was stored stays
            stored.
        OSError: `deliver` failed, as when the reader of a pipe goes away.
    """
    model = ProvedModel(config.model.bundle, config.model.engine, config.model.profile)
    say(f"engine {model.choice}")
    store = Store(config.store_path, owner=True)
    try:
        stream = Stream("stdout", config.store_path, deliver)
        reader = Reader(config, model, count, say, renew)
        with _stopping_on_signals(reader):
            stream.start()
            reader.start()
            try:
                predicted = _predict_all(store, model, reader, stream)
            finally:
                reader.abandon()
                stream.finish()
    finally:
        store.close()
    if stream.error is not None:
        raise stream.error
    return RunSummary(predicted, reader.statistics)


def _predict_all(store: Store, model: ProvedModel, reader: Reader, stream: Stream) -> int:
    predicted = 0
    while True:
        item = reader.work.get()
        if isinstance(item, Ended):
            if item.error is not None:
                raise item.error
            return predicted
        _predict(store, model, item)
        stream.wake()
        reader.stored(item.scan)
        predicted += 1
        if stream.error is not None:
            reader.stop()


def _predict(store: Store, model: ProvedModel, work: Work) -> None:
    prediction = work.prepared.pipeline(work.scan) if work.prepared else NO_REFERENCES
    prediction = Prediction(prediction.estimates, (*prediction.flags, *work.flags))
    latency_ms = round((time.monotonic() - work.received) * 1e3, 3)
    references = work.prepared.reference_ids if work.prepared else None
    store.add_scan(work.info, work.scan, prediction, references, model.bundle.digest, latency_ms)


@contextmanager
def _stopping_on_signals(reader: Reader) -> Iterator[None]:
    """SIGINT and SIGTERM end the run in order: scans already taken are stored and acknowledged
    first.

    A second one ends it at once, as kill -9 would, with nothing lost: what is not acknowledged
    waits in the instrument.
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

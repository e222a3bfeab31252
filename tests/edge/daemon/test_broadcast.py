"""The streams of a run together: what the store must keep for the slowest of them."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.daemon import stream
from ccnvr.edge.daemon.broadcast import STANDARD_OUTPUT, Broadcast
from ccnvr.edge.daemon.config import Config, InstrumentConfig, StoreConfig
from ccnvr.edge.storage.health import Health, Patience
from ccnvr.edge.storage.trouble import StoreError
from ccnvr.edge.store.store import Store
from ccnvr.edge.streams.settings import LinesConfig
from tests.edge.store.test_store import add
from tests.support.brokers import free_port


def test_records_wait_for_a_stream_that_could_not_open_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.sqlite"
    with closing(Store(path)) as store:
        for number in range(1, 31):
            add(store, number)
        store.advance("lines", 10)

    def refused(*arguments: Any, **named: Any) -> Store:
        if threading.current_thread().name == "stream-lines":
            raise StoreError("no more files can be opened")
        return Store(*arguments, **named)

    monkeypatch.setattr(stream, "Store", refused)
    config = Config(
        InstrumentConfig("sim://"),
        store=StoreConfig(str(path)),
        lines=LinesConfig(port=free_port()),
    )
    shown: list[dict[str, Any]] = []
    streams = Broadcast(config, shown.append, Patience(Health(), threading.Event()))
    with closing(Store(path)) as store:
        streams.start()
        streams.finish()
        assert len(shown) == 30 and streams.delivered == {STANDARD_OUTPUT: 30}
        assert streams.held_at(store) == 10
        assert store.prune(1, streams.held_at(store), 100) == 10
        assert [number for number, _ in store.records_after(0)] == list(range(11, 31))

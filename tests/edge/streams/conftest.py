"""A real mosquitto, its subscribers, and a store whose records are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.store.store import Store
from ccnvr.edge.streams.settings import MqttConfig
from tests.support.brokers import Broker, Subscriber


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def listen() -> Iterator[Callable[..., Subscriber]]:
    made: list[Subscriber] = []

    def subscriber(port: int, topic: str = "#", **login: str) -> Subscriber:
        made.append(Subscriber(port, topic, **login))
        return made[-1]

    yield subscriber
    for one in made:
        one.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "s.sqlite")) as made:
        yield made


def config(port: int, **values: Any) -> MqttConfig:
    return MqttConfig(host="127.0.0.1", port=port, device="plot-7", **values)

"""The destinations that a configuration asks for, opened for one run of the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ccnvr.edge.streams.destination import Destination
from ccnvr.edge.streams.fleet import DeviceState
from ccnvr.edge.streams.home_assistant import Announcement, birth_topic
from ccnvr.edge.streams.lines import LineServer
from ccnvr.edge.streams.mqtt import Message, Publisher, prediction_message
from ccnvr.edge.streams.settings import LinesConfig, MqttConfig

STATE_EVERY_S = 30.0
"""The least time between two messages of a device's state."""


@contextmanager
def opened(
    mqtt: MqttConfig, lines: LinesConfig, version: str, model: str
) -> Iterator[list[Destination]]:
    """Open the destinations and close them when the block ends.

    Args:
        mqtt: the broker; no host means none.
        lines: the TCP port for lines; port 0 means none.
        version: the version of ccnvr.
        model: the name of the bundle.

    Raises:
        CcnvrError: a port or a file cannot be used.
    """
    destinations: list[Destination] = []
    server: LineServer | None = None
    publishing: _Publishing | None = None
    try:
        # The port first: it can be refused, and a broker should not be told of a device that then
        # does not start.
        if lines.port:
            server = LineServer(lines)
            destinations.append(Destination("lines", server.deliver))
        if mqtt.host:
            publishing = _Publishing(mqtt, version, model)
            publisher = publishing.publisher
            destinations.append(
                Destination("mqtt", publishing.deliver, publisher.settle, publisher.stop)
            )
        yield destinations
    finally:
        # The broker first, because it is told that the device leaves.
        if publishing is not None:
            publishing.publisher.close()
        if server is not None:
            server.close()


class _Publishing:
    """Predictions, discovery and state of one device at one broker."""

    def __init__(self, config: MqttConfig, version: str, model: str) -> None:
        self._config = config
        self._announcement = Announcement(config, version, model)
        self._state = DeviceState(config, version, model)
        self._state_due = 0.0
        self.publisher = Publisher(config, self._greetings, birth_topic(config))

    def deliver(self, record: Mapping[str, Any]) -> None:
        """Publish a record, and what follows from it."""
        # Before the first value, which Home Assistant would otherwise drop as nobody's.
        if new := self._announcement.learn(record):
            self.publisher.publish(new)
        self._state.learn(record)
        self.publisher.publish(prediction_message(self._config, record))
        # Not with each record: it is retained, so the broker writes it to its disk.
        now = time.monotonic()
        if now >= self._state_due:
            self._state_due = now + STATE_EVERY_S
            self.publisher.publish(self._state.message())

    def _greetings(self) -> list[Message]:
        announced = self._announcement.message()
        return [self._state.message(), *([announced] if announced else [])]

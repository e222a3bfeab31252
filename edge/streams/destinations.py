"""The destinations that a configuration asks for, opened for one run of the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ccnvr.edge.streams.destination import Destination
from ccnvr.edge.streams.fleet import DeviceState, Status, model_message
from ccnvr.edge.streams.home_assistant import Announcement, birth_topic
from ccnvr.edge.streams.lines import LineServer
from ccnvr.edge.streams.mqtt import Message, Publisher, prediction_message
from ccnvr.edge.streams.settings import LinesConfig, MqttConfig

STATE_EVERY_S = 30.0
"""The least time between two messages of a device's state."""


@contextmanager
def opened(
    mqtt: MqttConfig, lines: LinesConfig, version: str, model: str, status: Status = dict
) -> Iterator[list[Destination]]:
    """Open the destinations and close them when the block ends.

    Args:
        mqtt: the broker; no host means none.
        lines: the TCP port for lines; port 0 means none.
        version: the version of ccnvr.
        model: the name of the bundle.
        status: returns the daemon's status, of which MQTT tells a part.

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
            publishing = _Publishing(mqtt, version, model, status)
            publisher = publishing.publisher
            destinations.append(
                Destination(
                    "mqtt", publishing.deliver, publisher.settle, publisher.stop, publishing.idle
                )
            )
        yield destinations
    finally:
        # The broker first, because it is told that the device leaves.
        if publishing is not None:
            publishing.publisher.close()
        if server is not None:
            server.close()


class _Publishing:
    """Predictions, discovery, state and model of one device at one broker."""

    def __init__(self, config: MqttConfig, version: str, model: str, status: Status) -> None:
        self._config = config
        self._status = status
        self._announcement = Announcement(config, version, model, "model" in status())
        self._state = DeviceState(config, version, model, status)
        self._state_due = 0.0
        # What the broker keeps of both, or None if that is not known.
        self._told_state: Message | None = None
        self._told_model: Message | None = None
        self.publisher = Publisher(config, self._greetings, birth_topic(config))

    def deliver(self, record: Mapping[str, Any]) -> None:
        """Publish a record, and what follows from it."""
        # Before the first value, which Home Assistant would otherwise drop as nobody's.
        if new := self._announcement.learn(record):
            self.publisher.publish(new)
        self._state.learn(record)
        self.publisher.publish(prediction_message(self._config, record))
        self._publish_news()

    def idle(self) -> None:
        """Publish what has changed although there is no record."""
        # Without a connection it would wait in the client, and come behind what is newer then.
        if self.publisher.connected.is_set():
            self._publish_news()
            self.publisher.settle()

    def _publish_news(self) -> None:
        if model := self._status().get("model"):
            message = model_message(self._config, model)
            if message != self._told_model:
                # Noted first: a new connection, which another thread notes, forgets it again.
                self._told_model = message
                self.publisher.publish(message)
        # Not with each record: it is retained, so the broker writes it to its disk.
        now = time.monotonic()
        if now >= self._state_due:
            message = self._state.message()
            if message != self._told_state:
                self._state_due = now + STATE_EVERY_S
                self._told_state = message
                self.publisher.publish(message)

    def _greetings(self) -> list[Message]:
        # The broker may have lost them, or have been sent older ones again by the client.
        self._told_model = self._told_state = None
        self._state_due = 0.0
        announced = self._announcement.message()
        return [announced] if announced else []

"""Publish predictions to an MQTT 5 broker: each at least once, in order, after any absence.

The store is the queue: a stream's cursor moves when the broker has confirmed, so a broker may be
away for days. Topics, below `topic/device`:

- `prediction`: each record as JSON, quality of service 1, with the scan id as a user property, so
  that a consumer can drop what comes twice;
- `availability`: `online` or, through the last will, `offline`; retained;
- `state`: what the device is, retained, for whoever watches a fleet (`fleet.py`).

A record's own texts never get into a topic.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ccnvr.edge.streams.destination import Undelivered
from ccnvr.edge.streams.mqtt_client import connect, new_client
from ccnvr.edge.streams.settings import MqttConfig, check_installed
from ccnvr.firmware_bridge.frozen import frozen

_LOG = logging.getLogger(__name__)

IN_FLIGHT = 20
"""Messages under way at once; brokers allow at least so many by default."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1, 120
"""The pause between attempts to reach the broker doubles from one to the other, until the broker
confirms a message: one that only accepts connections gives no reason to come back soon."""

LAST_WAIT_S = 2.0
"""How long the end of the daemon waits for confirmations that are under way."""

_LOOK_UP_S = 0.2

GREET_EVERY_S = 1.0
"""The least time between two births that are answered, from any sender."""

_FAILURE = 0x80
"""Reason codes from here on are refusals: MQTT 5.0, section 2.4."""


@frozen
class Message:
    """A message to publish; `retain` keeps it at the broker for those who come later."""

    topic: str
    payload: str
    retain: bool = False
    scan_id: str = ""


class Publisher:
    """A connection to one broker that comes back by itself; safe to use from several threads.

    Args:
        config: the broker.
        greetings: gives the messages to publish at each new connection.
        birth_topic: a topic whose messages ask for the greetings again, or "".

    Raises:
        UsageError: paho-mqtt is not installed, or the password's file cannot be used.
    """

    def __init__(
        self,
        config: MqttConfig,
        greetings: Callable[[], list[Message]] = list,
        birth_topic: str = "",
    ) -> None:
        check_installed("mqtt", "paho-mqtt", "paho.mqtt.client")
        self._config = config
        self._greetings = greetings
        self._birth_topic = birth_topic
        self._greeted_at = -GREET_EVERY_S
        self._stopping = threading.Event()
        self._stopped_at = 0.0
        # paho's own record of a message says nothing of one that was handed over without a
        # connection, so confirmations are kept here: by number, whether the broker took it.
        self._under_way: deque[tuple[Message, int]] = deque()
        self._confirmed: dict[int, bool] = {}
        # The messages of the last greeting that are not confirmed, and whether another one is due.
        self._unawaited: set[int] = set()
        self._greeting_due = False
        self._pause_s = float(FIRST_PAUSE_S)
        self._news = threading.Condition()
        self._told = ""
        self.connected = threading.Event()
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._serve, name="mqtt", daemon=True)
        self._thread.start()

    def publish(self, message: Message) -> None:
        """Hand a message over; `settle` waits for its confirmation.

        Raises:
            Undelivered: the daemon ends while too many messages are under way.
        """
        while len(self._under_way) >= IN_FLIGHT:
            self._settle_first()
        self._under_way.append((message, self._send(message)))

    def settle(self) -> None:
        """Wait until the broker has confirmed all messages.

        Raises:
            Undelivered: the daemon ends before.
        """
        while self._under_way:
            self._settle_first()

    def stop(self) -> None:
        """Let no one wait for more than `LAST_WAIT_S` from now on."""
        self._stopped_at = time.monotonic()
        self._stopping.set()

    def close(self) -> None:
        """Say `offline` to the broker and end the connection."""
        self.stop()
        if self.connected.is_set():
            with suppress(Undelivered):  # the last will says it too
                self._is_taken(self._send(self._availability("offline")))
        self._client.disconnect()
        self._thread.join(LAST_WAIT_S)

    def _settle_first(self) -> None:
        """Wait for the oldest message, and send it again if the broker refused it."""
        message, number = self._under_way[0]
        pause = float(FIRST_PAUSE_S)
        while not self._is_taken(number):
            if self._stopping.wait(pause):
                raise Undelivered
            pause = min(2 * pause, LONGEST_PAUSE_S)
            number = self._send(message)
            self._under_way[0] = (message, number)
        self._under_way.popleft()

    def _is_taken(self, number: int) -> bool:
        """Wait for the confirmation of a message; return whether the broker took it."""
        with self._news:
            while number not in self._confirmed:
                if self._stopping.is_set() and time.monotonic() - self._stopped_at > LAST_WAIT_S:
                    raise Undelivered
                self._news.wait(_LOOK_UP_S)
            return self._confirmed.pop(number)

    def _send(self, message: Message) -> int:
        """Hand a message to the client, which sends it again at each new connection."""
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = "application/json" if message.scan_id else "text/plain"
        if message.scan_id:
            properties.UserProperty = ("scan_id", message.scan_id)
            properties.MessageExpiryInterval = self._config.expiry_s
        info = self._client.publish(
            message.topic, message.payload, qos=1, retain=message.retain, properties=properties
        )
        return int(info.mid)

    def _availability(self, word: str) -> Message:
        return Message(f"{self._config.base}/availability", word, retain=True)

    def _new_client(self) -> Any:
        client = new_client(self._config)
        # As many as this stream has under way, so that paho never queues behind its own limit.
        client.max_inflight_messages_set(IN_FLIGHT)
        client.reconnect_delay_set(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        # Set before the connection, which carries it to the broker.
        will = self._availability("offline")
        client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        connect(client, self._config)
        return client

    def _serve(self) -> None:
        """Run the client's network loop until it is told to end."""
        while True:
            try:
                self._client.loop_forever(retry_first_connection=True)
                return
            except Exception as error:  # a broker's malformed packet must not end the stream
                if self._stopping.is_set():
                    return
                # It names no culprit: an error of a callback comes out here too.
                _LOG.warning(
                    "the connection to the broker %s broke off (%s: %s); connecting again",
                    self._config.host,
                    type(error).__name__,
                    error,
                )
                self.connected.clear()
                if self._stopping.wait(FIRST_PAUSE_S):
                    return

    def _on_connect(self, client: Any, data: object, flags: Any, reason: Any, more: Any) -> None:
        if reason.is_failure:
            self._tell_failure(str(reason))
            return
        _LOG.info("connected to the MQTT broker %s", self._config.host)
        self._told = ""
        # The client would begin anew with the first pause at each connection.
        client.reconnect_delay_set(self._pause_s, LONGEST_PAUSE_S)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self.connected.set()
        # At each connection: without a session of its own the broker has forgotten it.
        if self._birth_topic:
            client.subscribe(self._birth_topic, qos=1)
        self._greet()

    def _greet(self) -> None:
        # The client itself sends again what is unconfirmed, after what is published now: the older
        # greeting would overwrite the new one, and a broker that hangs up would collect many.
        self._greeting_due = bool(self._unawaited)
        if self._greeting_due or self._stopping.is_set():
            return
        for message in (self._availability("online"), *self._greetings()):
            # In the client's own thread, so before the confirmation is read.
            self._unawaited.add(self._send(message))

    def _tell_failure(self, reason: str) -> None:
        # Said once and not at each of a thousand attempts.
        if reason != self._told:
            self._told = reason
            _LOG.warning(
                "the MQTT broker %s port %d cannot be used (%s); predictions wait in the store",
                self._config.host,
                self._config.broker_port,
                reason,
            )

    def _on_connect_fail(self, client: Any, data: object) -> None:
        # paho calls this while it handles the error, which it does not hand over.
        error = sys.exc_info()[1]
        self._tell_failure((isinstance(error, OSError) and error.strerror) or "no connection")

    def _on_disconnect(
        self, client: Any, data: object, flags: Any, reason: Any, properties: Any
    ) -> None:
        self.connected.clear()
        if not self._stopping.is_set():
            self._tell_failure(str(reason))

    def _on_publish(
        self, client: Any, data: object, number: int, reason: Any, properties: Any
    ) -> None:
        if self._pause_s != FIRST_PAUSE_S:
            self._pause_s = float(FIRST_PAUSE_S)
            client.reconnect_delay_set(self._pause_s, LONGEST_PAUSE_S)
        if number in self._unawaited:
            self._unawaited.discard(number)
            if self._greeting_due and not self._unawaited:
                self._greet()
            return
        refused = reason.value >= _FAILURE
        with self._news:
            self._confirmed[number] = not refused
            self._news.notify_all()
        if refused:
            self._tell_failure(f"it refuses a message: {reason}")

    def _on_message(self, client: Any, data: object, message: Any) -> None:
        # Home Assistant's birth message; nothing else is subscribed to.
        if message.topic != self._birth_topic or message.payload != b"online":
            return
        now = time.monotonic()
        # A flood of births must not become a flood of greetings, each several times as long.
        if now - self._greeted_at >= GREET_EVERY_S:
            self._greeted_at = now
            self._greet()


def prediction_message(config: MqttConfig, record: Mapping[str, Any]) -> Message:
    """Return the message of a record."""
    # Brokers end the connection over a control character in a property, again and again.
    scan_id = "".join(
        letter if letter.isprintable() else "_" for letter in str(record["scan_id"])[:256]
    )
    return Message(f"{config.base}/prediction", json.dumps(record), scan_id=scan_id)

"""A real mosquitto broker on loopback, which can be killed and started again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

MOSQUITTO = shutil.which("mosquitto") or (
    "/usr/sbin/mosquitto" if Path("/usr/sbin/mosquitto").exists() else ""
)


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Broker:
    """A mosquitto that keeps its sessions and messages in `folder`; `more` goes into its file."""

    def __init__(self, folder: Path, *more: str) -> None:
        if not MOSQUITTO:
            pytest.skip("mosquitto is not installed")
        self.port = free_port()
        self._file = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "max_queued_messages 0",
            "persistence true",
            f"persistence_location {folder}/",
            "user root",
            *(more or ("allow_anonymous true",)),
        ]
        self._file.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._file)], stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("mosquitto does not answer")

    def stop(self) -> None:
        """End it in order, so that it writes down what it holds."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None


class Subscriber:
    """A consumer with a session that outlives its connections; it keeps what arrives, in order."""

    def __init__(self, port: int, topic: str = "#", **login: str) -> None:
        self.messages: list[Any] = []
        self._news = threading.Condition()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"subscriber-{uuid.uuid4()}",
            protocol=paho.MQTTv5,
        )
        self._client.reconnect_delay_set(1, 1)
        if login:
            self._client.username_pw_set(login["username"], login["password"])
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._take
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self._client.loop_start()
        assert subscribed.wait(20)

    def publish(self, topic: str, payload: str) -> None:
        """Publish a message, as Home Assistant does at its birth."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(20)

    def on(self, ending: str) -> list[Any]:
        """Return the messages so far whose topic has this ending."""
        with self._news:
            return [message for message in self.messages if message.topic.endswith(ending)]

    def wait_for(self, ending: str, count: int, seconds: float = 60) -> list[Any]:
        """Wait until so many messages have come at topics with this ending, and return them."""
        end = time.monotonic() + seconds
        with self._news:
            while True:
                found = [one for one in self.messages if one.topic.endswith(ending)]
                if len(found) >= count:
                    return found
                assert self._news.wait(max(0.0, end - time.monotonic())), (
                    f"{len(found)} of {count} messages at {ending}"
                )

    def close(self) -> None:
        """End the connection."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, client: object, data: object, message: Any) -> None:
        with self._news:
            self.messages.append(message)
            self._news.notify_all()

"""Brokers that are wanted to be safe, and those that are not: real ones and played ones."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from ccnvr.edge.store.store import Store
from ccnvr.edge.streams import mqtt
from ccnvr.edge.streams.destinations import opened
from ccnvr.edge.streams.mqtt import Message, Publisher
from ccnvr.edge.streams.mqtt_client import new_client
from ccnvr.edge.streams.settings import LinesConfig, MqttConfig
from tests.edge.streams.conftest import config
from tests.support.brokers import Broker, Subscriber
from tests.support.helpers import wait_until
from tools.mqtt_campaign import Publishing, fill, record

CONNACK = b"\x20\x03\x00\x00\x00"


@pytest.mark.slow
def test_a_broker_that_wants_a_password_gets_it_from_its_file(
    tmp_path: Path,
    listen: Callable[..., Subscriber],
    caplog: pytest.LogCaptureFixture,
    store: Store,
) -> None:
    users = tmp_path / "users"
    subprocess.run(["mosquitto_passwd", "-c", "-b", users, "ccnvr", "s3cret"], check=True)
    broker = Broker(tmp_path, "allow_anonymous false", f"password_file {users}")
    secret = tmp_path / "password"
    try:
        subscriber = listen(broker.port, username="ccnvr", password="s3cret")
        fill(store, 1, 1)
        secret.write_text("wrong\n")
        login = {"username": "ccnvr", "password_file": str(secret)}
        publishing = Publishing(store.path, config(broker.port, **login))
        wait_until(lambda: "Not authorized" in caplog.text)
        publishing.end()
        assert "Not authorized" in caplog.text
        assert "wrong" not in caplog.text
        secret.write_text("s3cret\n")
        publishing = Publishing(store.path, config(broker.port, **login))
        subscriber.wait_for("/prediction", 1)
        publishing.end()
    finally:
        broker.stop()


def certificate(folder: Path) -> None:
    """Have OpenSSL make a certificate authority, and a broker's certificate of it."""
    (folder / "names").write_text("subjectAltName = IP:127.0.0.1\n")
    for line in (
        "req -x509 -newkey ed25519 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
        "req -newkey ed25519 -nodes -keyout broker.key -out broker.csr -subj /CN=broker",
        "x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out broker.pem -days 2 "
        "-extfile names",
    ):
        command = ["openssl", *line.split()]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


# paho leaves a socket whose other end it does not trust to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_tls_takes_the_named_authority_s_broker_and_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, store: Store
) -> None:
    theirs, foreign = tmp_path / "theirs", tmp_path / "foreign"
    for folder in (theirs, foreign):
        folder.mkdir()
        certificate(folder)
    broker = Broker(
        tmp_path, "allow_anonymous true",
        f"certfile {theirs}/broker.pem", f"keyfile {theirs}/broker.key",
    )  # fmt: skip
    fill(store, 1, 1)
    try:
        publishing = Publishing(
            store.path, config(broker.port, tls=True, ca_file=str(foreign / "ca.pem"))
        )
        wait_until(lambda: "cannot be used" in caplog.text)
        publishing.end()
        assert "certificate verify failed" in caplog.text
        assert store.cursor("mqtt") == 0
        publishing = Publishing(
            store.path, config(broker.port, tls=True, ca_file=str(theirs / "ca.pem"))
        )
        wait_until(lambda: publishing.stream.delivered == 1)
        publishing.end()
        assert store.cursor("mqtt") == 1
    finally:
        broker.stop()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"host": "broker.invalid"}, True),
        ({"host": "broker.invalid", "tls": True}, False),
        ({"host": "127.0.0.1"}, False),
        ({"host": "broker.invalid", "username": "", "password_file": ""}, False),
    ],
)
def test_a_password_in_clear_beyond_this_computer_is_warned_of(
    values: dict[str, Any], said: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    login = {"username": "u", "password_file": str(secret)}
    new_client(MqttConfig(**{**login, **values}))
    assert ("travels without encryption" in caplog.text) is said
    assert "s3cret" not in caplog.text


def test_a_packet_that_is_too_long_ends_the_connection_unread() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        port = server.getsockname()[1]
        with opened(config(port), LinesConfig(), "1.0", "b"):
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                connection.recv(1000)
                # A CONNACK whose length is 256 MB.
                connection.sendall(b"\x20\xff\xff\xff\x7f")
                assert connection.recv(1000) == b""


def test_a_flood_of_births_is_answered_once_and_a_huge_one_not_at_all(
    broker: Broker, listen: Callable[..., Subscriber], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "GREET_EVERY_S", 3600.0)
    subscriber = listen(broker.port, "homeassistant/device/#")
    with opened(config(broker.port), LinesConfig(), "1.0", "b") as (destination,):
        destination.deliver(record("S1-2-3"))
        subscriber.wait_for("/config", 1)
        flood = listen(broker.port, "nothing")
        for _ in range(200):
            flood.publish("homeassistant/status", "online")
        flood.publish("homeassistant/status", "x" * 2_000_000)
        # It still answers, after all of that.
        destination.deliver(record("S1-2-4"))
        assert destination.settle is not None
        destination.settle()
    # At the first record, at the connection, and at the first birth.
    assert len(subscriber.on("/config")) <= 3


def exactly(connection: socket.socket, count: int) -> bytes:
    """Receive so many bytes."""
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        assert part, "the client closed the connection"
        data += part
    return data


def packet(connection: socket.socket) -> tuple[int, bytes]:
    """Receive an MQTT packet of up to 16 kB; return its kind and its content."""
    head, low = exactly(connection, 2)
    length = (low & 127) + (exactly(connection, 1)[0] << 7 if low & 128 else 0)
    return head >> 4, exactly(connection, length)


def published(connection: socket.socket) -> tuple[str, bytes]:
    """Receive packets up to a PUBLISH; return its topic and its number."""
    kind, content = packet(connection)
    while kind != 3:
        kind, content = packet(connection)
    end = 2 + int.from_bytes(content[:2], "big")
    return content[2:end].decode(), content[end : end + 2]


def test_a_broker_that_hangs_up_is_greeted_once_and_met_more_and_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mqtt, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(mqtt, "LONGEST_PAUSE_S", 0.04)
    pauses: list[float] = []
    real = paho.Client.reconnect_delay_set

    def recorded(client: paho.Client, shortest: float, longest: float) -> None:
        pauses.append(shortest)
        real(client, shortest, longest)  # type: ignore[arg-type]

    monkeypatch.setattr(paho.Client, "reconnect_delay_set", recorded)
    made: list[str] = []

    def greetings() -> list[Message]:
        made.append("greeting")
        return [Message("config", "x")]

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        publisher = Publisher(config(server.getsockname()[1]), greetings)
        try:
            for _ in range(6):
                with server.accept()[0] as connection:
                    packet(connection)
                    connection.sendall(CONNACK)
                    published(connection)
            assert made == ["greeting"]
            with server.accept()[0] as connection:
                packet(connection)
                connection.sendall(CONNACK)
                topics = []
                for count in range(4):
                    topic, number = published(connection)
                    topics.append(topic.rpartition("/")[2])
                    if count == 1:
                        # No third one before a confirmation; then the greeting that was due.
                        assert made == ["greeting"]
                    connection.sendall(b"\x40\x02" + number)
                assert topics == ["availability", "config"] * 2
                assert made == ["greeting"] * 2
            with server.accept()[0]:
                pass
        finally:
            publisher.close()
    # At first, at each of seven connections, and at the first confirmation.
    assert pauses == [0.01, 0.01, 0.02, *[0.04] * 5, 0.01]


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00" * 64,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\x03\x00\x00\x00" + b"\xf0\xff\xff\xff\xff\xff",  # a length of more than four bytes
        b"\x20\x02\x00\x00",  # without the properties of version 5
    ],
)
def test_a_server_that_speaks_no_mqtt_stops_nothing(
    answer: bytes, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(mqtt, "LAST_WAIT_S", 0.5)
    asked = threading.Semaphore(0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(1000)
                        connection.sendall(answer)
                        asked.release()
                        connection.settimeout(0.2)
                        connection.recv(1000)
                    except OSError:
                        pass

        threading.Thread(target=serve, daemon=True).start()
        fill(store, 1, 1)
        publishing = Publishing(store.path, config(server.getsockname()[1]))
        # It comes back although the first answer was nonsense.
        assert asked.acquire(timeout=20)
        assert asked.acquire(timeout=20)
        publishing.end()
        assert not publishing.stream.is_alive()
        assert store.cursor("mqtt") == 0
        server.shutdown(socket.SHUT_RDWR)


def test_texts_of_a_record_never_get_into_a_topic(
    broker: Broker, listen: Callable[..., Subscriber]
) -> None:
    subscriber = listen(broker.port)
    record = {
        "scan_id": "x/../#+\n$SYS",
        "time": "t",
        "instrument": "evil/#",
        "predictions": {"a/b}}{{ 7*7 }}": {"value": 1.0, "unit": "<b>", "low": None, "high": None}},
        "flags": [],
    }
    with opened(config(broker.port), LinesConfig(), "1.0", "b") as (destination,):
        destination.deliver(record)
        assert destination.settle is not None
        destination.settle()
        for ending in ("/availability", "/prediction", "/state"):
            subscriber.wait_for(ending, 1)
        message = subscriber.wait_for("/config", 1)[0]
    topics = {one.topic for one in subscriber.messages}
    assert topics == {
        *(f"ccnvr/plot-7/{end}" for end in ("availability", "prediction", "state")),
        "homeassistant/device/ccnvr_plot-7/config",
    }
    components = json.loads(message.payload)["cmps"]
    # A model that nothing updates is no entity.
    assert components.pop("model") == {"p": "update"}
    (component,) = components.values()
    # The name stands in the template as a text in quotes.
    assert 'predictions["a/b}}{{ 7*7 }}"]' in component["value_template"]

"""Predictions at a real mosquitto: at least once, in order, through restarts and absences."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.daemon.stream import Stream
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.edge.streams.destination import Destination
from ccnvr.edge.streams.destinations import opened
from ccnvr.edge.streams.fleet import RECENT, DeviceState, Status
from ccnvr.edge.streams.mqtt import GREET_EVERY_S
from ccnvr.edge.streams.mqtt_client import new_client
from ccnvr.edge.streams.settings import LinesConfig, MqttConfig
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings
from tests.support.brokers import MOSQUITTO, Broker, Subscriber, free_port
from tools import mqtt_campaign

INFO = InstrumentInfo("m", "S1", "f", 2, np.arange(3.0), 100, 1, 2, 3)
PREDICTION = Prediction({"OC": Estimate(21.0, "g/kg", 15.0, 27.0), "pH": Estimate(6, "", 5, 7)})


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


def config(port: int, **values: Any) -> MqttConfig:
    return MqttConfig(host="127.0.0.1", port=port, device="plot-7", **values)


def fill(store: Store, first: int, count: int) -> list[str]:
    """Commit scans, and return their ids."""
    for number in range(first, first + count):
        scan = Scan(number, ScanKind.SAMPLE, np.full(3, number), Settings(1, 1), False, 20.0)
        store.add(NewScan(INFO, scan, PREDICTION, None, "b", 1.0))
    return [INFO.scan_id(number) for number in range(first, first + count)]


class Publishing:
    """A stream of a store to a broker, as the daemon has it."""

    def __init__(self, path: Path, mqtt: MqttConfig, status: Status = dict) -> None:
        self._opened = opened(mqtt, LinesConfig(), "1.0", "bundle-1", status)
        (destination,) = self._opened.__enter__()
        self.stream = Stream(destination, path)
        self.stream.start()

    def end(self) -> None:
        self.stream.finish()
        self._opened.__exit__(None, None, None)
        assert self.stream.error is None


def ids(messages: list[Any]) -> list[str]:
    return [json.loads(message.payload)["scan_id"] for message in messages]


def test_a_prediction_carries_what_a_consumer_needs(
    broker: Broker, listen: Callable[..., Subscriber], tmp_path: Path
) -> None:
    subscriber = listen(broker.port)
    path = tmp_path / "s.sqlite"
    store = Store(path)
    (scan_id,) = fill(store, 1, 1)
    publishing = Publishing(path, config(broker.port, expiry_s=3600))
    (message,) = subscriber.wait_for("plot-7/prediction", 1)
    publishing.end()
    assert message.topic == "ccnvr/plot-7/prediction"
    assert message.qos == 1
    record = json.loads(message.payload)
    assert record["scan_id"] == scan_id
    oc = record["predictions"]["OC"]
    assert (oc["value"], oc["unit"], oc["low"], oc["high"]) == (21.0, "g/kg", 15.0, 27.0)
    properties = message.properties
    assert properties.UserProperty == [("scan_id", scan_id)]
    assert properties.ContentType == "application/json"
    assert 3500 < properties.MessageExpiryInterval <= 3600
    words = [one.payload for one in subscriber.wait_for("/availability", 2)]
    assert words == [b"online", b"offline"]
    store.close()


def test_the_last_will_says_that_a_device_is_gone(
    broker: Broker, listen: Callable[..., Subscriber], tmp_path: Path
) -> None:
    subscriber = listen(broker.port, "ccnvr/#")
    with opened(config(broker.port), LinesConfig(), "1.0", "b"):
        subscriber.wait_for("/availability", 1)
        # Another client of the same name throws the first one out, without a word from it.
        with opened(config(broker.port), LinesConfig(), "1.0", "b"):
            words = [one.payload for one in subscriber.wait_for("/availability", 3)]
    assert b"offline" in words[1:]


def test_restarts_of_the_broker_lose_nothing_and_keep_the_order(
    broker: Broker, listen: Callable[..., Subscriber], tmp_path: Path
) -> None:
    subscriber = listen(broker.port)
    path = tmp_path / "s.sqlite"
    store = Store(path)
    publishing = Publishing(path, config(broker.port))
    sent: list[str] = []
    for restart in range(3):
        sent += fill(store, 1 + 100 * restart, 50)
        publishing.stream.wake()
        broker.stop()
        sent += fill(store, 51 + 100 * restart, 50)
        publishing.stream.wake()
        broker.start()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        got = ids(subscriber.on("/prediction"))
        if len(set(got)) == len(sent):
            break
        time.sleep(0.1)
    publishing.end()
    assert list(dict.fromkeys(got)) == sent
    assert store.cursor("mqtt") == 300
    store.close()


def test_days_without_a_broker_are_made_up_for(
    tmp_path: Path, listen: Callable[..., Subscriber]
) -> None:
    path, port = tmp_path / "s.sqlite", free_port()
    store = Store(path)
    sent = fill(store, 1, 40)
    # Nobody listens: the daemon starts, works and ends all the same, and soon.
    publishing = Publishing(path, config(port))
    time.sleep(0.3)
    started = time.monotonic()
    publishing.end()
    assert time.monotonic() - started < 5.0
    assert store.cursor("mqtt") == 0
    broker = Broker(tmp_path)
    try:
        subscriber = listen(broker.port)
        publishing = Publishing(path, config(broker.port))
        assert ids(subscriber.wait_for("/prediction", 40)) == sent
        publishing.end()
    finally:
        broker.stop()
    store.close()


def test_a_broker_that_wants_a_password_gets_it_from_its_file(
    tmp_path: Path, listen: Callable[..., Subscriber], caplog: pytest.LogCaptureFixture
) -> None:
    users = tmp_path / "users"
    subprocess.run(["mosquitto_passwd", "-c", "-b", users, "ccnvr", "s3cret"], check=True)
    broker = Broker(tmp_path, "allow_anonymous false", f"password_file {users}")
    secret = tmp_path / "password"
    try:
        subscriber = listen(broker.port, username="ccnvr", password="s3cret")
        path = tmp_path / "s.sqlite"
        store = Store(path)
        fill(store, 1, 1)
        secret.write_text("wrong\n")
        login = {"username": "ccnvr", "password_file": str(secret)}
        publishing = Publishing(path, config(broker.port, **login))
        end = time.monotonic() + 20
        while "Not authorized" not in caplog.text and time.monotonic() < end:
            time.sleep(0.05)
        publishing.end()
        assert "Not authorized" in caplog.text
        assert "wrong" not in caplog.text
        secret.write_text("s3cret\n")
        publishing = Publishing(path, config(broker.port, **login))
        subscriber.wait_for("/prediction", 1)
        publishing.end()
        store.close()
    finally:
        broker.stop()


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
    broker: Broker, listen: Callable[..., Subscriber], tmp_path: Path
) -> None:
    subscriber = listen(broker.port, "homeassistant/device/#")
    with opened(config(broker.port), LinesConfig(), "1.0", "b") as (destination,):
        destination.deliver(mqtt_campaign.record("S1-2-3"))
        subscriber.wait_for("/config", 1)
        flood = listen(broker.port, "nothing")
        started = time.monotonic()
        for _ in range(200):
            flood.publish("homeassistant/status", "online")
        flood.publish("homeassistant/status", "x" * 2_000_000)
        # It still answers, after all of that.
        destination.deliver(mqtt_campaign.record("S1-2-4"))
        assert destination.settle is not None
        destination.settle()
        seconds = time.monotonic() - started
    # At the first record, at the connection, and at births.
    assert len(subscriber.on("/config")) <= 3 + seconds / GREET_EVERY_S


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
def test_tls_takes_the_named_authority_s_broker_and_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs, foreign = tmp_path / "theirs", tmp_path / "foreign"
    for folder in (theirs, foreign):
        folder.mkdir()
        certificate(folder)
    broker = Broker(
        tmp_path, "allow_anonymous true",
        f"certfile {theirs}/broker.pem", f"keyfile {theirs}/broker.key",
    )  # fmt: skip
    path = tmp_path / "s.sqlite"
    store = Store(path)
    fill(store, 1, 1)
    try:
        publishing = Publishing(
            path, config(broker.port, tls=True, ca_file=str(foreign / "ca.pem"))
        )
        end = time.monotonic() + 20
        while "cannot be used" not in caplog.text and time.monotonic() < end:
            time.sleep(0.05)
        publishing.end()
        assert "certificate verify failed" in caplog.text
        assert store.cursor("mqtt") == 0
        publishing = Publishing(path, config(broker.port, tls=True, ca_file=str(theirs / "ca.pem")))
        end = time.monotonic() + 20
        while publishing.stream.delivered != 1 and time.monotonic() < end:
            time.sleep(0.05)
        publishing.end()
        assert store.cursor("mqtt") == 1
    finally:
        broker.stop()
        store.close()


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


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00" * 64,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\x03\x00\x00\x00" + b"\xf0\xff\xff\xff\xff\xff",  # a length of more than four bytes
        b"\x20\x02\x00\x00",  # without the properties of version 5
    ],
)
def test_a_server_that_speaks_no_mqtt_stops_nothing(answer: bytes, tmp_path: Path) -> None:
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
        path = tmp_path / "s.sqlite"
        store = Store(path)
        fill(store, 1, 1)
        publishing = Publishing(path, config(server.getsockname()[1]))
        # It comes back although the first answer was nonsense.
        assert asked.acquire(timeout=20)
        assert asked.acquire(timeout=20)
        started = time.monotonic()
        publishing.end()
        assert time.monotonic() - started < 6.0
        assert store.cursor("mqtt") == 0
        server.shutdown(socket.SHUT_RDWR)
        store.close()


def test_home_assistant_finds_the_device_and_asks_again_after_its_start(
    broker: Broker, listen: Callable[..., Subscriber], tmp_path: Path
) -> None:
    subscriber = listen(broker.port)
    path = tmp_path / "s.sqlite"
    store = Store(path)
    fill(store, 1, 1)
    publishing = Publishing(path, config(broker.port))
    message = subscriber.wait_for("/config", 1)[0]
    assert message.topic == "homeassistant/device/ccnvr_plot-7/config"
    payload = json.loads(message.payload)
    assert payload["cmps"]["OC"]["unit_of_measurement"] == "g/kg"
    assert payload["cmps"]["pH"]["device_class"] == "ph"
    assert payload["state_topic"] == "ccnvr/plot-7/prediction"
    assert payload["availability"] == [{"topic": "ccnvr/plot-7/availability"}]
    subscriber.wait_for("/prediction", 1)
    time.sleep(GREET_EVERY_S)
    subscriber.publish("homeassistant/status", "online")
    again = subscriber.wait_for("/config", 2)[1]
    assert again.payload == message.payload
    # Who comes later finds it as well.
    late = listen(broker.port, "homeassistant/device/#")
    assert late.wait_for("/config", 1)[0].retain
    publishing.end()
    store.close()


def test_a_watcher_is_told_what_changes_although_nothing_is_scanned(
    broker: Broker, listen: Callable[..., Subscriber], tmp_path: Path
) -> None:
    subscriber = listen(broker.port)
    path = tmp_path / "s.sqlite"
    Store(path).close()
    model = {"running": "a 1", "installed": "a 1", "latest": "a 1", "on_trial": False,
             "refused": None, "refused_name": None, "bundle": "/secret/place"}  # fmt: skip
    chart = {"name": "clay pot", "measured": 9, "outside": ["OC"], "trends": []}
    publishing = Publishing(
        path, config(broker.port), lambda: {"model": dict(model), "check_sample": chart}
    )
    (first,) = subscriber.wait_for("/model", 1)
    assert first.retain is False  # to one who was there already
    assert "secret" not in first.payload.decode()
    (entity,) = json.loads(subscriber.wait_for("/config", 1)[0].payload)["cmps"].values()
    assert (entity["p"], entity["state_topic"]) == ("update", first.topic)
    assert not [key for key in entity if "command" in key]
    state = json.loads(subscriber.wait_for("/state", 1)[0].payload)
    assert (state["model"], state["check_sample"], state["last"]) == ("a 1", chart, None)
    model |= {"latest": "b (refused)", "refused": "it fails its self-test", "refused_name": "b"}
    told = json.loads(subscriber.wait_for("/model", 2)[1].payload)
    assert told["refused"] == "it fails its self-test"
    # Who comes later finds it as well.
    late = listen(broker.port, "ccnvr/+/model").wait_for("/model", 1)[0]
    assert late.retain
    assert json.loads(late.payload) == told
    # A broker that has lost everything is told again.
    broker.stop()
    (tmp_path / "mosquitto.db").unlink(missing_ok=True)
    broker.start()
    assert listen(broker.port, "ccnvr/+/model").wait_for("/model", 1)
    publishing.end()


def test_shares_are_of_the_latest_scans_and_by_kind() -> None:
    state = DeviceState(config(1), "1.0", "b")
    record = {"scan_id": "s", "time": "t", "instrument": "S1"}
    for number in range(RECENT + 50):
        flags = ["out_of_domain:Q", "out_of_domain:T2"] if number >= RECENT else []
        state.learn({**record, "flags": [*flags, "OC:noisy", "N:noisy"]})
    told = json.loads(state.message().payload)
    assert told["shares"] == {"noisy": 1.0, "out_of_domain": 0.5}
    assert told["scans"] == RECENT


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


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"topic": "a/#"}, "is no topic"),
        ({"topic": "$SYS"}, "is no topic"),
        ({"device": "a/b"}, "is not a word"),
        ({"port": 70_000}, "is not a port"),
        ({"expiry_s": 1}, "is outside"),
        ({"ca_file": "ca.pem"}, "without tls"),
        ({"password_file": "p"}, "without a username"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MqttConfig(host="h", **values)


def test_a_password_file_that_is_none_is_refused(tmp_path: Path) -> None:
    mqtt = MqttConfig(host="h", username="u", password_file=str(tmp_path / "none"))
    with (
        pytest.raises(UsageError, match=r"password_file .*none cannot be used"),
        opened(mqtt, LinesConfig(), "1.0", "b"),
    ):
        pass


def test_a_destination_that_confirms_later_moves_the_cursor_later(tmp_path: Path) -> None:
    path, settled = tmp_path / "s.sqlite", threading.Event()
    store = Store(path)
    fill(store, 1, 3)
    taken: list[str] = []

    def settle() -> None:
        assert settled.wait(20)

    stream = Stream(Destination("t", lambda record: taken.append(record["scan_id"]), settle), path)
    stream.start()
    while len(taken) < 3:
        time.sleep(0.01)
    assert stream.delivered == 0
    settled.set()
    stream.finish()
    assert stream.delivered == 3
    store.close()


def test_the_campaign_of_the_documents_in_small(capsys: pytest.CaptureFixture[str]) -> None:
    if not MOSQUITTO:
        pytest.skip("mosquitto is not installed")
    words = "--restarts 2 --records 100 --devices 4 --seconds 2"
    assert mqtt_campaign.main(words.split()) == 0
    assert capsys.readouterr().out.count(" 0 missing") == 3

"""Predictions at a real mosquitto: at least once, in order, through restarts and absences."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ccnvr.edge.daemon.stream import Stream
from ccnvr.edge.store.store import Store
from ccnvr.edge.streams.destination import Destination
from ccnvr.edge.streams.destinations import opened
from ccnvr.edge.streams.settings import LinesConfig, MqttConfig
from ccnvr.firmware_bridge.errors import UsageError
from tests.edge.streams.conftest import config
from tests.support.brokers import MOSQUITTO, Broker, Subscriber, free_port
from tests.support.helpers import wait_until
from tools import mqtt_campaign
from tools.mqtt_campaign import Publishing, fill


def ids(messages: list[Any]) -> list[str]:
    return [json.loads(message.payload)["scan_id"] for message in messages]


def test_a_prediction_carries_what_a_consumer_needs(
    broker: Broker, listen: Callable[..., Subscriber], store: Store
) -> None:
    subscriber = listen(broker.port)
    (scan_id,) = fill(store, 1, 1)
    publishing = Publishing(store.path, config(broker.port, expiry_s=3600))
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


@pytest.mark.slow
def test_restarts_of_the_broker_lose_nothing_and_keep_the_order(
    broker: Broker, listen: Callable[..., Subscriber], store: Store
) -> None:
    subscriber = listen(broker.port)
    publishing = Publishing(store.path, config(broker.port))
    sent: list[str] = []
    for restart in range(3):
        sent += fill(store, 1 + 100 * restart, 50)
        publishing.stream.wake()
        broker.stop()
        sent += fill(store, 51 + 100 * restart, 50)
        publishing.stream.wake()
        broker.start()
    wait_until(lambda: len(set(ids(subscriber.on("/prediction")))) == len(sent))
    publishing.end()
    assert list(dict.fromkeys(ids(subscriber.on("/prediction")))) == sent
    assert store.cursor("mqtt") == 300


@pytest.mark.slow
def test_days_without_a_broker_are_made_up_for(
    tmp_path: Path, listen: Callable[..., Subscriber], store: Store
) -> None:
    port = free_port()
    sent = fill(store, 1, 40)
    # Nobody listens: the daemon starts, works and ends all the same.
    publishing = Publishing(store.path, config(port))
    time.sleep(0.3)
    publishing.end()
    assert not publishing.stream.is_alive()
    assert store.cursor("mqtt") == 0
    broker = Broker(tmp_path)
    try:
        subscriber = listen(broker.port)
        publishing = Publishing(store.path, config(broker.port))
        assert ids(subscriber.wait_for("/prediction", 40)) == sent
        publishing.end()
    finally:
        broker.stop()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"topic": "a/#"}, "is not a topic"),
        ({"topic": "$SYS"}, "is not a topic"),
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


def test_a_password_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    mqtt = MqttConfig(host="h", username="u", password_file=str(tmp_path / "none"))
    with (
        pytest.raises(UsageError, match=r"password_file .*none cannot be used"),
        opened(mqtt, LinesConfig(), "1.0", "b"),
    ):
        pass


def test_a_destination_that_confirms_later_moves_the_cursor_later(store: Store) -> None:
    settled = threading.Event()
    fill(store, 1, 3)
    taken: list[str] = []

    def settle() -> None:
        assert settled.wait(20)

    destination = Destination("t", lambda record: taken.append(record["scan_id"]), settle)
    stream = Stream(destination, store.path)
    stream.start()
    wait_until(lambda: len(taken) == 3)
    assert stream.delivered == 0
    settled.set()
    stream.finish()
    assert stream.delivered == 3


@pytest.mark.slow
def test_the_campaign_of_the_documents_in_small(capsys: pytest.CaptureFixture[str]) -> None:
    if not MOSQUITTO:
        pytest.skip("mosquitto is not installed")
    words = "--restarts 1 --records 50 --devices 3 --seconds 1"
    assert mqtt_campaign.main(words.split()) == 0
    assert capsys.readouterr().out.count(" 0 missing") == 3

"""What a watcher of a fleet and Home Assistant are told, through a real mosquitto."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ccnvr.edge.store.store import Store
from ccnvr.edge.streams.fleet import RECENT, DeviceState
from ccnvr.edge.streams.home_assistant import Announcement, component_keys, discovery
from ccnvr.edge.streams.mqtt import GREET_EVERY_S
from tests.edge.streams.conftest import config
from tests.support.brokers import Broker, Subscriber
from tools.mqtt_campaign import Publishing, fill


def test_home_assistant_finds_the_device_and_asks_again_after_its_start(
    broker: Broker, listen: Callable[..., Subscriber], store: Store
) -> None:
    subscriber = listen(broker.port)
    fill(store, 1, 1)
    publishing = Publishing(store.path, config(broker.port))
    message = subscriber.wait_for("/config", 1)[0]
    assert message.topic == "homeassistant/device/ccnvr_plot-7/config"
    payload = json.loads(message.payload)
    assert payload["cmps"]["OC"]["unit_of_measurement"] == "g/kg"
    assert payload["cmps"]["pH"]["device_class"] == "ph"
    assert payload["state_topic"] == "ccnvr/plot-7/prediction"
    assert payload["availability"] == [{"topic": "ccnvr/plot-7/availability"}]
    subscriber.wait_for("/prediction", 1)
    time.sleep(GREET_EVERY_S)  # a sooner one is not answered
    subscriber.publish("homeassistant/status", "online")
    again = subscriber.wait_for("/config", 2)[1]
    assert again.payload == message.payload
    # Who comes later finds it as well.
    late = listen(broker.port, "homeassistant/device/#")
    assert late.wait_for("/config", 1)[0].retain
    publishing.end()


@pytest.mark.slow
def test_a_watcher_is_told_what_changes_although_nothing_is_scanned(
    broker: Broker, listen: Callable[..., Subscriber], tmp_path: Path, store: Store
) -> None:
    subscriber = listen(broker.port)
    model = {"running": "a 1", "installed": "a 1", "latest": "a 1", "on_trial": False,
             "refused": None, "refused_name": None, "bundle": "/secret/place"}  # fmt: skip
    chart = {"name": "clay pot", "measured": 9, "outside": ["OC"], "trends": []}
    publishing = Publishing(
        store.path, config(broker.port), lambda: {"model": dict(model), "check_sample": chart}
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


def test_each_property_has_a_component_of_its_own_and_plain_names_their_former_unique_ids() -> None:
    units = dict.fromkeys(("OC", "a_b", "a b", "a.b", "Fe (ox)", "model"), "%")
    payload = json.loads(discovery(config(1), units, "1.0", "b", updated=True).payload)
    components = payload["cmps"]
    assert components.pop("model")["p"] == "update"
    assert [one["name"] for one in components.values()] == [*units]
    ids = {one["name"]: one["unique_id"] for one in components.values()}
    assert len({*ids.values(), "ccnvr_plot-7_model"}) == len(units) + 1
    assert (ids["OC"], ids["a_b"]) == ("ccnvr_plot-7_OC", "ccnvr_plot-7_a_b")
    assert ids["Fe (ox)"] == "ccnvr_plot-7_Fe__ox_"
    assert component_keys(reversed(units)) == component_keys(units)


def test_a_property_that_is_learnt_leaves_alone_what_another_thread_may_be_reading() -> None:
    announcement = Announcement(config(1), "1.0", "b")
    assert announcement.learn({"predictions": {"OC": {"unit": "%"}}})
    read = announcement._units
    message = announcement.learn({"predictions": {"OC": {"unit": "%"}, "N": {"unit": "%"}}})
    assert message is not None
    assert [*json.loads(message.payload)["cmps"]] == ["model", "OC", "N"]
    assert read == {"OC": "%"}

"""Home Assistant's MQTT discovery: one device with a sensor for each property, and its model.

The message is retained at `homeassistant/device/<id>/config` and sent again when Home Assistant
says that it has started. Its fields: "MQTT", device discovery payload, and "MQTT Update" in the
documentation of Home Assistant's integrations (read 2026).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ccnvr.edge.streams.mqtt import Message
from ccnvr.edge.streams.settings import MqttConfig

PROJECT = "https://github.com/ccnvr/ccnvr"

DEVICE_CLASSES = {"pH": "ph"}
"""The device classes of Home Assistant that stand for a property; they have no unit."""

ICONS = {"OC": "mdi:leaf", "N": "mdi:sprout", "clay": "mdi:layers", "CEC": "mdi:magnet"}

MODEL_KEY = "model"
"""The key of the component that shows the model's versions."""

_UPDATE = (
    "{{ dict(installed_version=value_json.installed, latest_version=value_json.latest, "
    "in_progress=value_json.on_trial, release_summary=value_json.refused or '') | tojson }}"
)
"""Makes of the message at `topic/device/model` what Home Assistant takes: these keys and no others,
and no null, or it drops the whole message."""


def discovery(
    config: MqttConfig, units: Mapping[str, str], version: str, model: str, updated: bool = False
) -> Message:
    """Return the discovery message of a device.

    Args:
        config: the broker and the device's name.
        units: the unit of each property.
        version: the version of ccnvr.
        model: the name of the bundle.
        updated: whether `ccnvr update` brings the device its bundles, whose versions it publishes.
    """
    identifier = f"ccnvr_{config.device_id}"
    topic = f"{config.base}/prediction"
    # A component without fields is removed where there was one; one left out would stay.
    components: dict[str, dict[str, Any]] = {MODEL_KEY: {"p": "update"}}
    if updated:
        components[MODEL_KEY] |= _model_component(config, identifier)
    keys = component_keys(units)
    for name, unit in units.items():
        key = keys[name]
        # Texts of a bundle go into JSON alone, and into a template only as such an escaped key.
        value = f"value_json.predictions[{json.dumps(name)}]"
        known = f"{value} is defined"
        more = "scan_id=value_json.scan_id, time=value_json.time, flags=value_json.flags"
        components[key] = {
            "p": "sensor",
            "unique_id": f"{identifier}_{key}",
            "name": name,
            "state_class": "measurement",
            "value_template": f"{{{{ ({value}.value | round(2)) if {known} else None }}}}",
            "json_attributes_topic": topic,
            "json_attributes_template": (
                f"{{{{ dict({value} if {known} else {{}}, {more}) | tojson }}}}"
            ),
        }
        # A sensor of class "ph" must not state a unit.
        if name in DEVICE_CLASSES:
            components[key]["device_class"] = DEVICE_CLASSES[name]
        else:
            components[key]["unit_of_measurement"] = unit
        if name in ICONS:
            components[key]["icon"] = ICONS[name]
    payload = {
        "dev": {
            "ids": [identifier],
            "name": f"ccnvr {config.device_id}",
            "mf": "ccnvr",
            "mdl": model,
            "sw": version,
        },
        "o": {"name": "ccnvr", "sw": version, "url": PROJECT},
        "cmps": components,
        "state_topic": topic,
        "availability": [{"topic": f"{config.base}/availability"}],
        # As the predictions are published, or Home Assistant would lose some at each reconnection.
        "qos": 1,
    }
    return Message(
        f"{config.discovery_topic}/device/{identifier}/config", json.dumps(payload), retain=True
    )


def component_keys(names: Iterable[str]) -> dict[str, str]:
    """Return the key of each property's component, a different one for each name.

    A key is the name with `_` for all that is neither a letter nor a digit. Where two names have
    the same key, or a name has the model's, the key ends in `-` and a digest of the name.
    """
    plain = {name: "".join(one if one.isalnum() else "_" for one in name) for name in names}
    counts = Counter([MODEL_KEY, *plain.values()])
    # A property's key is in its unique id, by which Home Assistant knows its history: all keys that
    # are unambiguous stay as they are, and no prefix sets them apart from the model's.
    return {
        name: key
        if counts[key] == 1 or key == name != MODEL_KEY
        else f"{key}-{hashlib.sha256(json.dumps(name).encode()).hexdigest()[:8]}"
        for name, key in plain.items()
    }


def _model_component(config: MqttConfig, identifier: str) -> dict[str, Any]:
    """Return the `update` entity, which shows versions and takes no command (decision 0088)."""
    topic = f"{config.base}/model"
    return {
        "unique_id": f"{identifier}_model",
        "name": "model",
        "title": "ccnvr model",
        "entity_category": "diagnostic",
        "state_topic": topic,
        "value_template": _UPDATE,
        "json_attributes_topic": topic,
        "json_attributes_template": (
            "{{ dict(running=value_json.running, refused=value_json.refused, "
            "refused_name=value_json.refused_name) | tojson }}"
        ),
    }


def birth_topic(config: MqttConfig) -> str:
    """Return the topic at which Home Assistant says that it has started."""
    return f"{config.discovery_topic}/status" if config.home_assistant else ""


@dataclass
class Announcement:
    """The discovery message, which follows from the properties that predictions have shown."""

    config: MqttConfig
    version: str
    model: str
    updated: bool = False
    _units: dict[str, str] = field(default_factory=dict)

    def learn(self, record: Mapping[str, Any]) -> Message | None:
        """Return a new message if a record has a property that no earlier one had."""
        found = {
            str(name): str(estimate.get("unit", ""))
            for name, estimate in record["predictions"].items()
        }
        if not self.config.home_assistant or found.items() <= self._units.items():
            return None
        # A new dictionary, because the client's thread may be reading the old one in `message`.
        self._units = {**self._units, **found}
        return self.message()

    def message(self) -> Message | None:
        """Return the message, or None before there is anything to show."""
        if not self.config.home_assistant or not (self._units or self.updated):
            return None
        return discovery(self.config, self._units, self.version, self.model, self.updated)

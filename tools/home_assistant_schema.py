"""Hold a discovery message against Home Assistant's own schema and templates.

    python3.11 -m venv ha && ha/bin/pip install homeassistant
    python -m tools.home_assistant_schema ha/bin/python

The package's release for Python 3.11 (2024.3) is older than the discovery of whole devices
(2024.11), so each component is given what the message states for all, by that feature's
documentation, and is then checked as a discovery message of its own. Its templates are rendered
with a record or the model's message by Home Assistant's template engine. What the `update` entity
then gets is held against the keys of releases since 2024.11, which drop a message with any other.
"""

from __future__ import annotations

import json
import subprocess
import sys

from ccnvr.edge.streams.fleet import model_message
from ccnvr.edge.streams.home_assistant import discovery
from ccnvr.edge.streams.settings import MqttConfig
from tools.mqtt_campaign import record

# Runs in Home Assistant's environment, where ccnvr is not installed.
_CHECK = """
import json, sys
from jinja2.sandbox import ImmutableSandboxedEnvironment
from homeassistant.components.mqtt.abbreviations import ABBREVIATIONS, DEVICE_ABBREVIATIONS
from homeassistant.components.mqtt.sensor import DISCOVERY_SCHEMA as SENSOR
from homeassistant.components.mqtt.update import DISCOVERY_SCHEMA as UPDATE
from homeassistant.components.update import _version_is_newer
from awesomeversion import AwesomeVersionCompareException
from homeassistant.const import __version__

payload, record, models = json.load(sys.stdin)
device = {DEVICE_ABBREVIATIONS.get(key, key): value for key, value in payload["dev"].items()}
common = {key: payload[key] for key in ("state_topic", "availability", "qos")}
render = ImmutableSandboxedEnvironment().from_string

def accepted(component, schema):
    component = {ABBREVIATIONS.get(key, key): value for key, value in component.items()}
    checked = schema({**common, **component, "device": device})
    lost = {*component} - {*checked}
    assert not lost, f"{lost} is unknown to Home Assistant"
    return component

model = payload["cmps"].pop("model")
assert model.pop("p") == "update"
model = accepted(model, UPDATE)
texts = {"installed_version", "latest_version", "title", "release_summary"}
for known in models:
    state = json.loads(render(model["value_template"]).render(value_json=known))
    assert {*state} <= texts | {"in_progress", "update_percentage"}, state
    assert all(isinstance(state[key], str) for key in texts & {*state}), state
    assert isinstance(state["in_progress"], bool), state
    attributes = json.loads(render(model["json_attributes_template"]).render(value_json=known))
    assert attributes["refused"] == known["refused"]
    if state["installed_version"] != state["latest_version"]:
        # What Home Assistant cannot compare it shows as an update.
        try:
            _version_is_newer(state["latest_version"], state["installed_version"])
            raise AssertionError(f"taken for numbers: {state}")
        except AwesomeVersionCompareException:
            pass

for component in payload["cmps"].values():
    assert component.pop("p") == "sensor"
    component = accepted(component, SENSOR)
    value = render(component["value_template"]).render(value_json=record)
    attributes = json.loads(render(component["json_attributes_template"]).render(value_json=record))
    assert float(value) == round(record["predictions"][component["name"]]["value"], 2), value
    assert attributes["scan_id"] == record["scan_id"] and "low" in attributes
    empty = render(component["value_template"]).render(value_json={**record, "predictions": {}})
    assert empty == "None", empty
print(f"Home Assistant {__version__} accepts {len(payload['cmps'])} sensors and the update entity")
"""


def check(python: str) -> str:
    """Check the message with an interpreter that has Home Assistant; return its sentence.

    Raises:
        subprocess.CalledProcessError: Home Assistant refuses it.
    """
    found = record("S1-2-3")
    units = {name: estimate["unit"] for name, estimate in found["predictions"].items()}
    config = MqttConfig(host="h", device="d")
    message = discovery(config, units, "1.0", "b", updated=True)
    models = [
        {"running": running, "installed": "nir 01234567", "latest": latest, "on_trial": trial,
         "refused": refused, "refused_name": refused and "other"}
        for running, latest, trial, refused in (
            ("nir 01234567", "nir 01234567", False, None),
            ("nir 12345678", "nir 12345678", True, None),
            ("nir 01234567", "other (refused)", False, 'it "fails" its <self-test>'),
        )
    ]  # fmt: skip
    told = [json.loads(model_message(config, model).payload) for model in models]
    done = subprocess.run(
        [python, "-c", _CHECK],
        input=json.dumps([json.loads(message.payload), found, told]),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    print(check(sys.argv[1]))

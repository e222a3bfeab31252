"""Hold a discovery message against Home Assistant's own schema and templates.

    python3.11 -m venv ha && ha/bin/pip install homeassistant
    python -m tools.home_assistant_schema ha/bin/python

The package's release for Python 3.11 (2024.3) is older than the discovery of whole devices
(2024.11), so each component is given what the message states for all, by that feature's
documentation, and is then checked as a sensor's own discovery message. Its templates are rendered
with a record by Home Assistant's template engine.
"""

from __future__ import annotations

import json
import subprocess
import sys

from ccnvr.edge.streams.home_assistant import discovery
from ccnvr.edge.streams.settings import MqttConfig
from tools.mqtt_campaign import record

# In Home Assistant's environment, which has none of ours.
_CHECK = """
import json, sys
from jinja2.sandbox import ImmutableSandboxedEnvironment
from homeassistant.components.mqtt.abbreviations import ABBREVIATIONS, DEVICE_ABBREVIATIONS
from homeassistant.components.mqtt.sensor import DISCOVERY_SCHEMA
from homeassistant.const import __version__

payload, record = json.load(sys.stdin)
device = {DEVICE_ABBREVIATIONS.get(key, key): value for key, value in payload["dev"].items()}
common = {key: payload[key] for key in ("state_topic", "availability", "qos")}
render = ImmutableSandboxedEnvironment().from_string
for name, component in payload["cmps"].items():
    assert component.pop("p") == "sensor"
    component = {ABBREVIATIONS.get(key, key): value for key, value in component.items()}
    checked = DISCOVERY_SCHEMA({**common, **component, "device": device})
    lost = {*component} - {*checked}
    assert not lost, f"{name}: {lost} is unknown to Home Assistant"
    value = render(component["value_template"]).render(value_json=record)
    attributes = json.loads(render(component["json_attributes_template"]).render(value_json=record))
    assert float(value) == round(record["predictions"][component["name"]]["value"], 2), value
    assert attributes["scan_id"] == record["scan_id"] and "low" in attributes
    empty = render(component["value_template"]).render(value_json={**record, "predictions": {}})
    assert empty == "None", empty
print(f"Home Assistant {__version__} accepts {len(payload['cmps'])} sensors")
"""


def check(python: str) -> str:
    """Check the message with an interpreter that has Home Assistant; return its sentence.

    Raises:
        subprocess.CalledProcessError: Home Assistant refuses it.
    """
    found = record("S1-2-3")
    units = {name: estimate["unit"] for name, estimate in found["predictions"].items()}
    message = discovery(MqttConfig(host="h", device="d"), units, "1.0", "b")
    done = subprocess.run(
        [python, "-c", _CHECK],
        input=json.dumps([json.loads(message.payload), found]),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    print(check(sys.argv[1]))

"""Store the predictions and states of all devices in InfluxDB, from the broker they publish to.

    python examples/fleet_to_influxdb.py --broker localhost --database soil

Each property of a record is a point of the measurement `prediction`, with the device, instrument
and property as tags. Its time is the scan's own, so a record that comes twice is written over by
itself, and nothing is counted twice. A device's state is a point of the measurement `state`, with
the shares of flagged scans and how many properties of the check sample are outside their limits or
have a trend. The broker keeps messages while this program is away.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

SESSION_S = 7 * 86_400
"""How long the broker keeps messages for this program while it is away."""


def main() -> None:
    """Write what arrives until the program is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", default="localhost")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--topic", default="ccnvr")
    parser.add_argument("--influx", default="http://localhost:8086")
    parser.add_argument("--database", default="soil")
    arguments = parser.parse_args()

    # By hand, so that a message is confirmed only when the database has it.
    client = paho.Client(
        CallbackAPIVersion.VERSION2, "ccnvr-influxdb", protocol=paho.MQTTv5, manual_ack=True
    )

    def subscribe(client: paho.Client, *_: Any) -> None:
        client.subscribe([(f"{arguments.topic}/+/{kind}", 1) for kind in POINTS])

    def write(client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        device, kind = message.topic.split("/")[-2:]
        try:
            lines = list(POINTS[kind](device, json.loads(message.payload)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"a {kind} of {device} is malformed and was skipped: {error!r}", flush=True)
            lines = []
        while lines and not written(arguments.influx, arguments.database, lines):
            time.sleep(2.0)
        client.ack(message.mid, message.qos)

    client.on_connect = subscribe
    client.on_subscribe = lambda *_: print(f"subscribed at {arguments.broker}", flush=True)
    client.on_message = write
    session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    session.SessionExpiryInterval = SESSION_S
    client.connect(arguments.broker, arguments.port, clean_start=False, properties=session)
    client.loop_forever(retry_first_connection=True)


def predictions(device: str, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a record in InfluxDB's line protocol, one line for each property."""
    moment = int(datetime.fromisoformat(record["time"]).timestamp() * 1_000)
    for name, estimate in record["predictions"].items():
        tags = {"device": device, "instrument": record["instrument"], "property": name}
        numbers = {key: estimate[key] for key in ("value", "low", "high")}
        fields = [f"{key}={float(value)!r}" for key, value in numbers.items() if value is not None]
        fields.append(f"scan_id={quoted(record['scan_id'])}")
        fields.append(f"flags={quoted(' '.join(record['flags']))}")
        marks = "".join(f",{key}={escaped(value)}" for key, value in tags.items())
        yield f"prediction{marks} {','.join(fields)} {moment}"


def states(device: str, state: Mapping[str, Any]) -> Iterator[str]:
    """Yield a device's state in InfluxDB's line protocol, at the time of its arrival."""
    chart = state["check_sample"] or {"outside": [], "trends": []}
    fields = {
        "scans": state["scans"],
        **{f"share_{kind}": share for kind, share in state["shares"].items()},
        "check_outside": len(chart["outside"]),
        "check_trends": len(chart["trends"]),
    }
    numbers = ",".join(f"{escaped(name)}={float(value)!r}" for name, value in fields.items())
    yield f"state,device={escaped(device)} {numbers},model={quoted(state['model'])}"


POINTS: dict[str, Callable[[str, Mapping[str, Any]], Iterator[str]]] = {
    "prediction": predictions,
    "state": states,
}


def escaped(tag: str) -> str:
    """Return a tag's value with escapes; it must not be empty."""
    text = "".join(f"\\{letter}" if letter in ", =" else letter for letter in str(tag))
    return text.replace("\n", " ").rstrip("\\") or "-"


def quoted(text: str) -> str:
    """Return a field's text in quotes."""
    escaped_text = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped_text}"'


def written(influx: str, database: str, lines: list[str]) -> bool:
    """Write lines; return whether InfluxDB took them."""
    query = urllib.parse.urlencode({"db": database, "precision": "ms"})
    request = urllib.request.Request(f"{influx}/write?{query}", "\n".join(lines).encode())
    try:
        with urllib.request.urlopen(request, timeout=20):
            return True
    except urllib.error.HTTPError as error:
        print(f"InfluxDB refuses a record: {error.read()[:200]!r}", flush=True)
        # 400: it will never take these lines. Anything else may pass, even a missing database.
        return error.code == 400
    except OSError as error:
        print(f"InfluxDB does not answer: {error}; trying again", flush=True)
        return False


if __name__ == "__main__":
    main()

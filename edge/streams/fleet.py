"""The state of a device, for whoever watches many: what its latest predictions had in common.

Retained messages at `topic/device/state` and `topic/device/model` hold it, so that a watcher who
comes late sees all devices at once. A lamp that ages, a dirty window or a field of unknown soils
show as a share of flagged scans that grows, or as a trend of the check sample; docs/streams.md
tells what to look for.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from ccnvr.edge.streams.mqtt import Message
from ccnvr.edge.streams.settings import MqttConfig

Status = Callable[[], Mapping[str, Any]]
"""Returns the daemon's status as JSON values; of its keys, `model`, `check_sample` and `health` are
used here, and each may be missing."""

RECENT = 100
"""The number of latest scans that the shares are of."""


class DeviceState:
    """The state of one device.

    Args:
        config: the broker and the device's name.
        version: the version of ccnvr.
        model: the name of the bundle, where the status names no other.
        status: returns the daemon's status.
    """

    def __init__(self, config: MqttConfig, version: str, model: str, status: Status = dict) -> None:
        self._config = config
        self._version, self._model = version, model
        self._status = status
        self._kinds: deque[frozenset[str]] = deque(maxlen=RECENT)
        self._last: dict[str, str] = {}

    def learn(self, record: Mapping[str, Any]) -> None:
        """Take a record into the shares."""
        # Kinds and not flags: a share of `OC:noisy` and one of `N:noisy` would tell half each.
        self._kinds.append(frozenset(_kind(flag) for flag in record["flags"]))
        self._last = {key: str(record[key]) for key in ("scan_id", "time", "instrument")}

    def message(self) -> Message:
        """Return the retained message of the state."""
        # Shares and not counts, so that devices that scan more do not look worse.
        counts = Counter(kind for kinds in self._kinds for kind in kinds)
        status = self._status()
        state = {
            "device": self._config.device_id,
            "ccnvr": self._version,
            "model": status.get("model", {}).get("running", self._model),
            "last": self._last or None,
            "scans": len(self._kinds),
            "shares": {
                kind: round(count / len(self._kinds), 3) for kind, count in sorted(counts.items())
            },
            "check_sample": status.get("check_sample"),
            "problem": status.get("health", {}).get("problem"),
        }
        return Message(f"{self._config.base}/state", json.dumps(state), retain=True)


def model_message(config: MqttConfig, model: Mapping[str, Any]) -> Message:
    """Return the retained message of the model's versions, and why the last update was refused.

    Args:
        config: the broker and the device's name.
        model: the part `model` of the daemon's status.
    """
    # Not the path of the bundle, nor the predictions left, which change with each scan of a trial.
    told = ("running", "installed", "latest", "on_trial", "refused", "refused_name")
    payload = json.dumps({key: model[key] for key in told})
    return Message(f"{config.base}/model", payload, retain=True)


def _kind(flag: str) -> str:
    """Return the kind of a flag: `out_of_domain:Q` and `OC:noisy` are `out_of_domain`, `noisy`."""
    first, _, second = flag.partition(":")
    return second if second in ("noisy", "outside_training_range") else first

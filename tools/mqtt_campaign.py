"""A campaign against MQTT streams with a real mosquitto: restarts, a long absence, many devices.

    python -m tools.mqtt_campaign                                  # as recorded in docs/streams.md
    python -m tools.mqtt_campaign --restarts 2 --records 200 --devices 5 --seconds 3

Each part prints one line with what arrived; the exit code is 1 if an id is missing or out of order.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from tqdm import tqdm

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.daemon.stream import Stream
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.store.new_scan import NewScan
from ccnvr.edge.store.store import Store
from ccnvr.edge.streams.destinations import opened
from ccnvr.edge.streams.fleet import Status
from ccnvr.edge.streams.mqtt import Publisher, prediction_message
from ccnvr.edge.streams.settings import LinesConfig, MqttConfig
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings
from tests.support.brokers import Broker, Subscriber, free_port

INFO = InstrumentInfo("m", "S1", "f", 2, np.arange(3.0), 100, 1, 2, 3)
ESTIMATES = {
    name: Estimate(21.0, unit, 15.0, 27.0)
    for name, unit in (("OC", "g/kg"), ("N", "g/kg"), ("CEC", "cmol(+)/kg"), ("pH", "pH"))
}
PREDICTION = Prediction(ESTIMATES)


def fill(store: Store, first: int, count: int) -> list[str]:
    """Commit scans and return their ids."""
    for number in range(first, first + count):
        scan = Scan(number, ScanKind.SAMPLE, np.full(3, number), Settings(1, 1), False, 20.0)
        store.add(NewScan(INFO, scan, PREDICTION, None, "b" * 64, 1.0))
    return [INFO.scan_id(number) for number in range(first, first + count)]


def local(port: int, device: str = "d") -> MqttConfig:
    """Return the configuration of a device with a broker on this computer."""
    return MqttConfig(host="127.0.0.1", port=port, device=device)


def arrived(subscriber: Subscriber) -> list[str]:
    """Return the ids that came, in order, with repetitions."""
    return [json.loads(one.payload)["scan_id"] for one in subscriber.on("/prediction")]


def wait_for(subscriber: Subscriber, count: int, seconds: float) -> list[str]:
    """Return the ids that came until so many different ones did, or the time is over."""
    end = time.monotonic() + seconds
    while True:
        found = arrived(subscriber)
        if len(set(found)) >= count or time.monotonic() > end:
            return found
        time.sleep(0.2)


def report(part: str, sent: list[str], found: list[str], more: str = "") -> bool:
    """Print what arrived of what was sent; return whether all did, in order."""
    distinct = list(dict.fromkeys(found))
    missing, ordered = len(set(sent) - set(found)), distinct == sent
    print(
        f"{part}: {len(sent)} sent, {missing} missing, {len(found) - len(distinct)} came twice, "
        f"order {'kept' if ordered else 'NOT KEPT'}{more}"
    )
    return not missing and ordered


class Publishing:
    """A store's stream to a broker, as the daemon has it."""

    def __init__(self, path: Path, config: MqttConfig, status: Status = dict) -> None:
        self._opened = opened(config, LinesConfig(), "1", "b", status)
        (destination,) = self._opened.__enter__()
        self.stream = Stream(destination, path)
        self.stream.start()

    def end(self) -> None:
        """End the stream as the daemon does."""
        self.stream.finish()
        self._opened.__exit__(None, None, None)
        if self.stream.error is not None:
            raise self.stream.error


def restarts(folder: Path, count: int, seed: int) -> bool:
    """Restart the broker so often while a daemon publishes."""
    rng = random.Random(seed)
    broker, path = Broker(folder), folder / "restarts.sqlite"
    subscriber = Subscriber(broker.port, "ccnvr/#")
    with closing(Store(path)) as store:
        publishing, sent = Publishing(path, local(broker.port)), []
        for number in tqdm(range(count), desc="restarts"):
            for part in range(2):
                sent += fill(store, 1 + 100 * number + 50 * part, 50)
                publishing.stream.wake()
                time.sleep(rng.uniform(0.0, 0.3))
                broker.stop() if part == 0 else broker.start()
        found = wait_for(subscriber, len(sent), 120)
        publishing.end()
    subscriber.close()
    broker.stop()
    return report(f"{count} restarts of the broker", sent, found)


def absence(folder: Path, records: int) -> bool:
    """Fill a store while no broker is there, restart the daemon, then let the broker come."""
    path, port = folder / "absence.sqlite", free_port()
    with closing(Store(path)) as store:
        sent = fill(store, 1, records)
    Publishing(path, local(port)).end()
    broker = Broker(folder)
    subscriber = Subscriber(broker.port, "ccnvr/#")
    started = time.monotonic()
    publishing = Publishing(path, local(broker.port))
    found = wait_for(subscriber, records, 600)
    seconds = time.monotonic() - started
    publishing.end()
    subscriber.close()
    broker.stop()
    return report("a broker that was away", sent, found, f", made up in {seconds:.1f} s")


def fleet(folder: Path, devices: int, seconds: int) -> bool:
    """Let so many devices publish a scan a second each, from this one process."""
    broker = Broker(folder)
    subscriber = Subscriber(broker.port, "ccnvr/+/prediction")
    configs = [local(broker.port, f"d{number}") for number in range(devices)]
    publishers = [Publisher(config) for config in configs]
    for publisher in publishers:
        publisher.connected.wait(60)
    start, sent = time.monotonic(), threading.Semaphore(0)

    def scan(number: int) -> None:
        try:
            scan_all(number)
        finally:
            # Also after an error, which the missing ids then tell.
            sent.release()

    def scan_all(number: int) -> None:
        for second in range(seconds):
            # Spread over the second, as devices of their own are.
            due = start + second + number / devices
            time.sleep(max(0.0, due - time.monotonic()))
            publishers[number].publish(
                prediction_message(configs[number], record(f"d{number}-{second}"))
            )
            publishers[number].settle()

    threads = [threading.Thread(target=scan, args=(number,)) for number in range(devices)]
    for thread in threads:
        thread.start()
    for _ in tqdm(threads, desc="devices"):
        sent.acquire()
    wanted = {f"d{number}-{second}" for number in range(devices) for second in range(seconds)}
    found = wait_for(subscriber, len(wanted), 60)
    lasted = time.monotonic() - start
    memory = psutil.Process().memory_info().rss / 1e6
    for publisher in publishers:
        publisher.close()
    subscriber.close()
    broker.stop()
    missing = len(wanted - set(found))
    print(
        f"{devices} devices x 1 scan/s for {seconds} s: {len(wanted)} sent, {missing} missing, "
        f"{len(found) - len(set(found))} came twice; took {lasted:.0f} s, {memory:.0f} MB"
    )
    return not missing


def record(scan_id: str) -> dict[str, Any]:
    """Return a record as streams deliver it."""
    return {
        "scan_id": scan_id,
        "time": "2026-01-01T00:00:00.000+00:00",
        "instrument": "S1",
        "predictions": {name: estimate._asdict() for name, estimate in ESTIMATES.items()},
        "flags": [],
        "verdict": None,
        "latency_ms": 1.0,
        "clock_synchronised": True,
    }


def main(words: list[str] | None = None) -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(words)
    well = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("restarts", "absence", "fleet"):
            (Path(folder) / name).mkdir()
        well.append(restarts(Path(folder) / "restarts", arguments.restarts, arguments.seed))
        well.append(absence(Path(folder) / "absence", arguments.records))
        well.append(fleet(Path(folder) / "fleet", arguments.devices, arguments.seconds))
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())

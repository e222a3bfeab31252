"""Every driver with its simulator, in this process: what the tests of instruments and the fault table share."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from ccnvr.firmware_bridge import simulator_lines, simulator_ooi
from ccnvr.firmware_bridge.drivers import DRIVERS, Driver
from ccnvr.firmware_bridge.errors import LinkLost
from ccnvr.firmware_bridge.faults import Line
from ccnvr.firmware_bridge.instrument import Instrument, InstrumentInfo, Scan, ScanKind, Settings
from ccnvr.firmware_bridge.simulator_bench import Bench, SimulatedDevice
from ccnvr.firmware_bridge.transport import Transport

SCANNED_TWICE = {"ooi", "chromation", "luxnode", "c12880ma", "asd"}
"""Drivers of instruments that offer neither a checksum nor a second look at the same data."""

TOLERANCE = 0.02
"""By which their two scans may differ, as a share of saturation; a scan is their mean, so half of it can go unnoticed."""

OPTIONS = {
    "ooi": {"coefficients": ",".join(map(str, simulator_ooi.COEFFICIENTS))},
    "chromation": {"coefficients": "348.0,1.23"},
    **{name: {"coefficients": ",".join(map(str, given))} for name, given in simulator_lines.COEFFICIENTS.items()},
}


class Loop:
    """A transport straight into a line, without a port; pauses of the line are kept."""

    def __init__(self, line: Line) -> None:
        self.url = "test://"
        self._line = line
        self._arriving: deque[tuple[float, bytes]] = deque([(0.0, line.connect())])
        self._cut = False

    def write(self, data: bytes) -> None:
        if self._cut:
            raise LinkLost("the instrument on test:// went away; check its cable and power")
        when = max(time.monotonic(), self._arriving[-1][0] if self._arriving else 0.0)
        for piece in self._line.exchange(data):
            when += piece.after_s
            self._arriving.append((when, piece.data))
            self._cut = self._cut or piece.hang_up

    def read(self, timeout_s: float) -> bytes:
        if self._cut and not self._arriving:
            raise LinkLost("the instrument on test:// went away; check its cable and power")
        deadline = time.monotonic() + timeout_s
        if not self._arriving or self._arriving[0][0] > deadline:
            time.sleep(max(0.0, timeout_s))
            return b""
        time.sleep(max(0.0, self._arriving[0][0] - time.monotonic()))
        data, now = b"", time.monotonic()
        while self._arriving and self._arriving[0][0] <= now:
            data += self._arriving.popleft()[1]
        return data

    def close(self) -> None:
        pass


@dataclass
class Setup:
    """A simulated instrument on a line that may be given faults, and the driver that speaks to it."""

    driver: Driver
    line: Line
    timeout_s: float
    instrument: Instrument
    info: InstrumentInfo

    @property
    def bench(self) -> Bench:
        assert isinstance(self.line.device, SimulatedDevice)
        return self.line.device.bench

    def reopen(self, transport: Transport | None = None) -> None:
        """As a daemon does after an error."""
        self.instrument = create(self.driver, transport or Loop(self.line), self.timeout_s)
        self.info = self.instrument.identify()
        self.instrument.configure(Settings(self.reachable_us(), 1))
        for scan in self.instrument.unacknowledged():
            self.instrument.acknowledge(scan)

    def reachable_us(self) -> int:
        return min(max(3_000, self.info.shortest_integration_us), self.info.longest_integration_us)

    def scan(self, kind: ScanKind = ScanKind.SAMPLE) -> Scan:
        """Put the next thing under the probe, and scan it."""
        self.bench.put(kind)
        self.bench.seen.clear()
        scan = self.instrument.scan(kind)
        self.instrument.acknowledge(scan)
        return scan

    def error(self, scan: Scan) -> float:
        """How far a scan is from what the detector saw since it was asked for, as a share of saturation."""
        seen = np.array(self.bench.seen)
        if self.driver.name in SCANNED_TWICE:
            seen = (seen[:, None] + seen[None, :]).reshape(-1, seen.shape[1]) / 2.0
        return float(np.abs(seen - scan.counts).max(axis=1).min() / self.info.saturation_counts)


def create(driver: Driver, transport: Transport, timeout_s: float) -> Instrument:
    """The driver over `transport`, with the options it needs."""
    return driver.load().create(transport, dict(OPTIONS.get(driver.name, {})), timeout_s)


def set_up(name: str, seed: int = 1, timeout_s: float = 0.02, device: SimulatedDevice | None = None) -> Setup:
    """A driver and its simulated instrument, identified and configured."""
    driver = DRIVERS[name]
    line = Line(device or driver.simulate(seed), [], seed)
    instrument = create(driver, Loop(line), timeout_s)
    setup = Setup(driver, line, timeout_s, instrument, instrument.identify())
    setup.instrument.configure(Settings(setup.reachable_us(), 1))
    return setup

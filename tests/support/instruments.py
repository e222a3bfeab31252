"""Every driver with its simulator in this process.

The tests of instruments and the table of faults share it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from ccnvr.firmware_bridge.connect.registry import DRIVERS, Driver
from ccnvr.firmware_bridge.connect.sim_url import simulate
from ccnvr.firmware_bridge.drivers import as7265x as driver_as7265x
from ccnvr.firmware_bridge.drivers import nirscan as driver_nirscan
from ccnvr.firmware_bridge.errors import LinkLost
from ccnvr.firmware_bridge.instrument import Instrument, InstrumentInfo, Scan, ScanKind, Settings
from ccnvr.firmware_bridge.link import session as link
from ccnvr.firmware_bridge.polled import exchange
from ccnvr.firmware_bridge.serving.faults import Line
from ccnvr.firmware_bridge.simulators import lines as simulator_lines
from ccnvr.firmware_bridge.simulators import ooi as simulator_ooi
from ccnvr.firmware_bridge.simulators.bench import Bench, SimulatedDevice
from ccnvr.firmware_bridge.transport import Transport
from tests.support.helpers import WithoutRate

SCANNED_TWICE = {"ooi", "chromation", "luxnode", "c12880ma", "asd"}
"""Drivers of instruments with neither a checksum nor a second reading of the same data."""

TOLERANCE = 0.02
"""By how much their two scans may differ, as a share of saturation.

A scan is their mean, so half of it can go unnoticed.
"""

OPTIONS = {
    "ooi": {"coefficients": ",".join(map(str, simulator_ooi.COEFFICIENTS))},
    "chromation": {"coefficients": "348.0,1.23"},
    **{
        name: {"coefficients": ",".join(map(str, given))}
        for name, given in simulator_lines.COEFFICIENTS.items()
    },
}


class Clock:
    """Time that passes only while somebody waits.

    A time-out costs nothing, and no outcome depends on the speed of the machine.
    """

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)


CLOCK = Clock()


@contextmanager
def virtual_time() -> Iterator[Clock]:
    """Make every module that waits do so by `CLOCK`."""
    waiting = (exchange, link, driver_as7265x, driver_nirscan)
    for module in waiting:
        module.time = CLOCK  # type: ignore[attr-defined]
    try:
        yield CLOCK
    finally:
        for module in waiting:
            module.time = time  # type: ignore[attr-defined]


class Loop(WithoutRate):
    """A transport straight into a line, without a port and in virtual time.

    It keeps the pauses of the line.
    """

    def __init__(self, line: Line) -> None:
        self.url = "test://"
        self._line = line
        self._arriving: deque[tuple[float, bytes]] = deque([(0.0, line.connect())])
        self._cut = False

    def write(self, data: bytes) -> None:
        if self._cut:
            raise LinkLost("the instrument on test:// went away; check its cable and power")
        when = max(CLOCK.now, self._arriving[-1][0] if self._arriving else 0.0)
        for piece in self._line.exchange(data):
            when += piece.after_s
            self._arriving.append((when, piece.data))
            self._cut = self._cut or piece.hang_up

    def read(self, timeout_s: float) -> bytes:
        if self._cut and not self._arriving:
            raise LinkLost("the instrument on test:// went away; check its cable and power")
        if not self._arriving or self._arriving[0][0] > CLOCK.now + timeout_s:
            CLOCK.sleep(timeout_s)
            return b""
        CLOCK.now = max(CLOCK.now, self._arriving[0][0])
        data = b""
        while self._arriving and self._arriving[0][0] <= CLOCK.now:
            data += self._arriving.popleft()[1]
        return data

    def close(self) -> None:
        pass


@dataclass
class Setup:
    """A simulated instrument on a line that may be given faults, with its driver."""

    driver: Driver
    line: Line
    timeout_s: float = 1.0
    instrument: Instrument = field(init=False)
    info: InstrumentInfo = field(init=False)

    @property
    def bench(self) -> Bench:
        assert isinstance(self.line.device, SimulatedDevice)
        return self.line.device.bench

    def reopen(self, transport: Transport | None = None) -> None:
        """Open the instrument again, as a daemon does after an error."""
        self.instrument = create(self.driver, transport or Loop(self.line), self.timeout_s)
        if isinstance(self.instrument, driver_as7265x.As7265x):
            self.instrument.settle_s = 0.0
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
        """Return how far a scan is from what the detector saw since it was asked for.

        The result is a share of saturation.
        """
        seen = np.array(self.bench.seen)
        if self.driver.name in SCANNED_TWICE:
            seen = (seen[:, None] + seen[None, :]).reshape(-1, seen.shape[1]) / 2.0
        return float(np.abs(seen - scan.counts).max(axis=1).min() / self.info.saturation_counts)


def create(driver: Driver, transport: Transport, timeout_s: float) -> Instrument:
    """Return the driver over `transport`, with the options that it needs."""
    return driver.load().create(transport, dict(OPTIONS.get(driver.name, {})), timeout_s)


def set_up(name: str, seed: int = 1, device: SimulatedDevice | None = None) -> Setup:
    """Return a driver and its simulated instrument, identified and configured, in virtual time."""
    driver = DRIVERS[name]
    setup = Setup(driver, Line(device or simulate(driver, seed), [], seed))
    setup.reopen()
    return setup

"""Chromation dev-kit: 392 or 784 pixels, about 350-830 nm, over its USB serial port.

A command is one byte; the bridge answers with its status, and then the sensor with its record.
Numbers are big-endian, and there are neither frames nor checksums, so each scan is taken twice: the
two must agree within 2 % of saturation. The wavelengths are computed from the kit's calibration
sheet: `coefficients=` in the URL, of a polynomial in the number of the pixel from 0.

Not verified on an instrument: that status 0 means success, that a cycle of exposure is 20 us, and
saturation at 4095.
"""

from __future__ import annotations

import struct

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind, Settings
from ccnvr.firmware_bridge.polled.exchange import Denied, Garbled, Trouble
from ccnvr.firmware_bridge.polled.instrument import (
    PolledInstrument,
    Reading,
    boot,
    scan_twice,
    wavelengths_nm,
)
from ccnvr.firmware_bridge.transport import Transport
from ccnvr.firmware_bridge.url_options import numbers

# Numbers of commands.
NULL, SET_EXPOSURE, CAPTURE = 0, 10, 11
SIZES = (392, 784)
CYCLE_US = 20
# The converter has 12 bits.
SATURATION = 4_095


class Chromation(PolledInstrument):
    """A Chromation dev-kit over `transport`."""

    def __init__(self, transport: Transport, timeout_s: float, coefficients: list[float]) -> None:
        super().__init__(transport, timeout_s)
        self._coefficients = coefficients

    def _identify(self) -> InstrumentInfo:
        # Only a frame tells how many pixels the sensor has.
        pixels = self._capture(1.0).size
        return InstrumentInfo(
            model="Chromation dev-kit",
            serial="Chromation",
            firmware="",
            boot=boot(),
            counts_starts=False,
            wavelengths_nm=wavelengths_nm(pixels, self._coefficients),
            saturation_counts=SATURATION,
            shortest_integration_us=CYCLE_US,
            longest_integration_us=65_535 * CYCLE_US,
            most_averages=1_000,
        )

    def _apply(self, settings: Settings) -> Settings:
        # Rounded down, so that the exposure stays within the limits that were checked.
        cycles = settings.integration_us // CYCLE_US
        self.exchange.send(bytes([SET_EXPOSURE]) + cycles.to_bytes(2, "big"))
        _refuse_status(self.exchange.read_exactly(2))
        return Settings(cycles * CYCLE_US, settings.averages)

    def _expose(self, kind: ScanKind, light_s: float) -> Reading:
        return Reading(scan_twice(lambda: self._capture(light_s), 0.02 * SATURATION))

    def _wake(self) -> None:
        # Null commands serve as the data of a command that may still wait for them.
        self.exchange.transport.write(bytes([NULL] * 4))
        self.exchange.settle()

    def _capture(self, light_s: float) -> Array:
        self.exchange.send(bytes([CAPTURE]))
        _refuse_status(self.exchange.read_exactly(2, light_s))
        (pixels,) = struct.unpack(">H", self.exchange.read_exactly(2))
        if pixels not in SIZES:
            raise Garbled(f"it states {pixels} pixels, but only {SIZES} are known")
        counts = np.frombuffer(self.exchange.read_exactly(2 * pixels), ">u2").astype(np.float64)
        # The numbers have 16 bits and the converter 12, so a larger one was damaged.
        if np.any(counts > SATURATION):
            raise Garbled(f"counts above {SATURATION} arrived")
        return counts


def _refuse_status(reply: bytes) -> None:
    if any(reply):
        raise Denied(f"bridge and sensor answered with status {reply.hex(' ')}")


def create(transport: Transport, options: dict[str, str], timeout_s: float) -> Chromation:
    """Return a driver over `transport`; the option is `coefficients`."""
    coefficients = numbers(options, "coefficients")
    if coefficients is None:
        raise UsageError(
            "driver chromation needs coefficients=C0,C1,... in the URL; they come with the kit"
        )
    return Chromation(transport, timeout_s, coefficients)


def probe(transport: Transport, timeout_s: float) -> str | None:
    """Return how many pixels the frame has that arrives; None if none arrives."""
    try:
        return (
            "Chromation dev-kit, "
            f"{Chromation(transport, timeout_s, [0.0, 1.0])._capture(timeout_s).size} pixels"
        )
    except Trouble:
        return None

"""A simulated Chromation dev-kit of 392 pixels."""

from __future__ import annotations

from ccnvr.firmware_bridge.drivers.chromation import (
    CAPTURE,
    CYCLE_US,
    SATURATION,
    SET_EXPOSURE,
    SIZES,
)
from ccnvr.firmware_bridge.polled.instrument import wavelengths_nm
from ccnvr.firmware_bridge.simulators.bench import Bench, Detector, SimulatedDevice

COEFFICIENTS = (348.0, 1.23)
WAVELENGTHS = wavelengths_nm(SIZES[0], COEFFICIENTS)


class SimulatedChromation(SimulatedDevice):
    """A simulated dev-kit, which answers commands of one byte and ignores unknown ones."""

    def reset(self) -> None:
        """Restart."""
        self._pending, self._cycles = b"", 500

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`."""
        self._pending += data
        reply = b""
        while self._pending:
            # Only SET_EXPOSURE has data, two bytes.
            size = 3 if self._pending[0] == SET_EXPOSURE else 1
            if len(self._pending) < size:
                break
            command, self._pending = self._pending[:size], self._pending[size:]
            reply += self._answer(command)
        return reply

    def _answer(self, command: bytes) -> bytes:
        if command[0] == SET_EXPOSURE:
            self._cycles = int.from_bytes(command[1:], "big")
            # A status byte of the bridge, then one of the sensor; 0 stands for success.
            return bytes(2)
        if command[0] != CAPTURE:
            return b""
        counts = self.bench.expose(self._cycles * CYCLE_US)
        return bytes(2) + SIZES[0].to_bytes(2, "big") + counts.astype(">u2").tobytes()


def make(seed: int, pace: float) -> SimulatedChromation:
    """Return the simulator of driver `chromation`."""
    detector = Detector(
        saturation=SATURATION,
        white_rate=0.3,
        dark_rate=0.0005,
        dark_offset=150.0,
        read_noise=1.0,
        fades_nm=820.0,
    )
    # One acquisition is skipped, because the driver takes a frame to learn the number of pixels.
    bench = Bench(WAVELENGTHS, detector, seed=seed, pace=pace, has_lamp=False, skips=1)
    return SimulatedChromation(bench)

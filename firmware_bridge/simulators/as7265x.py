"""A simulated AS7265x behind its AT commands."""

from __future__ import annotations

import re

import numpy as np

from ccnvr.firmware_bridge.drivers.as7265x import BANDS_NM, ON_THE_WIRE, STEP_US
from ccnvr.firmware_bridge.simulators.bench import Bench, Detector, SimulatedDevice

WAVELENGTHS = np.sort(np.array(list(BANDS_NM.values()), dtype=np.float64))
_LONGEST_COMMAND = 64


class SimulatedAs7265x(SimulatedDevice):
    """A simulated AS7265x, which answers each command that ends in CR or LF with one line."""

    def reset(self) -> None:
        """Restart."""
        self._line = b""
        self._steps, self._led = 20, 0
        self._data = np.zeros(WAVELENGTHS.size)

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`."""
        *commands, self._line = (self._line + data.replace(b"\n", b"\r")).split(b"\r")
        # Noise without a line end must not pile up.
        self._line = self._line[-_LONGEST_COMMAND:]
        return b"".join(self._answer(command.decode("latin-1")) for command in commands if command)

    def _answer(self, command: str) -> bytes:
        # A command without data is answered by OK alone, so the blank before it is stripped.
        said = self._carry_out(command)
        return b"ERROR\n" if said is None else f"{said} OK\n".lstrip().encode()

    def _carry_out(self, command: str) -> str | None:
        fixed = {"AT": "", "ATVERHW": "0x4041", "ATVERSW": "12.0.0", "ATINTTIME": str(self._steps)}
        if command in fixed:
            return fixed[command]
        if command == "ATTEMP":
            return ",".join([f"{self.bench.temperature_c:.0f}"] * 3)
        if command == "ATTCSMD=3":
            self._data = self.bench.expose(self._steps * STEP_US, lamp=self._led > 0)
            return ""
        if command == "ATDATA":
            # The data stay until the next exposure: the driver reads them twice and compares.
            return ", ".join(f"{self._of(letter):.0f}" for letter in ON_THE_WIRE)
        if match := re.fullmatch(r"ATINTTIME=(\d{1,3})", command):
            if not 1 <= int(match[1]) <= 255:
                return None
            self._steps = int(match[1])
            return ""
        if match := re.fullmatch(r"ATLED1=(0|100)", command):
            self._led = int(match[1])
            return ""
        return None

    def _of(self, letter: str) -> float:
        # ATDATA sends the letters chip by chip, while the counts are kept by wavelength.
        return float(self._data[np.searchsorted(WAVELENGTHS, BANDS_NM[letter])])


def make(seed: int, pace: float) -> SimulatedAs7265x:
    """Return the simulator of driver `as7265x`."""
    detector = Detector(white_rate=0.5, dark_rate=0.0001, dark_offset=20.0, fades_nm=930.0)
    return SimulatedAs7265x(Bench(WAVELENGTHS, detector, seed=seed, pace=pace))

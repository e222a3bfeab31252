"""A simulated NIRONE Sensor S 2.0 (1550-1950 nm); `order` is the byte order of its floats."""

from __future__ import annotations

import re

import numpy as np

from ccnvr.firmware_bridge.drivers.nirone import MOST_POINTS, ORDERS, READY
from ccnvr.firmware_bridge.simulators.bench import Bench, Detector, SimulatedDevice

POINTS = 201
LOW, HIGH = 1_550.0, 1_950.0
_LONGEST_COMMAND = 64


class SimulatedNirone(SimulatedDevice):
    """A simulated NIRONE, which answers each command that ends in CR with one line."""

    def __init__(self, bench: Bench, order: str = "big") -> None:
        # The two open drivers disagree on the byte order, so tests simulate both.
        self._order = order
        super().__init__(bench)

    def reset(self) -> None:
        """Restart."""
        self._line = b""
        self._table = np.zeros(MOST_POINTS)
        self._points, self._averages, self._lamp = POINTS, 1, 0
        self._measured = np.zeros(0)

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`."""
        *commands, self._line = (self._line + data.replace(b"\n", b"\r")).split(b"\r")
        self._line = self._line[-_LONGEST_COMMAND:]
        return b"".join(self._answer(command) for command in commands if command)

    def _answer(self, command: bytes) -> bytes:
        text = command.decode("ascii", errors="replace")
        # The only binary answer. It has no line end, so the host must know its length.
        if match := re.fullmatch(r"Xm0,(\d{1,3})", text):
            return self._measured[: int(match[1])].astype(ORDERS[self._order]).tobytes()
        return self._say(text).encode() + b"\r\n"

    def _say(self, text: str) -> str:
        stated = {
            "!": "OK",
            "h0": "Sensor type: NIRONE S2.0",
            "h1": "HW version: 1",
            "h2": "Serial number: N0000123",
            "h3": f"Minimum wavelength: {LOW}",
            "h4": f"Maximum wavelength: {HIGH}",
            "i": "FW version: 1.4",
            "m": f"Number of wavelengths: {POINTS}",
            "E0": "Measurement time: 10.0",
            "St": f"Sensor temperature: {self.bench.temperature_c:.2f}",
        }
        if text in stated:
            return stated[text]
        if match := re.fullmatch(r"W(\d{1,3}),(\d+\.\d)", text):
            self._table[int(match[1]) % MOST_POINTS] = float(match[2])
            return f"Wavelength {match[1]}: {match[2]}"
        if match := re.fullmatch(r"V(\d{1,3}),(\d{1,4})", text):
            self._points, self._averages = int(match[1]), max(1, int(match[2]))
            return f"Points: {match[1]}, averages: {match[2]}"
        if match := re.fullmatch(r"LI(\d{1,3})", text):
            self._lamp = int(match[1])
            return f"Lamp intensity: {match[1]}"
        # Refused before a table is loaded, so that a driver that forgets it after a restart fails.
        if text == "XM" and np.all(self._table[: self._points] > 0.0):
            self._measured = self.bench.expose(10_000, self._averages, lamp=self._lamp > 0)
            return READY
        return "Error: unknown command"


def make(seed: int, pace: float) -> SimulatedNirone:
    """Return the simulator of driver `nirone`."""
    # One acquisition is skipped, because the driver takes one to tell the byte order.
    return SimulatedNirone(
        Bench(np.linspace(LOW, HIGH, POINTS), Detector(), seed=seed, pace=pace, skips=1)
    )

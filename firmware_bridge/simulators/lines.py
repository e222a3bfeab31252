"""Simulated instruments that take lines of text, one for each instrument profile."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.drivers.instrument_profile import (
    InstrumentProfile,
    read_instrument_profile,
)
from ccnvr.firmware_bridge.polled.instrument import wavelengths_nm
from ccnvr.firmware_bridge.simulators.bench import Bench, Detector, SimulatedDevice

COEFFICIENTS = {
    "multispeq": (365.0, 63.8),
    "minispec": (312.0, 2.69, -9.0e-4, -9.0e-6, 1.6e-8, -6.0e-12),
    "luxnode": (312.0, 2.69, -9.0e-4, -9.0e-6, 1.6e-8, -6.0e-12),
    "c12880ma": (312.0, 2.69, -9.0e-4, -9.0e-6, 1.6e-8, -6.0e-12),
}
_LONGEST_COMMAND = 4_096
_PULSE_SETS = ("pulses", "pulsed_lights", "pulsed_lights_brightness")


class SimulatedLines(SimulatedDevice):
    """A simulated instrument that answers lines of text.

    `_say` returns the text of an answer, or None if the instrument stays silent.
    """

    def __init__(self, bench: Bench, profile: InstrumentProfile) -> None:
        self._profile = profile
        super().__init__(bench)

    def reset(self) -> None:
        """Restart."""
        self._line = b""
        self._integration_us = 10_000
        self._text_mode, self._last = False, np.zeros(0)

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`."""
        *lines, self._line = re.split(b"[\r\n]", self._line + data)
        # Noise without a line end must not pile up.
        self._line = self._line[-_LONGEST_COMMAND:]
        said = (self._say(line.decode("latin-1")) for line in lines if line)
        return b"".join(text.encode("latin-1") for text in said if text is not None)

    def _say(self, command: str) -> str | None:
        raise NotImplementedError


class _MultispeQ(SimulatedLines):
    def _say(self, command: str) -> str | None:
        if command == "hello":
            return "MultispeQ Ready\r\n"
        try:
            (protocol,) = json.loads(command)
            averages = max(1, int(protocol["averages"]))
            sets = [
                (int(pulses), int(light), float(brightness))
                for pulses, (light,), (brightness,) in zip(
                    *(protocol[name] for name in _PULSE_SETS), strict=True
                )
                # Light 0 is a valid name in PhotosynQ's protocol, for a pulse without an LED.
                if 0 <= light <= self.bench.wavelengths_nm.size
            ]
        except (ValueError, KeyError, TypeError):
            return f"bad command: {command[:40]}\r\n"
        seen = (
            self.bench.expose(20, averages, lamp=any(brightness > 0 for *_, brightness in sets))
            .astype(int)
            .tolist()
        )
        # Each set records one value for each of its pulses, from the LED that it names; light 0
        # records none.
        raw = [
            seen[light - 1] for pulses, light, _ in sets for _ in range(min(pulses, 1_000)) if light
        ]
        answer = json.dumps(
            {"device_id": "01:02:03:04", "sample": [{"protocol_id": "", "data_raw": raw}]}
        )
        # The firmware ends an answer with two line ends.
        return f"{answer}{zlib.crc32(answer.encode()):08X}\n\n"


class _MiniSpec(SimulatedLines):
    def _say(self, command: str) -> str | None:
        if command == "version":
            return "MiniSpec 3.1.4\r\n"
        if command in ("format=0", "format=1"):
            self._text_mode = command.endswith("1")
            return "ok\r\n"
        if match := re.fullmatch(r"i=(\d{1,7})", command):
            if not 54 <= int(match[1]) <= 1_000_000:
                return "argument error\r\n"
            self._integration_us = int(match[1])
            return "ok\r\n"
        if command in ("m", "gd"):
            if command == "m":
                self._last = self.bench.expose(self._integration_us)
            return self._spectrum() if self._last.size else "error: no data\r\n"
        return "???\r\n"

    def _spectrum(self) -> str:
        if not self._text_mode:
            return (b"\0\0" + self._last.astype("<u4").tobytes()).decode("latin-1")
        counts = [f"{count:.0f}" for count in self._last]
        return "".join(" ".join(counts[i : i + 10]) + "\r\n" for i in range(0, len(counts), 10))


class _LuxNode(SimulatedLines):
    def _say(self, command: str) -> str | None:
        kind = {"SCAN": "raw", "DARK": "dark", "WHITE": "white"}.get(command)
        if kind is None:
            return '{"error":"unknown command"}\n'
        counts: Array = self.bench.expose(10_000)
        frame = {"device": "luxnode-v0", "kind": kind, "pixels": counts.astype(int).tolist()}
        return json.dumps(frame, separators=(",", ":")) + "\n"


class _Microspec(SimulatedLines):
    def _say(self, command: str) -> str | None:
        if match := re.fullmatch(r"SPEC\.INTEG (\d+\.\d+)", command):
            self._integration_us = round(float(match[1]) * 1e6)
            # The firmware accepts a setting without an answer.
            return None
        if command == "SPEC.READ?":
            return (
                ",".join(f"{count:.0f}" for count in self.bench.expose(self._integration_us)) + "\n"
            )
        return f"### Error: command '{command.split(' ')[0]}' not recognized ###\n"


_DEVICES: dict[str, type[SimulatedLines]] = {
    "multispeq": _MultispeQ,
    "minispec": _MiniSpec,
    "luxnode": _LuxNode,
    "c12880ma": _Microspec,
}


def maker(name: str) -> Callable[[int, float], SimulatedLines]:
    """Return the function that makes the simulator for the instrument profile of this name."""
    profile = read_instrument_profile(name)
    wavelengths = wavelengths_nm(profile.pixels, COEFFICIENTS[name], profile.first_pixel)
    exposure_us = 20 if name == "multispeq" else 10_000
    top = profile.saturation
    # Scaled to the saturation of the instrument, so that white reaches about 80 % of it.
    detector = Detector(
        saturation=top,
        white_rate=0.7 * top / exposure_us,
        dark_rate=0.0,
        dark_offset=0.1 * top,
        read_noise=0.0005 * top,
        electrons_per_count=max(1.0, 2_000_000 / top),
        fades_nm=830.0,
    )

    def make(seed: int, pace: float) -> SimulatedLines:
        bench = Bench(
            wavelengths,
            detector,
            seed=seed,
            pace=pace,
            has_lamp=name == "multispeq",
        )
        return _DEVICES[name](bench, profile)

    return make

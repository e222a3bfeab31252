"""Spectral Engines NIRONE Sensor S and X: a tunable filter between 1.1 and 2.45 um, by model.

Commands are ASCII, spectra are binary floats. The protocol is reconstructed from two open drivers,
because no document of the maker was at hand. The drivers disagree on the byte order of the floats,
so the order is found by plausibility: the numbers must be sensible counts in one order and not in
the other. `info.firmware` says which was found; `byteorder=big` or `byteorder=little` in the URL
settles it. The floats have no checksum, so they are read twice and must be equal. Of a reply
"label: value" only the value is used, and the reply to a setting must end in the value that was
set.

Not verified on an instrument: that settings are answered in this way; that every line ends in CR LF
and not in CR alone; the texts of errors; the saturation level (`saturation=N` in the URL; 65535 is
assumed); the exposure, which is left to the instrument; and everything in which Sensor X differs.
"""

from __future__ import annotations

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind, Settings
from ccnvr.firmware_bridge.polled.exchange import Denied, Garbled, Trouble
from ccnvr.firmware_bridge.polled.instrument import (
    PolledInstrument,
    Reading,
    boot,
    floats,
    read_twice,
)
from ccnvr.firmware_bridge.transport import Transport
from ccnvr.firmware_bridge.url_options import number

MOST_POINTS = 512
READY = "Measurement ready"
# NumPy layouts of the floats, by the words that the URL uses.
ORDERS = {"big": ">f4", "little": "<f4"}
_LINE = 200
# Magnitudes between which counts of any detector lie.
_LARGEST, _SMALLEST = 1e8, 1e-3


class Nirone(PolledInstrument):
    """A NIRONE sensor over `transport`.

    `points` wavelengths are spread evenly over its range; 0 asks for as many as the sensor has.
    """

    averages_itself = True

    def __init__(
        self,
        transport: Transport,
        timeout_s: float,
        points: int = 0,
        saturation: int = 65_535,
        order: str | None = None,
    ) -> None:
        super().__init__(transport, timeout_s)
        # Resynchronising loads a table of up to 512 wavelengths, each with a command of its own.
        self.exchange.wake_s = 5.0
        self._points, self._saturation = points, saturation
        self._order = order
        self._stated = order is not None

    def _identify(self) -> InstrumentInfo:
        model, serial = self._command("h0"), self._command("h2")
        low, high = self._value("h3"), self._value("h4")
        points = self._points or int(self._value("m"))
        # Everything that bounds later work is checked before it is used.
        if not 2 <= points <= MOST_POINTS or not 0.0 < low < high < 10_000.0:
            raise Garbled(f"it states {points} points from {low} to {high} nm")
        # The commands have one decimal, so these are the wavelengths that the sensor really uses.
        self._table = np.round(np.linspace(low, high, points), 1)
        self._load_table()
        milliseconds = self._value("E0")
        # Limited, so that a damaged reply cannot make the driver wait for hours.
        own_us = max(1, min(int(1_000 * milliseconds), 2**31))
        order = self._order or self._tell_order(own_us / 1e6)
        self._order = order
        how = "stated" if self._stated else "by plausibility"
        return InstrumentInfo(
            model=model,
            serial=serial,
            firmware=f"{self._command('i')}, {order}-endian floats ({how})",
            boot=boot(),
            counts_starts=False,
            wavelengths_nm=self._table,
            saturation_counts=self._saturation,
            shortest_integration_us=own_us,
            longest_integration_us=own_us,
            most_averages=1_000,
        )

    def _load_table(self) -> None:
        for index, wavelength in enumerate(self._table):
            self._set(f"W{index},{wavelength:.1f}", f"{wavelength:.1f}")

    def _tell_order(self, busy_s: float) -> str:
        # V sets the points and the averages, LI the lamp in per cent, and XM measures.
        self._set(f"V{self._table.size},1", "1")
        self._set("LI100", "100")
        self._measure(busy_s)
        return tell_order(self._floats_twice())

    def _apply(self, settings: Settings) -> Settings:
        self._set(f"V{self.info.wavelengths_nm.size},{settings.averages}", str(settings.averages))
        return super()._apply(settings)

    def _expose(self, kind: ScanKind, light_s: float) -> Reading:
        light = "0" if kind is ScanKind.DARK else "100"
        self._set(f"LI{light}", light)
        self._measure(light_s)
        # Compared as numbers and not as bytes, so that a NaN never equals itself and is refused.
        values = read_twice(lambda: floats(self._floats(), ORDERS[str(self._order)]))
        if not np.all(np.abs(values) < _LARGEST):
            raise Garbled("values arrived that no detector gives")
        return Reading(values, self._value("St"))

    def _measure(self, busy_s: float) -> None:
        if READY not in (reply := self._command("XM", busy_s)):
            raise Garbled(f"{reply[:40]!r} arrived instead of {READY!r}")

    def _floats(self) -> bytes:
        """Return the bytes of the floats.

        They are read by number and not by line, because a byte of a float may look like a line end.
        """
        self.exchange.send(f"Xm0,{self._table.size}\r".encode())
        return self.exchange.read_exactly(4 * self._table.size)

    def _floats_twice(self) -> bytes:
        return read_twice(lambda: np.frombuffer(self._floats(), np.uint8)).tobytes()

    def _wake(self) -> None:
        # An empty line ends a command that may have arrived only in part.
        self.exchange.transport.write(b"\r")
        self.exchange.settle()
        self._command("!")
        if self._info is not None:
            self._load_table()

    def _command(self, command: str, busy_s: float = 0.0) -> str:
        """Return the value in the line of the reply."""
        self.exchange.send(command.encode() + b"\r")
        line = self.exchange.read_until(b"\r\n", _LINE, busy_s)
        try:
            text = line.decode("ascii")
        except UnicodeDecodeError:
            raise Garbled(f"unexpected answer {line[:40]!r} to {command}") from None
        if not text.isprintable():
            raise Garbled(f"unexpected answer {text[:40]!r} to {command}")
        if text.lower().startswith("error"):
            raise Denied(f"it answered {command} with {text[:80]!r}")
        return text.partition(":")[2].strip() if ":" in text else text.strip()

    def _set(self, command: str, value: str) -> None:
        """Send a setting.

        The reply must end in the value, because nothing else guards the command on its way.
        """
        if not (reply := self._command(command)).endswith(value):
            raise Garbled(f"unexpected answer {reply[:40]!r} to {command}")

    def _value(self, command: str) -> float:
        reply = self._command(command)
        try:
            return float(reply.split()[0])
        except (ValueError, IndexError):
            raise Garbled(f"{reply[:40]!r}, the answer to {command}, is not a number") from None


def tell_order(data: bytes) -> str:
    """Return the byte order in which `data` are counts.

    Raises:
        Denied: both orders make sense, or neither does.
    """
    sensible = [name for name, layout in ORDERS.items() if _sensible(floats(data, layout))]
    if len(sensible) != 1:
        raise Denied(
            "the byte order of its numbers cannot be determined; add byteorder=big or "
            "byteorder=little to its URL"
        )
    return sensible[0]


def _sensible(values: Array) -> bool:
    """Return whether the values look like counts.

    Counts are finite and of similar magnitude, while a float read in the wrong order may be
    anything.
    """
    if not np.any(values):
        return False
    with np.errstate(invalid="ignore"):
        # A float read in the wrong order has a random exponent, so its magnitude gives it away. Up
        # to 1 % of odd values are allowed, such as those of dead pixels.
        fitting = (values == 0.0) | ((np.abs(values) > _SMALLEST) & (np.abs(values) < _LARGEST))
    return bool(np.all(np.isfinite(values)) and np.mean(fitting) > 0.99)


def create(transport: Transport, options: dict[str, str], timeout_s: float) -> Nirone:
    """Return a driver over `transport`.

    The options are `points`, `saturation` (counts) and `byteorder` (big or little).
    """
    order = options.get("byteorder")
    if order is not None and order not in ORDERS:
        raise UsageError(f"byteorder={order} is neither big nor little; correct the URL")
    points = int(number(options, "points", 0, 0, MOST_POINTS))
    return Nirone(
        transport, timeout_s, points, int(number(options, "saturation", 65_535, 1, _LARGEST)), order
    )


def probe(transport: Transport, timeout_s: float) -> str | None:
    """Return the sensor type of what answers like a NIRONE; None if nothing does."""
    sensor = Nirone(transport, timeout_s)
    try:
        # An empty line first, so that the rest of an earlier question does not spoil this one.
        transport.write(b"\r")
        sensor.exchange.settle()
        sensor.exchange.send(b"h0\r")
        line = sensor.exchange.read_until(b"\r\n", _LINE).decode("ascii", errors="replace")
    except Trouble:
        return None
    label, colon, value = line.partition(":")
    return (
        f"NIRONE, {value.strip()}"
        if colon and "sensor" in label.lower() and value.isprintable()
        else None
    )

"""Ocean Optics instruments with the older letter commands over RS-232.

These are USB2000, USB2000+, USB4000, HR, Flame-S and Flame-T. A command is one letter followed by
big-endian words. A spectrum comes between 0xFFFF and 0xFFFD, with the settings that it was taken
with, which must be those asked for. The wavelengths are computed from the coefficients on the
instrument's calibration sheet (`coefficients=339.7,0.37,-1.5e-5,-2.1e-9` in the URL), because it is
not documented how the letter x returns them; `pixels=3648` is for a USB4000, and `serial=` tells
instruments apart. The formula of the checksum is not documented either, so it stays off and each
scan is taken twice: the two must agree within 2 % of saturation.

Not verified on an instrument: that v and settings are answered by ACK first, and the codes of other
baud rates; 9600 is used.
"""

from __future__ import annotations

import struct

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind, Settings
from ccnvr.firmware_bridge.polled.exchange import Denied, Garbled, Trouble
from ccnvr.firmware_bridge.polled.instrument import (
    MOST_PIXELS,
    PolledInstrument,
    Reading,
    boot,
    scan_twice,
    wavelengths_nm,
)
from ccnvr.firmware_bridge.transport import Transport
from ccnvr.firmware_bridge.url_options import number, numbers

# ASCII control characters that frame an answer.
ACK, NAK, STX, ETX = b"\x06", b"\x15", b"\x02", b"\x03"
START, END = 0xFFFF, 0xFFFD
# The fields are: start, 1 for double words, scans added, integration time in ms, baseline (two
# words), pixel mode.
HEADER = struct.Struct(">7H")
SATURATION = 65_535
# The instrument adds up at most 15 scans in one acquisition.
MOST_ADDED = 15
_TWICE_TOLERANCE = 0.02


class OceanLetters(PolledInstrument):
    """An older Ocean instrument over `transport`."""

    averages_itself = True

    def __init__(
        self,
        transport: Transport,
        timeout_s: float,
        coefficients: list[float],
        pixels: int,
        serial: str,
    ) -> None:
        super().__init__(transport, timeout_s)
        self._coefficients, self._pixels, self._serial = coefficients, pixels, serial

    def _identify(self) -> InstrumentInfo:
        version = read_version(self)
        return InstrumentInfo(
            model="Ocean Optics (letter commands)",
            serial=self._serial,
            firmware=f"{version / 1000:.2f}",
            boot=boot(),
            counts_starts=False,
            wavelengths_nm=wavelengths_nm(self._pixels, self._coefficients),
            saturation_counts=SATURATION,
            shortest_integration_us=3_000,
            longest_integration_us=65_535_000,
            most_averages=MOST_ADDED,
        )

    def _apply(self, settings: Settings) -> Settings:
        milliseconds = settings.integration_us // 1_000
        self._set(b"I", milliseconds)
        self._set(b"A", settings.averages)
        return Settings(1_000 * milliseconds, settings.averages)

    def _expose(self, kind: ScanKind, light_s: float) -> Reading:
        self._set(b"J", int(kind is not ScanKind.DARK))
        return Reading(scan_twice(lambda: self._spectrum(light_s), _TWICE_TOLERANCE * SATURATION))

    def _spectrum(self, light_s: float) -> Array:
        assert self._settings is not None
        self.exchange.send(b"S")
        first = self.exchange.read_exactly(1, light_s)
        if first == ETX:
            raise Denied("it has no memory for the scan; ask for fewer averages")
        wide = self._settings.averages > 1
        size = HEADER.size + self._pixels * (4 if wide else 2) + 2
        if first != STX:
            raise Garbled(f"byte 0x{first.hex()} arrived instead of the start of a spectrum")
        return parse_spectrum(self.exchange.read_exactly(size), self._pixels, self._settings)

    def _wake(self) -> None:
        # Zeros serve as the data of a command that may still wait for them. Then follow binary
        # mode, all pixels, no checksum and no compression.
        self.exchange.transport.write(b"\0\0\0\0")
        self.exchange.settle()
        self.exchange.send(b"bB")
        self.exchange.settle()
        for letter in (b"P", b"k", b"G", b"T"):
            self._set(letter, 0)

    def _set(self, letter: bytes, value: int) -> None:
        self.exchange.send(letter + value.to_bytes(2, "big"))
        reply = self.exchange.read_exactly(1)
        if reply == NAK:
            raise Denied(f"it refused {letter.decode()} with {value}")
        if reply != ACK:
            raise Garbled(f"unexpected answer 0x{reply.hex()} to command {letter.decode()}")


def read_version(instrument: PolledInstrument) -> int:
    """Return the firmware's version in thousandths.

    Raises:
        Trouble: no version arrived.
    """
    instrument.exchange.send(b"v")
    reply = instrument.exchange.read_exactly(3)
    version = int.from_bytes(reply[1:], "big")
    if reply[:1] != ACK or not 100 <= version < 20_000:
        raise Garbled(f"unexpected answer {reply.hex()} to command v")
    return version


def parse_spectrum(data: bytes, pixels: int, settings: Settings) -> Array:
    """Return the counts `(pixels,)` in the stream behind STX, the mean of the scans added up.

    Raises:
        Garbled: it is not a spectrum, or was taken with other settings.
    """
    # Scans are added up in the instrument, in double words if there are several.
    wide = settings.averages > 1
    expected = (START, int(wide), settings.averages, settings.integration_us // 1_000, 0, 0, 0)
    if len(data) != HEADER.size + pixels * (4 if wide else 2) + 2:
        raise Garbled(f"{len(data)} bytes are not a spectrum of {pixels} pixels")
    found = HEADER.unpack_from(data)
    if (*found[:4], found[6]) != (*expected[:4], expected[6]) or int.from_bytes(
        data[-2:], "big"
    ) != END:
        raise Garbled(f"a spectrum with header {found} arrived instead of {expected}")
    return (
        np.frombuffer(data[HEADER.size : -2], ">u4" if wide else ">u2").astype(np.float64)
        / settings.averages
    )


def create(transport: Transport, options: dict[str, str], timeout_s: float) -> OceanLetters:
    """Return a driver over `transport`; the options are `coefficients`, `pixels` and `serial`."""
    coefficients = numbers(options, "coefficients")
    if coefficients is None or not 2 <= len(coefficients) <= 8:
        raise UsageError(
            "driver ooi needs coefficients=C0,C1,C2,C3 in the URL; copy them from the instrument's "
            "calibration sheet"
        )
    pixels = int(number(options, "pixels", 2_048, 2, MOST_PIXELS))
    return OceanLetters(transport, timeout_s, coefficients, pixels, options.get("serial") or "OOI")


def probe(transport: Transport, timeout_s: float) -> str | None:
    """Return the firmware version of what answers the letter v; None if nothing does."""
    instrument = OceanLetters(transport, timeout_s, [0.0, 1.0], 2, "OOI")
    try:
        # Another driver's question may have ended in a letter that waits for its data: two zeros
        # complete it.
        transport.write(b"\0\0")
        instrument.exchange.settle()
        return f"Ocean Optics (letter commands), firmware {read_version(instrument) / 1000:.2f}"
    except Trouble:
        return None

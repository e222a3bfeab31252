"""Ocean instruments with the Ocean Binary Protocol (OBP) over RS-232 or UART.

These are STS, Flame and HDX (protocol versions 0x1100 and 0x1000), SR and ST (0x2000). Replies must
carry an MD5, and one that does not match is rejected and asked for again; if a device refuses to
send MD5, each scan is taken twice instead. The port is opened at the instrument's 9600 baud, which
is raised first (`fast_baud=115200` in the URL; `fast_baud=0` leaves it), because at 9600 baud one
spectrum takes two seconds. Nothing is saved in the instrument.

Not verified on an instrument: which rates it offers, and that the acknowledgement is sent at the
old rate; that SET_CHECKSUM_TYPE takes one byte; the width of the saturation level; the 32 bytes
before a 0x2000 spectrum (skipped); and the integration limits of 0x2000, which are left to the
instrument. The commands are those of Ocean's data sheets and of python-seabreeze's tables.
"""

from __future__ import annotations

import secrets
import struct
from contextlib import suppress

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.framing import SlidingDecoder
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind, Settings
from ccnvr.firmware_bridge.polled.exchange import Denied, Garbled, Silent, Trouble
from ccnvr.firmware_bridge.polled.instrument import (
    MOST_PIXELS,
    PolledInstrument,
    Reading,
    boot,
    floats,
    restarted,
    scan_twice,
    wavelengths_nm,
)
from ccnvr.firmware_bridge.polled.obp_frames import (
    ACK_WANTED,
    NACK,
    VERSIONS,
    ObpMessage,
    encode,
    next_message,
)
from ccnvr.firmware_bridge.transport import Transport
from ccnvr.firmware_bridge.url_options import number

# The rate after power-on, and the one that the driver raises it to.
SLOW_BAUD, FAST_BAUD = 9_600, 115_200

# Types of messages of the first generation, 0x1000 and 0x1100.
SERIAL, FIRMWARE, CHECKSUM_TYPE = 0x100, 0x90, 0x10
SET_BAUD = 0x810
SPECTRUM, SATURATION = 0x101100, 0x1010A0
INTEGRATION, SHORTEST, LONGEST, SET_INTEGRATION = 0x110000, 0x110001, 0x110002, 0x110010
LAMP, AVERAGES, SET_AVERAGES = 0x110410, 0x120000, 0x120010
COEFFICIENT_COUNT, COEFFICIENT, TEMPERATURE = 0x180100, 0x180101, 0x400001
PIXELS = 0x110220
# The second generation, 0x2000, has other numbers for the same messages.
SET_INTEGRATION_2, COEFFICIENTS_2, SPECTRUM_2, SATURATION_2 = 0xC01, 0x1100, 0x1C00, 0x11D00
# Bytes that precede a 0x2000 spectrum.
METADATA_2 = 32

# Numbers of errors.
_BAD_PROTOCOL, _UNKNOWN, _BAD_CHECKSUM, _NO_SUCH_CHECKSUM, _DEFERRED = 1, 2, 3, 8, 255
_TWICE_TOLERANCE = 0.02
"""By how much two scans without a checksum may differ, as a share of saturation."""


class _Unknown(Denied):
    """The device does not know the message."""


class OceanBinary(PolledInstrument):
    """An Ocean instrument over `transport`."""

    def __init__(
        self,
        transport: Transport,
        timeout_s: float,
        fast: int = FAST_BAUD,
        saturation: int | None = None,
    ) -> None:
        super().__init__(transport, timeout_s)
        self._fast = 0 if transport.baud is None else fast
        # An earlier host may have raised the rate, so both are tried; over TCP there is none.
        self._rates = [SLOW_BAUD, fast] if self._fast else [0]
        self._stated_saturation = saturation
        self._rate = self._rates[0]
        self._version, self._protected = VERSIONS[0], False
        self._heard_protected = False
        self._regarding = secrets.randbits(32)
        self._serial = ""
        self._lamp: bool | None = None

    def _identify(self) -> InstrumentInfo:
        second = self._version == 0x2000
        self.averages_itself = not second
        saturation = self._stated_saturation or self._saturation(
            SATURATION_2 if second else SATURATION
        )
        if second:
            # The first value of the reply is not a coefficient.
            coefficients = floats(self._ask(COEFFICIENTS_2), "<f4")[1:]
            pixels = (len(self._ask(SPECTRUM_2)) - METADATA_2) // 2
            shortest, longest, firmware = 1, 2**31, ""
        else:
            count = self._integer(COEFFICIENT_COUNT)
            # The count is limited in case the reply was damaged on its way.
            coefficients = np.array([self._float(COEFFICIENT, i) for i in range(min(count, 8))])
            pixels = self._integer(PIXELS)
            shortest, longest = self._integer(SHORTEST), self._integer(LONGEST)
            firmware = f"{self._integer(FIRMWARE):x}"
        if not 2 <= pixels <= MOST_PIXELS or coefficients.size < 2:
            raise Garbled(
                f"it states {pixels} pixels and {coefficients.size} wavelength coefficients"
            )
        return InstrumentInfo(
            model=f"Ocean OBP 0x{self._version:04x}",
            serial=self._serial,
            firmware=firmware,
            boot=boot(),
            counts_starts=False,
            wavelengths_nm=wavelengths_nm(pixels, coefficients.tolist()),
            saturation_counts=saturation,
            shortest_integration_us=shortest,
            longest_integration_us=longest,
            most_averages=5_000,
        )

    def _apply(self, settings: Settings) -> Settings:
        integration = struct.pack("<I", settings.integration_us)
        if self._version == 0x2000:
            self._set(SET_INTEGRATION_2, integration)
            return settings
        self._set(SET_INTEGRATION, integration)
        self._set(SET_AVERAGES, struct.pack("<H", settings.averages))
        # Read back, because a device may limit a value that it acknowledges.
        found = (self._integer(INTEGRATION), self._integer(AVERAGES))
        if found != (settings.integration_us, settings.averages):
            raise Garbled(
                f"it was set to {settings}, but states {found[0]} us and {found[1]} averages"
            )
        return settings

    def _holds_settings(self) -> bool:
        # The second generation has no message that states them.
        if self._version == 0x2000 or self._settings is None:
            return True
        found = Settings(self._integer(INTEGRATION), self._integer(AVERAGES))
        return found == self._settings

    def _expose(self, kind: ScanKind, light_s: float) -> Reading:
        self._switch_lamp(kind is not ScanKind.DARK)
        if self._protected:
            return Reading(self._spectrum(light_s), self._temperature())
        # Without MD5 nothing guards a spectrum on its way.
        tolerance = _TWICE_TOLERANCE * self.info.saturation_counts
        return Reading(scan_twice(lambda: self._spectrum(light_s), tolerance), self._temperature())

    def _spectrum(self, light_s: float) -> Array:
        if self._version == 0x2000:
            data = self._ask(SPECTRUM_2, busy_s=light_s)[METADATA_2:]
        else:
            data = self._ask(SPECTRUM, busy_s=light_s)
        if len(data) != 2 * self.info.wavelengths_nm.size:
            raise Garbled(f"a spectrum of {len(data)} bytes arrived")
        return np.frombuffer(data, dtype="<u2").astype(np.float64)

    def _temperature(self) -> float:
        try:
            return self._float(TEMPERATURE, 0)
        except _Unknown:
            return float("nan")

    def _switch_lamp(self, on: bool) -> None:
        """Switch the lamp.

        An instrument without a lamp does not know the message, which is not an error.
        """
        # Switching takes a message of its own, which most scans do not need.
        if self._lamp is not on:
            try:
                self._set(LAMP, bytes([on]))
            except _Unknown:
                self._lamp = on
            self._lamp = on

    def _saturation(self, message: int) -> int:
        try:
            return self._integer(message)
        except _Unknown:
            raise InstrumentError(
                "the instrument does not state how many counts saturate it; add saturation=N from "
                "its data sheet to the URL"
            ) from None

    def _wake(self) -> None:
        """Find the device's rate and version, make it send MD5, and raise the rate."""
        # A device that lost its power has forgotten all three.
        protected_before, self._lamp, self._protected = self._protected, None, False
        rate = next((rate for rate in self._rates if self._meet(rate)), None)
        if rate is None:
            raise Silent(
                "no OBP device answers at "
                f"{' or '.join(map(str, self._rates)) if self._fast else 'this'} baud"
            )
        if self._info is not None and (
            rate != self._rate or (protected_before and not self._heard_protected)
        ):
            raise restarted(self._info.model, "it has forgotten its baud rate or its checksums")
        try:
            self._set(CHECKSUM_TYPE, b"\1")
            self._protected = True
        except Denied:
            self._protected = False
        self._rate = self._raise_rate() if rate != self._rates[-1] else rate

    def _meet(self, rate: int) -> bool:
        """Return whether the device answers at this rate; note its version and serial number."""
        self._retune(rate)
        for version in VERSIONS:
            self._version = version
            # A device that speaks another version answers with a refusal, which is Trouble too.
            with suppress(Trouble):
                self._serial = _text(self._ask(SERIAL))
                return True
        return False

    def _raise_rate(self) -> int:
        """Raise the rate if the device can do so, and return the rate in force."""
        try:
            self._set(SET_BAUD, struct.pack("<I", self._fast))
        except Denied:
            return SLOW_BAUD
        self._retune(self._fast)
        # The new rate counts only once the device has answered at it.
        self._ask(SERIAL)
        return self._fast

    def _retune(self, rate: int) -> None:
        if self._fast:
            self.exchange.transport.set_baud(rate)

    def _set(self, message: int, data: bytes) -> None:
        self._ask(message, data, ACK_WANTED)

    def _integer(self, message: int) -> int:
        data = self._ask(message)
        if not 1 <= len(data) <= 4:
            raise Garbled(f"message 0x{message:08x} has {len(data)} bytes, no integer")
        return int.from_bytes(data, "little")

    def _float(self, message: int, index: int) -> float:
        data = self._ask(message, bytes([index]))
        if len(data) != 4:
            raise Garbled(f"message 0x{message:08x} has {len(data)} bytes, no float")
        return float(struct.unpack("<f", data)[0])

    def _ask(self, message: int, data: bytes = b"", flags: int = 0, busy_s: float = 0.0) -> bytes:
        self._regarding = (self._regarding + 1) % 2**32
        self.exchange.send(
            encode(ObpMessage(message, self._regarding, data, flags, version=self._version))
        )

        def wanted(reply: ObpMessage) -> bool:
            return (
                reply.regarding == self._regarding
                and reply.type == message
                # A busy device first answers that the reply is deferred; the reply itself follows.
                and reply.error != _DEFERRED
            )

        reply = self.exchange.read_frame(SlidingDecoder(next_message), wanted, busy_s)
        self._heard_protected = reply.protected
        if self._protected and not reply.protected:
            raise Garbled("a reply without its MD5 arrived")
        if reply.error == _BAD_CHECKSUM:
            raise Garbled("the instrument received a damaged request")
        if reply.error == _UNKNOWN:
            raise _Unknown(f"it does not know message 0x{message:08x}")
        if reply.error or reply.flags & NACK:
            raise Denied(f"the instrument refused message 0x{message:08x} with error {reply.error}")
        return reply.data


def _text(data: bytes) -> str:
    text = data.partition(b"\0")[0].decode("ascii", errors="replace").strip()
    if not text or not text.isprintable() or not text.isascii():
        raise Garbled(f"{text!r} is not a serial number")
    return text


def create(transport: Transport, options: dict[str, str], timeout_s: float) -> OceanBinary:
    """Return a driver over `transport`.

    The options are `fast_baud` (baud; 0 leaves the rate) and `saturation` (counts).
    """
    fast = int(number(options, "fast_baud", FAST_BAUD, 0, 12_000_000))
    saturation = int(number(options, "saturation", 0, 0, 2**32 - 1))
    return OceanBinary(transport, timeout_s, fast, saturation or None)


def probe(transport: Transport, timeout_s: float) -> str | None:
    """Return the serial number of an OBP device at this rate; None if none answers."""
    decoder = SlidingDecoder(next_message)
    # Without MD5 and regarding nothing, the message holds no byte that a device with single-letter
    # commands could take for one.
    transport.write(encode(ObpMessage(SERIAL, protected=False)))
    while data := transport.read(timeout_s):
        for event in decoder.feed(data):
            if isinstance(event, ObpMessage):
                return f"OBP device, serial number {event.data.decode('ascii', errors='replace')!r}"
    return None

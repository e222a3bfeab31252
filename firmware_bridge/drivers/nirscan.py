"""TI DLP NIRscan Nano and its relatives (INNO-SPECTRA NIR-S-G1, R11 ...), 900-1700 nm, over UART.

A scan is taken, then interpreted by the instrument, and then read as file type 8, which holds the
wavelength and intensity of each band. Wavelengths come only with a scan, so identifying the
instrument takes one. The exposure is that of the scan configuration stored in the instrument; only
the number of repeats is set here. The firmware drops a frame whose bytes lie more than a
millisecond apart, so each frame is sent in one write. The checksum is a plain sum, so a file is
read twice and both must be equal.

Not verified on an instrument: that the saturation level of its 24-bit converter is 2^23 - 1
whatever the gain, and that command 0237 gives milliseconds. UART must be compiled into the firmware
(ENABLE_UART_COMMAND_INTERFACE).
"""

from __future__ import annotations

import struct
import time

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.framing import SlidingDecoder
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind, Settings
from ccnvr.firmware_bridge.polled.exchange import Denied, Garbled, Silent
from ccnvr.firmware_bridge.polled.instrument import PolledInstrument, Reading, boot
from ccnvr.firmware_bridge.polled.nirscan_frames import READ, WRITE, Packet, encode, next_packet
from ccnvr.firmware_bridge.transport import Transport

# Commands, by the names of the firmware's NNOCommandDefs.h.
VERSIONS, SERIAL, MODEL = 0x0216, 0x0233, 0x023C
SCAN_TIME, SET_REPEATS, LAMP = 0x0237, 0x022E, 0x0225
SCAN, SCAN_STATUS, INTERPRET, INTERPRET_STATUS = 0x0218, 0x0219, 0x0239, 0x023A
FILE_SIZE, FILE_DATA, INTERPRETED = 0x002D, 0x002E, 8
TEMPERATURE = 0x0300
MOST_BANDS = 864
# File type 8 holds a count and then one such record for each band.
BAND = np.dtype([("nm", "<f8"), ("intensity", "<i4")])
# The converter has 24 bits, one of them for the sign.
SATURATION = 2**23 - 1

_POLL_S = 0.02


class NirscanNano(PolledInstrument):
    """A NIRscan Nano over `transport`."""

    averages_itself = True
    identify_busy_s = 10.0

    def __init__(self, transport: Transport, timeout_s: float) -> None:
        super().__init__(transport, timeout_s)
        self._sequence = 0

    def _identify(self) -> InstrumentInfo:
        versions = self._ask(VERSIONS)
        serial, model = _text(self._ask(SERIAL)), _text(self._ask(MODEL))
        (milliseconds,) = self._unpack("<I", SCAN_TIME)
        # Limited, so that a damaged reply cannot make the driver wait for hours.
        own_us = max(1, min(milliseconds * 1_000, 2**31))
        wavelengths, _ = self._measure(own_us / 1e6)
        return InstrumentInfo(
            model=model,
            serial=serial,
            # The version of the firmware comes first, its lowest part in front.
            firmware=".".join(str(byte) for byte in versions[2::-1]),
            boot=boot(),
            counts_starts=False,
            wavelengths_nm=wavelengths,
            saturation_counts=SATURATION,
            shortest_integration_us=own_us,
            longest_integration_us=own_us,
            most_averages=1_000,
        )

    def _apply(self, settings: Settings) -> Settings:
        self._ask(SET_REPEATS, struct.pack("<H", settings.averages), WRITE)
        return super()._apply(settings)

    def _expose(self, kind: ScanKind, light_s: float) -> Reading:
        # 1 leaves the lamp to the scan, 0 holds it off: for a dark scan it must not come on.
        self._ask(LAMP, bytes([kind is not ScanKind.DARK]), WRITE)
        wavelengths, intensities = self._measure(light_s)
        if not np.array_equal(wavelengths, self.info.wavelengths_nm):
            raise Garbled("the scan has other wavelengths than the instrument stated at first")
        (centi,) = self._unpack("<i", TEMPERATURE)
        return Reading(intensities, centi / 100.0)

    def _measure(self, busy_s: float) -> tuple[Array, Array]:
        """Take a scan, have it interpreted, read it twice, and return what it holds."""
        self._ask(SCAN, b"\0", WRITE)
        self._await(SCAN_STATUS, busy_s)
        self._ask(INTERPRET, b"", WRITE)
        self._await(INTERPRET_STATUS, busy_s)
        content = self._file(INTERPRETED)
        if self._file(INTERPRETED) != content:
            raise Garbled("two readings of the same file differ")
        return parse_interpreted(content)

    def _await(self, status: int, busy_s: float) -> None:
        """Ask until the status is 1, done."""
        deadline = time.monotonic() + busy_s + 2.0 * self.exchange.timeout_s
        # The firmware does not announce the end of a scan.
        while self._unpack("<B", status) != (1,):
            if time.monotonic() > deadline:
                raise Silent("the scan did not end in time")
            time.sleep(min(_POLL_S, self.exchange.timeout_s))

    def _file(self, kind: int) -> bytes:
        (size,) = self._unpack("<I", FILE_SIZE, bytes([kind]))
        # Checked before anything is read, because the size bounds the loop below.
        if not 4 + BAND.itemsize <= size <= 4 + MOST_BANDS * BAND.itemsize:
            raise Garbled(f"file type {kind} has {size} bytes")
        content = b""
        while len(content) < size:
            part = self._ask(FILE_DATA)
            if not part:
                raise Garbled(f"file type {kind} ended after {len(content)} of {size} bytes")
            content += part
        if len(content) != size:
            raise Garbled(f"file type {kind} has {len(content)} bytes, but states {size}")
        return content

    def _unpack(self, layout: str, command: int, data: bytes = b"") -> tuple[int, ...]:
        reply = self._ask(command, data)
        if len(reply) != struct.calcsize(layout):
            raise Garbled(f"command {command:04x} gave {len(reply)} bytes")
        return struct.unpack(layout, reply)

    def _ask(self, command: int, data: bytes = b"", flags: int = READ) -> bytes:
        self._sequence = (self._sequence + 1) % 256
        self.exchange.send(encode(Packet(command, self._sequence, data, flags)))
        reply = self.exchange.read_frame(
            # A new decoder for each reply: the rest of an earlier one must not delay this one.
            SlidingDecoder(next_packet),
            lambda packet: (packet.command, packet.sequence) == (command, self._sequence),
        )
        if reply.response:
            raise Denied(
                f"it answered command {command:04x} with "
                f"{'an error' if reply.response == 1 else 'busy'}"
            )
        return reply.data


def parse_interpreted(content: bytes) -> tuple[Array, Array]:
    """Return the wavelengths in nm and the intensities in file type 8, each `(bands,)`.

    Raises:
        Garbled: it is not such a file.
    """
    (count,) = struct.unpack_from("<i", content) if len(content) >= 4 else (-1,)
    if not 1 <= count <= MOST_BANDS or len(content) != 4 + count * BAND.itemsize:
        raise Garbled(f"file type 8 states {count} bands in {len(content)} bytes")
    bands = np.frombuffer(content, dtype=BAND, offset=4)
    return bands["nm"].astype(np.float64), bands["intensity"].astype(np.float64)


def _text(data: bytes) -> str:
    text = data.partition(b"\0")[0].decode("ascii", errors="replace").strip()
    if not text or not text.isprintable():
        raise Garbled(f"{text!r} is not a name")
    return text


def create(transport: Transport, options: dict[str, str], timeout_s: float) -> NirscanNano:
    """Return a driver over `transport`; it has no options."""
    return NirscanNano(transport, timeout_s)


def probe(transport: Transport, timeout_s: float) -> str | None:
    """Return the model that a NIRscan Nano states; None if none answers."""
    decoder = SlidingDecoder(next_packet)
    transport.write(encode(Packet(MODEL)))
    while data := transport.read(timeout_s):
        for event in decoder.feed(data):
            if isinstance(event, Packet) and event.command == MODEL:
                return (
                    "NIRscan, model "
                    f"{event.data.partition(bytes(1))[0].decode('ascii', errors='replace')!r}"
                )
    return None

"""A simulated NIRscan Nano: 228 bands from 901 to 1701 nm behind its UART frames."""

from __future__ import annotations

import struct

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.drivers import nirscan as nano
from ccnvr.firmware_bridge.framing import Damage, SlidingDecoder
from ccnvr.firmware_bridge.polled.nirscan_frames import Packet, encode, next_packet
from ccnvr.firmware_bridge.simulators.bench import Bench, Detector, SimulatedDevice

WAVELENGTHS = np.linspace(901.0, 1_701.0, 228)
_SCAN_MS = 10
# The data of one packet: a payload of 512 bytes without the command.
_READ_SIZE = 510


class SimulatedNirscan(SimulatedDevice):
    """A simulated NIRscan Nano, which knows the commands that a driver needs."""

    def reset(self) -> None:
        """Restart."""
        self._decoder = SlidingDecoder(next_packet)
        self._repeats, self._lamp = 1, True
        self._file, self._unread = b"", b""
        self._scanned: Array | None = None

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`."""
        packets = (event for event in self._decoder.feed(data) if not isinstance(event, Damage))
        return b"".join(self._answer(packet) for packet in packets)

    def _answer(self, request: Packet) -> bytes:
        try:
            data, flags = self._carry_out(request.command, request.data), request.flags
        except (ValueError, struct.error, IndexError):
            # The response bits of an error.
            data, flags = b"", request.flags | 0x10
        return encode(Packet(request.command, request.sequence, data, flags))

    def _carry_out(self, command: int, data: bytes) -> bytes:
        stated = {
            nano.VERSIONS: bytes([3, 4, 2, 0]),
            nano.SERIAL: b"5490010\0",
            nano.MODEL: b"DLPNIRNANO".ljust(16, b"\0"),
            nano.SCAN_TIME: struct.pack("<I", _SCAN_MS),
            # A simulated scan is over before SCAN is answered, so both statuses are always "done".
            nano.SCAN_STATUS: b"\1",
            nano.INTERPRET_STATUS: b"\1",
            nano.TEMPERATURE: struct.pack("<i", round(100 * self.bench.temperature_c)),
        }
        return stated[command] if command in stated else self._work(command, data)

    def _work(self, command: int, data: bytes) -> bytes:
        match command:
            case nano.SET_REPEATS:
                (self._repeats,) = struct.unpack("<H", data)
            case nano.LAMP:
                self._lamp = bool(data[0])
            case nano.SCAN:
                self._scanned = self.bench.expose(_SCAN_MS * 1_000, self._repeats, lamp=self._lamp)
            case nano.INTERPRET if self._scanned is not None:
                bands = np.zeros(WAVELENGTHS.size, nano.BAND)
                bands["nm"], bands["intensity"] = WAVELENGTHS, self._scanned
                self._file = struct.pack("<i", WAVELENGTHS.size) + bands.tobytes()
            case nano.FILE_SIZE if data == bytes([nano.INTERPRETED]) and self._file:
                # Asking for the size starts the file again, which is how a driver reads it twice.
                self._unread = self._file
                return struct.pack("<I", len(self._file))
            case nano.FILE_DATA:
                part, self._unread = self._unread[:_READ_SIZE], self._unread[_READ_SIZE:]
                return part
            case _:
                raise ValueError
        return b""


def make(seed: int, pace: float) -> SimulatedNirscan:
    """Return the simulator of driver `nirscan`."""
    detector = Detector(
        saturation=nano.SATURATION,
        white_rate=500.0,
        dark_rate=1.0,
        dark_offset=20_000.0,
        read_noise=60.0,
        fades_nm=1_680.0,
    )
    # One acquisition is skipped, because a driver learns the wavelengths only from a scan.
    return SimulatedNirscan(Bench(WAVELENGTHS, detector, seed=seed, pace=pace, skips=1))

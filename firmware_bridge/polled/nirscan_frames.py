"""Frames of the TI DLP NIRscan Nano's UART: bytes in, frames and damage out. No I/O.

    41 42 43 44 | checksum u32 | flags u8 | sequence u8 | length u16 | command u16, data | 44 43 42
    41

Little-endian; the checksum is the sum of all bytes from flags to the end of the data, so it does
not notice bytes that changed places. Layout after the firmware's NNOUARTDefs.h and
NNOCommandDefs.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ccnvr.firmware_bridge.polled.exchange import Damage

READ, WRITE = 0xC0, 0x40
"""Flags of a request that wants a reply."""

_RESPONSE = 0x30  # two bits: 0 done, 1 error, 2 busy
_START, _END = b"ABCD", b"DCBA"
_HEADER = struct.Struct("<4sIBBH")
MAX_PAYLOAD = 512


@dataclass(frozen=True, slots=True)
class Packet:
    """A request or reply: `flags` and `sequence` come back as they were sent, but for the response
    bits.
    """

    command: int
    sequence: int = 0
    data: bytes = b""
    flags: int = READ

    @property
    def response(self) -> int:
        """0 done, 1 error, 2 busy."""
        return (self.flags & _RESPONSE) >> 4


def encode(packet: Packet) -> bytes:
    """The bytes of one packet.

    Raises:
        ValueError: a field does not fit the wire.
    """
    payload = packet.command.to_bytes(2, "little") + packet.data
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"{len(payload)} bytes of command and data exceed {MAX_PAYLOAD}")
    try:
        body = struct.pack("<BBH", packet.flags, packet.sequence, len(payload)) + payload
    except struct.error as error:
        raise ValueError(f"{packet!r} does not fit the header: {error}") from error
    return _START + sum(body).to_bytes(4, "little") + body + _END


class Decoder:
    """Turns a byte stream, cut anywhere, into packets and damage. Slides on by one byte where no
    packet begins.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Packet | Damage]:
        """What is complete after `data`, in order; never raises on any bytes."""
        self._buffer += data
        events: list[Packet | Damage] = []
        while (event := self._next()) is not None:
            events.append(event)
        return events

    def _next(self) -> Packet | Damage | None:
        start = self._buffer.find(_START)
        if start < 0:
            start = len(self._buffer) - _half_mark(self._buffer)
        if start:
            return self._drop(start, "no packet begins here")
        if len(self._buffer) < _HEADER.size:
            return None
        _, checksum, flags, sequence, length = _HEADER.unpack_from(self._buffer)
        if not 2 <= length <= MAX_PAYLOAD:
            return self._drop(1, "length")
        size = _HEADER.size + length + len(_END)
        if len(self._buffer) < size:
            return None
        whole = bytes(self._buffer[:size])
        if not whole.endswith(_END):
            return self._drop(1, "end mark")
        if sum(whole[8 : -len(_END)]) != checksum:
            return self._drop(1, "checksum")
        del self._buffer[:size]
        payload = whole[_HEADER.size : -len(_END)]
        return Packet(int.from_bytes(payload[:2], "little"), sequence, payload[2:], flags)

    def _drop(self, count: int, why: str) -> Damage:
        del self._buffer[:count]
        return Damage(why, count)


def _half_mark(buffer: bytearray) -> int:
    """How many bytes at the end may be the beginning of a start mark."""
    return next((count for count in (3, 2, 1) if buffer.endswith(_START[:count])), 0)

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

from ccnvr.firmware_bridge.framing import Step, bytes_before

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


def next_packet(buffer: bytearray) -> Step[Packet] | None:
    """Return the packet or damage at the beginning of `buffer`; see `framing.SlidingDecoder`."""
    if before := bytes_before(_START, buffer):
        return Step.over(before, "no packet begins here")
    if len(buffer) < _HEADER.size:
        return None
    _, checksum, flags, sequence, length = _HEADER.unpack_from(buffer)
    if not 2 <= length <= MAX_PAYLOAD:
        return Step.over(1, "length")
    size = _HEADER.size + length + len(_END)
    if len(buffer) < size:
        return None
    whole = bytes(buffer[:size])
    if not whole.endswith(_END):
        return Step.over(1, "end mark")
    if sum(whole[8 : -len(_END)]) != checksum:
        return Step.over(1, "checksum")
    payload = whole[_HEADER.size : -len(_END)]
    packet = Packet(int.from_bytes(payload[:2], "little"), sequence, payload[2:], flags)
    return Step(packet, size)

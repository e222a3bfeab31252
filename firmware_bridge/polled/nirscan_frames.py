"""Frames of the TI DLP NIRscan Nano's UART, without I/O.

    "ABCD" | checksum u32 | flags u8 | sequence u8 | length u16 | command u16 | data | "DCBA"

All numbers are little-endian. The checksum is the sum of all bytes from the flags to the end of the
data, so it does not notice bytes that changed places. The layout is that of the firmware's
NNOUARTDefs.h and NNOCommandDefs.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ccnvr.firmware_bridge.framing import Step, bytes_before

READ, WRITE = 0xC0, 0x40
"""The flags of a request that wants a reply."""

_RESPONSE = 0x30  # two bits: 0 done, 1 error, 2 busy
_START, _END = b"ABCD", b"DCBA"
_HEADER = struct.Struct("<4sIBBH")
MAX_PAYLOAD = 512


@dataclass(frozen=True, slots=True)
class Packet:
    """A request or reply.

    `flags` and `sequence` come back as they were sent, except for the response bits.
    """

    command: int
    sequence: int = 0
    data: bytes = b""
    flags: int = READ

    @property
    def response(self) -> int:
        """The answer's verdict: 0 done, 1 error, 2 busy."""
        return (self.flags & _RESPONSE) >> 4


def encode(packet: Packet) -> bytes:
    """Return the bytes of one packet.

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
    # Checked at once, so that noise cannot make the decoder wait for bytes that never come.
    if not 2 <= length <= MAX_PAYLOAD:
        return Step.over(1, "length")
    size = _HEADER.size + length + len(_END)
    if len(buffer) < size:
        return None
    whole = bytes(buffer[:size])
    # The end mark is compared before the sum, which costs more and is rarely needed for noise.
    if not whole.endswith(_END):
        return Step.over(1, "end mark")
    # The sum covers what follows it: flags, sequence, length and payload.
    if sum(whole[8 : -len(_END)]) != checksum:
        return Step.over(1, "checksum")
    payload = whole[_HEADER.size : -len(_END)]
    packet = Packet(int.from_bytes(payload[:2], "little"), sequence, payload[2:], flags)
    return Step(packet, size)

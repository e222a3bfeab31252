"""Frames of the ccnvr link: bytes in, frames and damage out, without I/O.

A frame on the wire is `COBS(header | payload | CRC-32) 0x00`; PROTOCOL.md is the specification.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum

from ccnvr.firmware_bridge.framing import Damage
from ccnvr.firmware_bridge.link_constants import (
    HEADER_FORMAT,
    INCOMPATIBLE_FLAGS,
    MAX_PAYLOAD,
    VERSION,
)

_HEADER = struct.Struct(HEADER_FORMAT)
_CRC = struct.Struct("<I")
_MAX_BODY = _HEADER.size + MAX_PAYLOAD + _CRC.size
MAX_ENCODED = _MAX_BODY + -(-_MAX_BODY // 254)
"""The longest frame on the wire, in bytes, without its delimiter."""

_LONGEST_PERIOD = 16
"""The longest sum in bytes of two alternating codes that are looked for."""

_LOOKS = 16
"""How often a frame is searched for alternating codes: a few suffice for real counts, and a frame
that is made to fool the search costs little more than without it.
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message, or chunk number `chunk` of the `chunks` of a long one."""

    type: int
    sequence: int
    payload: bytes = b""
    chunk: int = 0
    chunks: int = 1


class Reason(StrEnum):
    """The check that the bytes between two delimiters failed.

    For VERSION and FLAGS, `Damage.found` is the value of the byte that failed the check; for the
    others it is the number of bytes dropped.
    """

    STUFFING = "byte stuffing"
    LENGTH = "length"
    CHECKSUM = "checksum"
    VERSION = "link version"
    FLAGS = "incompatible flags"


def cobs_encode(data: bytes) -> bytes:
    """Return `data` without zero bytes, by consistent overhead byte stuffing (COBS).

    It grows by one byte, and by one more for each 254 bytes. Cheshire & Baker 1999, IEEE/ACM Trans.
    Networking 7:159-172.
    """
    out = bytearray()
    for group in data.split(b"\0"):
        while len(group) >= 254:
            out.append(255)
            out += group[:254]
            group = group[254:]
        out.append(len(group) + 1)
        out += group
    return bytes(out)


def cobs_decode(data: bytes) -> bytes | None:
    """Undo `cobs_encode`; return None if `data` is not its output."""
    if not data or 0 in data:
        return None
    out = bytearray(data)
    # Decoding in place is faster than copying group by group. Each code is overwritten by the zero
    # that it stands for. The first code, and those behind a full group, stand for none and are
    # deleted in the end.
    superfluous = [0]
    position, end, looks = 0, len(out), _LOOKS
    older = newer = 0
    while position < end:
        code = data[position]
        if code == older and looks and _go_on(data, position, older, newer):
            # Two codes that alternate, as the zeros in the high bytes of counts make them, are
            # found and overwritten by slices.
            looks, period, second = looks - 1, older + newer, position + older
            pairs = min(
                _leading(data[position::period], older), _leading(data[second::period], newer)
            )
            zeros, length = bytes(pairs), pairs * period
            out[position : position + length : period] = zeros
            out[second : second + length : period] = zeros
            position, older = position + length, 0
            continue
        out[position] = 0
        position += code
        if code == 255:
            superfluous.append(position)
        older, newer = newer, code
    # The encoder closes a full group with a further group, so that its output never ends on one.
    if position != end or superfluous[-1] == end:
        return None
    for index in reversed(superfluous):
        del out[index]
    return bytes(out)


def _go_on(data: bytes, position: int, older: int, newer: int) -> bool:
    """Return whether two alternating codes go on alternating behind a position."""
    period = older + newer
    return (
        period <= _LONGEST_PERIOD
        and position + period < len(data)
        and data[position + older] == newer
        and data[position + period] == older
    )


def _leading(data: bytes, value: int) -> int:
    """Return how many bytes at the start of `data` have a value."""
    return len(data) - len(data.lstrip(bytes((value,))))


def encode(frame: Frame) -> bytes:
    """Return the bytes of one frame with its delimiter.

    Raises:
        ValueError: a field does not fit the wire.
    """
    if len(frame.payload) > MAX_PAYLOAD:
        raise ValueError(
            f"payload of {len(frame.payload)} bytes exceeds {MAX_PAYLOAD}; send it in chunks"
        )
    if not 0 <= frame.chunk < frame.chunks:
        raise ValueError(f"chunk {frame.chunk} is not one of {frame.chunks}")
    try:
        header = _HEADER.pack(VERSION, 0, frame.type, 0, frame.sequence, frame.chunk, frame.chunks)
    except struct.error as error:
        raise ValueError(f"{frame!r} does not fit the header: {error}") from error
    body = header + frame.payload
    return cobs_encode(body + _CRC.pack(zlib.crc32(body))) + b"\0"


class Decoder:
    """Turns a byte stream, cut anywhere, into frames and damage; holds at most one frame.

    The delimiter tells where a frame ends, so that this decoder need not slide over its buffer as
    `framing.SlidingDecoder` does.
    """

    def __init__(self) -> None:
        self._partial = bytearray()
        self._overlong = 0

    def feed(self, data: bytes) -> list[Frame | Damage]:
        """Return what is complete after `data`, in order; no bytes make it raise."""
        events: list[Frame | Damage] = []
        *complete, rest = data.split(b"\0")
        for piece in complete:
            self._keep(piece)
            if self._overlong:
                events.append(Damage(Reason.LENGTH, self._overlong))
            elif self._partial:
                events.append(_parse(bytes(self._partial)))
            # Two delimiters in a row are an idle line and not damage.
            self._partial.clear()
            self._overlong = 0
        self._keep(rest)
        return events

    def _keep(self, piece: bytes) -> None:
        """Add bytes to the open frame, or only count them once it is too long to be one."""
        # The bytes of an endless frame are only counted, so that noise takes no memory.
        if self._overlong or len(self._partial) + len(piece) > MAX_ENCODED:
            self._overlong += len(self._partial) + len(piece)
            self._partial.clear()
        else:
            self._partial += piece


def _parse(encoded: bytes) -> Frame | Damage:
    body = cobs_decode(encoded)
    if body is None:
        return Damage(Reason.STUFFING, len(encoded))
    if not _HEADER.size + _CRC.size <= len(body) <= _MAX_BODY:
        return Damage(Reason.LENGTH, len(encoded))
    content = body[: -_CRC.size]
    if zlib.crc32(content) != _CRC.unpack_from(body, len(content))[0]:
        return Damage(Reason.CHECKSUM, len(encoded))
    version, flags, kind, _, sequence, chunk, chunks = _HEADER.unpack_from(content)
    # Only now, because the version byte means something only in a frame that arrived whole.
    if version != VERSION:
        return Damage(Reason.VERSION, version)
    if flags & INCOMPATIBLE_FLAGS:
        return Damage(Reason.FLAGS, flags)
    if chunk >= chunks:
        return Damage(Reason.LENGTH, len(encoded))
    return Frame(kind, sequence, content[_HEADER.size :], chunk, chunks)

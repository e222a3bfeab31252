"""Messages of the Ocean Binary Protocol, without I/O.

A message is a 44-byte header, a payload, 16 bytes of checksum and a 4-byte footer, little-endian;
up to 16 bytes of data travel in the header instead of the payload. The layout is that of Ocean's
data sheets of Ventana (891-00000-200-05) and STS (030-00000-003-05); versions 0x1000, 0x1100 and
0x2000 share it.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from ccnvr.firmware_bridge.framing import Step, bytes_before

# In the order in which a driver tries them.
VERSIONS = (0x1100, 0x1000, 0x2000)

# Flags of a message.
RESPONSE, ACK, ACK_WANTED, NACK, HARDWARE_EXCEPTION = 1, 2, 4, 8, 16

_START, _FOOTER = b"\xc1\xc0", b"\xc5\xc4\xc3\xc2"
# The fields are: start, version, flags, error, message type, regarding, reserved, checksum type,
# immediate length, immediate data, remaining length.
_HEADER = struct.Struct("<2sHHHII6sBB16sI")
_AROUND = 20  # checksum and footer
_IMMEDIATE = 16
MAX_PAYLOAD = 65_536
_NO_CHECKSUM, _MD5 = 0, 1


@dataclass(frozen=True, slots=True)
class ObpMessage:
    """One message.

    `regarding` is the host's own value, which the device echoes; `protected` says that the message
    carries an MD5.
    """

    type: int
    regarding: int = 0
    data: bytes = b""
    flags: int = 0
    error: int = 0
    version: int = VERSIONS[0]
    protected: bool = True


def encode(message: ObpMessage) -> bytes:
    """Return the bytes of one message.

    Raises:
        ValueError: a field does not fit the wire.
    """
    data = message.data
    if len(data) > MAX_PAYLOAD:
        raise ValueError(f"{len(data)} bytes of data exceed {MAX_PAYLOAD}")
    immediate, payload = (data, b"") if len(data) <= _IMMEDIATE else (b"", data)
    try:
        header = _HEADER.pack(
            _START,
            message.version,
            message.flags,
            message.error,
            message.type,
            message.regarding,
            b"",
            _MD5 if message.protected else _NO_CHECKSUM,
            len(immediate),
            immediate,
            len(payload) + _AROUND,
        )
    except struct.error as error:
        raise ValueError(f"{message!r} does not fit the header: {error}") from error
    return header + payload + (_md5(header + payload) if message.protected else bytes(16)) + _FOOTER


def _md5(data: bytes) -> bytes:
    # The protocol demands MD5; it guards against noise and not against people.
    return hashlib.md5(data, usedforsecurity=False).digest()


def next_message(buffer: bytearray) -> Step[ObpMessage] | None:
    """Return the message or damage at the beginning of `buffer`; see `framing.SlidingDecoder`."""
    if before := bytes_before(_START, buffer):
        return Step.over(before, "no message begins here")
    if len(buffer) < _HEADER.size:
        return None
    _, version, flags, error, kind, regarding, _, checksum, length, immediate, remaining = (
        _HEADER.unpack_from(buffer)
    )
    payload = remaining - _AROUND
    # Checked at once, so that noise cannot make the decoder wait for bytes that never come.
    sane = (
        version in VERSIONS
        and checksum in (_NO_CHECKSUM, _MD5)
        and length <= _IMMEDIATE
        and 0 <= payload <= MAX_PAYLOAD
    )
    # Data are either in the header or behind it.
    if not sane or (length and payload):
        return Step.over(1, "header")
    size = _HEADER.size + remaining
    if len(buffer) < size:
        return None
    whole = bytes(buffer[:size])
    if not whole.endswith(_FOOTER):
        return Step.over(1, "footer")
    if checksum == _MD5 and _md5(whole[:-_AROUND]) != whole[-_AROUND : -len(_FOOTER)]:
        return Step.over(1, "MD5")
    data = whole[_HEADER.size : -_AROUND] or immediate[:length]
    message = ObpMessage(kind, regarding, data, flags, error, version, checksum == _MD5)
    return Step(message, size)

"""Golden vectors: the schema's examples, and frames at every limit, as bytes on the wire.

The bytes come from a second, slow implementation that follows the specification to the letter, and
not from `link/frames.py` or `link/payload.py`: a vector that one of these makes wrongly then fails,
instead of agreeing with itself.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.schema.schema import Schema, SchemaField, SchemaPayload

_CODES = {"u8": "<B", "u16": "<H", "u32": "<I", "i16": "<h"}


@frozen
class FrameVector:
    """A frame and its bytes, delimiter included.

    `encodes` is False if encoding the fields gives other bytes, because the frame has bits that a
    receiver ignores.
    """

    name: str
    type: int
    sequence: int
    chunk: int
    chunks: int
    payload: bytes
    wire: bytes
    encodes: bool = True


@frozen
class DamageVector:
    """Bytes up to a delimiter that are not a frame, and why: the name of a `link.frames.Reason`."""

    name: str
    reason: str
    wire: bytes


@frozen
class PayloadVector:
    """The values of a payload, and its bytes."""

    payload: SchemaPayload
    values: dict[str, Any]
    wire: bytes


def text(schema: Schema) -> str:
    """Return the text of `vectors.json`."""
    vectors = {
        "frames": [
            {
                "name": vector.name,
                "type": vector.type,
                "sequence": vector.sequence,
                "chunk": vector.chunk,
                "chunks": vector.chunks,
                "payload": vector.payload.hex(),
                "wire": vector.wire.hex(),
                "encodes": vector.encodes,
            }
            for vector in frames(schema)
        ],
        "damage": [
            {"name": vector.name, "reason": vector.reason, "wire": vector.wire.hex()}
            for vector in damage(schema)
        ],
        "payloads": [
            {"payload": vector.payload.name, "values": vector.values, "wire": vector.wire.hex()}
            for vector in payloads(schema)
        ],
    }
    return json.dumps(vectors, indent=1, ensure_ascii=False) + "\n"


def payloads(schema: Schema) -> Iterator[PayloadVector]:
    """Yield a vector for each example in the schema."""
    for payload in schema.payloads:
        for values in payload.examples:
            yield PayloadVector(
                payload,
                values,
                b"".join(_bytes(field, values[field.name]) for field in payload.fields),
            )


def frames(schema: Schema) -> Iterator[FrameVector]:
    """Yield a frame for each message, and frames at the limits of stuffing, length and numbers.

    The payload is that of the message's first example.
    """
    firsts = {vector.payload.name: vector.wire for vector in reversed(list(payloads(schema)))}
    for number, message in enumerate(schema.types()):
        if message.payload:
            yield _frame(message.name.lower(), message.value, number, firsts[message.payload])
    longest = schema.constant("max_payload")
    # The header ends in a zero byte, so a group is full when the payload and its CRC have 254 bytes
    # without a zero.
    for length in (1, 248, 249, 250, 251, 252, 253, 254, 255, 508, longest):
        yield _frame(
            f"{length} bytes without a zero", 0x85, 1, bytes(1 + i % 255 for i in range(length))
        )
    yield _frame("all zeros", 0x85, 1, bytes(longest))
    yield _frame("all ones", 0x85, 1, b"\xff" * longest)
    yield _frame("last of the most chunks", 0xFF, 0xFFFF, b"\0\xff\0", chunk=0xFFFE, chunks=0xFFFF)
    ignorable = _body(0x01, 2, b"abc", 0, 1, flags=0x0F, reserved=0xFF)
    yield FrameVector(
        "ignorable flags and reserved byte",
        type=0x01,
        sequence=2,
        chunk=0,
        chunks=1,
        payload=b"abc",
        wire=_wire(ignorable),
        encodes=False,
    )


def damage(schema: Schema) -> Iterator[DamageVector]:
    """Yield one vector for each way not to be a frame, and those that look most like a frame."""
    body = _body(1, 1, b"\x78\x56\x34\x12", 0, 1)
    flipped = bytes([_crc(body)[0] ^ 1]) + _crc(body)[1:]
    good = _stuffed(body + _crc(body))
    # Without zeros, stuffing makes the longest payload as long as a frame can be.
    longest = _body(1, 1, bytes(range(1, 256)) * 5, 0, 1)[: 10 + schema.constant("max_payload")]
    most = len(_stuffed(longest + bytes(4)))
    yield DamageVector("a group longer than the frame", "STUFFING", b"\x05\x01\0")
    yield DamageVector("a full group at the end", "STUFFING", b"\xff" + b"\x01" * 254 + b"\0")
    yield DamageVector("cut short", "STUFFING", good[:-3] + b"\0")
    yield DamageVector("no room for a CRC", "LENGTH", _stuffed(b"\x01" * 13) + b"\0")
    yield DamageVector(
        "one byte of payload too many",
        "LENGTH",
        _stuffed(longest + b"\x01" + _crc(longest + b"\x01")) + b"\0",
    )
    yield DamageVector("longer than any frame", "LENGTH", b"\x01" * (most + 1) + b"\0")
    yield DamageVector("very long and badly stuffed", "LENGTH", b"\xff" * 3000 + b"\0")
    yield DamageVector("a flipped bit of the CRC", "CHECKSUM", _stuffed(body + flipped) + b"\0")
    yield DamageVector(
        "two bytes swapped",
        "CHECKSUM",
        _stuffed(body[:4] + body[5:3:-1] + body[6:] + _crc(body)) + b"\0",
    )
    # Each is a whole frame with a valid CRC, so that only the one field is wrong.
    for name, reason, position, value in (
        ("version 0", "VERSION", 0, 0),
        ("version 2 with a flag of its own", "VERSION", 0, 2),
        ("an incompatible flag", "FLAGS", 1, 0x10),
        ("every flag", "FLAGS", 1, 0xFF),
        ("chunk 1 of 1", "LENGTH", 6, 1),
        ("no chunks", "LENGTH", 8, 0),
    ):
        changed = bytearray(body)
        changed[position] = value
        # A newer version may use flags that are incompatible today; the version must be reported
        # first.
        changed[1] |= 0x80 * (name.startswith("version 2"))
        yield DamageVector(name, reason, _stuffed(bytes(changed) + _crc(bytes(changed))) + b"\0")


def _frame(
    name: str, kind: int, sequence: int, payload: bytes, *, chunk: int = 0, chunks: int = 1
) -> FrameVector:
    wire = _wire(_body(kind, sequence, payload, chunk, chunks))
    return FrameVector(name, kind, sequence, chunk, chunks, payload, wire)


def _wire(body: bytes) -> bytes:
    """Return a frame of any body, with its right checksum and the delimiter."""
    return _stuffed(body + _crc(body)) + b"\0"


def _body(
    kind: int,
    sequence: int,
    payload: bytes,
    chunk: int,
    chunks: int,
    flags: int = 0,
    reserved: int = 0,
) -> bytes:
    numbers = b"".join(number.to_bytes(2, "little") for number in (sequence, chunk, chunks))
    return bytes([1, flags, kind, reserved]) + numbers + payload


def _crc(data: bytes) -> bytes:
    """Return the CRC-32 of IEEE 802.3, computed bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        # By the definition, and not by zlib.crc32, which the codec uses.
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    return (register ^ 0xFFFFFFFF).to_bytes(4, "little")


def _stuffed(data: bytes) -> bytes:
    """Return data after COBS, by its definition.

    A zero is put behind the data, then each run up to a zero is written behind its length.
    """
    out, run = bytearray(), bytearray()
    for byte in data + b"\0":
        if byte:
            run.append(byte)
        # A full group stands for no zero, so nothing is lost if it ends in the middle of a run.
        if not byte or len(run) == 254:
            out += bytes([len(run) + 1]) + run
            run.clear()
    return bytes(out)


def _bytes(field: SchemaField, value: Any) -> bytes:
    if field.type in _CODES:
        return struct.pack(_CODES[field.type], value)
    if field.type == "bit":
        return b"\1" if value else b"\0"
    if field.type == "name":
        return bytes([len(value.encode())]) + bytes(value.encode())
    if field.type == "text":
        return bytes(value.encode())
    if field.type == "doubles":
        return b"".join(struct.pack("<d", number) for number in value)
    return bytes.fromhex(value)

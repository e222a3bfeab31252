"""The golden vectors as C99: the text of `c/test_vectors.h`, which needs only a compiler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ccnvr.firmware_bridge.schema.golden import damage, frames, payloads
from ccnvr.firmware_bridge.schema.schema import Schema, SchemaField
from ccnvr.firmware_bridge.schema.write_c import NOTICE, snake

# Up to four characters for a byte, so that lines stay within 120 columns.
_BYTES_PER_LINE = 28


def header(schema: Schema) -> str:
    """Return the text of `test_vectors.h`.

    Whoever includes it defines CHECK_PAYLOAD(payload, message, wire).
    """
    lines = [f"/* Golden vectors of the ccnvr link. {NOTICE} */", '#include "ccnvr_frame.h"', ""]
    lines += [
        "struct frame_vector {",
        "    const char *name;",
        "    struct ccnvr_frame frame;",
        "    const uint8_t *wire;",
    ]
    lines += ["    size_t wire_length;", "    bool encodes;", "};", ""]
    lines += [
        "struct damage_vector {",
        "    const char *name;",
        "    enum ccnvr_event reason;",
        "    const uint8_t *wire;",
    ]
    lines += ["    size_t wire_length;", "};", ""]
    lines += [*_frames(schema), *_damage(schema)]
    return "\n".join([*lines, *_payloads(schema), ""])


def _array(name: str, data: bytes) -> Iterator[str]:
    yield f"static const uint8_t {name}[] = {{"
    for start in range(0, len(data), _BYTES_PER_LINE):
        yield f"    {','.join(map(str, data[start : start + _BYTES_PER_LINE]))},"
    yield "};"


def _frames(schema: Schema) -> list[str]:
    lines, rows = [], []
    for number, vector in enumerate(frames(schema)):
        # C has no empty arrays: an empty payload points to a byte that its length leaves out.
        lines += [
            *_array(f"frame_payload_{number}", vector.payload or b"\0"),
            *_array(f"frame_wire_{number}", vector.wire),
        ]
        head = f"{vector.type}, {vector.sequence}, {vector.chunk}, {vector.chunks}"
        frame = f"{{{head}, frame_payload_{number}, {len(vector.payload)}}}"
        encodes = str(vector.encodes).lower()
        rows += [
            f'    {{"{vector.name}", {frame}, frame_wire_{number}, sizeof frame_wire_{number}, '
            f"{encodes}}},"
        ]
    return [*lines, "static const struct frame_vector frame_vectors[] = {", *rows, "};", ""]


def _damage(schema: Schema) -> list[str]:
    lines: list[str] = []
    rows = []
    for number, vector in enumerate(damage(schema)):
        lines += _array(f"damage_wire_{number}", vector.wire)
        rows += [
            f'    {{"{vector.name}", CCNVR_BAD_{vector.reason}, damage_wire_{number}, sizeof '
            f"damage_wire_{number}}},"
        ]
    return [*lines, "static const struct damage_vector damage_vectors[] = {", *rows, "};", ""]


def _payloads(schema: Schema) -> list[str]:
    lines, calls = [], []
    for number, vector in enumerate(payloads(schema)):
        if not vector.payload.fields:
            continue
        name = snake(vector.payload.name)
        values = [
            f".{field.name} = {_value(field, vector.values[field.name])}"
            for field in vector.payload.fields
        ]
        lines += [f"static void payload_{number}(void)", "{"]
        lines += [f"    {line}" for line in _array("wire", vector.wire)]
        lines += [
            f"    struct ccnvr_{name} message = {{",
            *(f"        {value}," for value in values),
            "    };",
        ]
        lines += [f"    CHECK_PAYLOAD({name}, message, wire);", "}", ""]
        calls += [f"    payload_{number}();"]
    return [*lines, "static void all_payloads(void)", "{", *calls, "}"]


def _value(field: SchemaField, value: Any) -> str:
    if field.type == "bit":
        return str(value).lower()
    if field.type in ("name", "text"):
        return f"{{{_quoted(value.encode())}, {len(value.encode())}}}"
    if field.type == "bytes":
        data = bytes.fromhex(value)
        return f"{{(const uint8_t *){_quoted(data)}, {len(data)}}}"
    if field.type == "doubles":
        return f"{{{{{', '.join(map(repr, value)) or '0'}}}, {len(value)}}}"
    return str(value) if field.type == "i16" else f"{value}u"


def _quoted(data: bytes) -> str:
    # Octal escapes end after three digits, while hexadecimal ones would swallow digits that follow.
    return (
        '"'
        + "".join(
            chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}"
            for byte in data
        )
        + '"'
    )

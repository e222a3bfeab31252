"""The schema as C99: the text of `c/ccnvr_messages.h` and `c/ccnvr_messages.c`."""

from __future__ import annotations

import re

from ccnvr.firmware_bridge.schema.c_helpers import HELPERS, VALUES
from ccnvr.firmware_bridge.schema.schema import (
    SIZES,
    Enumeration,
    Schema,
    SchemaField,
    SchemaPayload,
)

NOTICE = "Generated from link.toml by `make generate`: change that file, not this one."

_C_TYPES = {
    "u8": "uint8_t",
    "u16": "uint16_t",
    "u32": "uint32_t",
    "i16": "int16_t",
    "bit": "bool",
    "name": "struct ccnvr_text",
    "text": "struct ccnvr_text",
    "doubles": "struct ccnvr_doubles",
    "bytes": "struct ccnvr_bytes",
}

_MOST = {
    "name": "CCNVR_LONGEST_NAME",
    "text": "CCNVR_LONGEST_DETAIL",
    "bytes": "CCNVR_MAX_REQUEST - 2u",
}


def snake(name: str) -> str:
    """Return a name in snake case, `scan_request` for `ScanRequest`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def carried(schema: Schema) -> list[SchemaPayload]:
    """Return the payloads that have fields, because C has no empty structures."""
    return [payload for payload in schema.payloads if payload.fields]


def header(schema: Schema) -> str:
    """Return the text of `ccnvr_messages.h`."""
    payloads = carried(schema)
    lines = [
        f"/* The messages of the ccnvr link, PROTOCOL.md. {NOTICE} */",
        "#ifndef CCNVR_MESSAGES_H",
        "#define CCNVR_MESSAGES_H",
        "",
        "#include <stdbool.h>",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        *_constants(schema),
        "",
        "enum ccnvr_type {",
        *(f"    CCNVR_TYPE_{message.name} = 0x{message.value:02X}," for message in schema.types()),
        "};",
        "",
        *(line for enumeration in schema.enumerations for line in _enumeration(enumeration)),
        VALUES,
        *(line for payload in payloads for line in _structure(payload)),
        "/* Each ccnvr_pack_x writes a payload of at most CCNVR_LONGEST_X bytes, and returns its",
        "   length. Each ccnvr_unpack_x returns whether the payload is well formed; text and bytes",
        "   then point into it. */",
    ]
    for payload in payloads:
        lines += [f"{_pack_prototype(payload)};", f"{_unpack_prototype(payload)};"]
    return "\n".join([*lines, "", "#endif", ""])


def _constants(schema: Schema) -> list[str]:
    lines = []
    for constant in schema.constants:
        lines += [
            f"/* {constant.text} */",
            f"#define CCNVR_{constant.name.upper()} {constant.value}u",
        ]
    size = sum(SIZES[field.type] for field in schema.header)
    return [*lines, f"#define CCNVR_HEADER_BYTES {size}u"]


def source(schema: Schema) -> str:
    """Return the text of `ccnvr_messages.c`."""
    lines = [f"/* The messages of the ccnvr link, PROTOCOL.md. {NOTICE} */"]
    lines += ['#include "ccnvr_messages.h"', "", "#include <string.h>", "", HELPERS]
    for payload in carried(schema):
        lines += [*_pack(payload), "", *_unpack(schema, payload), ""]
    return "\n".join(lines)


def _enumeration(enumeration: Enumeration) -> list[str]:
    name = snake(enumeration.name)
    lines = [f"/* {enumeration.text[0].upper()}{enumeration.text[1:]}. */", f"enum ccnvr_{name} {{"]
    for value in enumeration.values:
        lines += [
            f"    /* {value.text} */",
            f"    CCNVR_{name.upper()}_{value.name} = {value.value},",
        ]
    return [*lines, "};", ""]


def _structure(payload: SchemaPayload) -> list[str]:
    name = snake(payload.name)
    lines = [f"/* {payload.title}. {payload.text} */", f"struct ccnvr_{name} {{"]
    for field in payload.fields:
        meaning = f"enum ccnvr_{snake(field.meaning)}: " if field.meaning else ""
        lines += [f"    {_C_TYPES[field.type]} {field.name}; /* {meaning}{field.text} */"]
    longest = " + ".join(_longest(field) for field in payload.fields)
    return [*lines, "};", f"#define CCNVR_LONGEST_{name.upper()} ({longest})", ""]


def _longest(field: SchemaField) -> str:
    if field.type == "name":
        return "1u + CCNVR_LONGEST_NAME"
    if field.type == "doubles":
        return "8u * CCNVR_MOST_COEFFICIENTS"
    return _MOST.get(field.type) or f"{SIZES[field.type]}u"


def _pack_prototype(payload: SchemaPayload) -> str:
    name = snake(payload.name)
    return f"size_t ccnvr_pack_{name}(const struct ccnvr_{name} *message, uint8_t *out)"


def _unpack_prototype(payload: SchemaPayload) -> str:
    name = snake(payload.name)
    return (
        f"bool ccnvr_unpack_{name}(const uint8_t *payload, size_t length, struct ccnvr_{name} "
        "*message)"
    )


def _pack(payload: SchemaPayload) -> list[str]:
    lines = [_pack_prototype(payload), "{", "    uint8_t *end = out;"]
    for field in payload.fields:
        value = f"message->{field.name}"
        if field.type == "name":
            call = f"put_name(end, &{value})"
        elif field.type == "doubles":
            call = f"put_doubles(end, &{value})"
        elif field.type in _MOST:
            # The limit is given again here, because C does not check what firmware puts in a
            # structure.
            call = f"put_bytes(end, {value}.data, {value}.length, {_MOST[field.type]})"
        else:
            # The cast turns a negative number into its two's complement before it is widened.
            cast = "(uint16_t)" if field.type == "i16" else ""
            call = f"put(end, {cast}{value}, {SIZES[field.type]})"
        lines += [f"    end = {call};"]
    return [*lines, "    return (size_t)(end - out);", "}"]


def _unpack(schema: Schema, payload: SchemaPayload) -> list[str]:
    lines = [_unpack_prototype(payload), "{", "    struct reader in = {payload, length, true};"]
    later = [field for field in payload.fields if field.later]
    for field in payload.fields:
        # The later fields are missing all together, or not at all.
        if later and field is later[0]:
            lines += ["    if (in.whole && in.left == 0u) {"]
            lines += [f"        message->{early.name} = {early.default};" for early in later]
            lines += ["        return true;", "    }"]
        lines += _read(schema, field)
    return [*lines, f"    return in.whole{'' if payload.extensible else ' && in.left == 0u'};", "}"]


def _read(schema: Schema, field: SchemaField) -> list[str]:
    value = f"message->{field.name}"
    if field.type == "name":
        return [f"    {value} = get_name(&in);"]
    if field.type == "doubles":
        return [f"    get_doubles(&in, &{value});"]
    if field.type == "bit":
        return [f"    {value} = (get(&in, 1) & 1u) != 0u;"]
    if field.type in _MOST:
        cast = "(const char *)" if field.type == "text" else ""
        lines = [
            f"    {value}.length = in.left;",
            f"    {value}.data = {cast}get_bytes(&in, in.left);",
        ]
        if field.type == "bytes":
            lines += [
                f"    in.whole = in.whole && {value}.length > 0u && {value}.length <= "
                f"{_MOST[field.type]};"
            ]
        return lines
    cast = "(int16_t)(uint16_t)" if field.type == "i16" else f"({_C_TYPES[field.type]})"
    lines = [f"    {value} = {cast}get(&in, {SIZES[field.type]});"]
    # The values of these enumerations run from 0 without a gap, so one comparison is enough.
    if field.meaning and not (enumeration := schema.enumeration(field.meaning)).flags:
        lines += [
            f"    in.whole = in.whole && {value} <= "
            f"{max(entry.value for entry in enumeration.values)};"
        ]
    return lines

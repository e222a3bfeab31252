"""The schema as the tables of PROTOCOL.md.

A table stands between the markers `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re

from ccnvr.firmware_bridge.schema.schema import (
    SIZES,
    Constant,
    Enumeration,
    Schema,
    SchemaField,
    SchemaMessage,
    SchemaPayload,
)

# DOTALL and non-greedy: a table has many lines, and ends at the first end marker.
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

_TYPES = {
    "bit": "u8, bit 0",
    "name": "length u8, UTF-8",
    "text": "UTF-8 to the end",
    "doubles": "f64 each, to the end",
    "bytes": "bytes to the end",
}


def specification(schema: Schema, text: str) -> str:
    """Return `text` with its tables written anew.

    Raises:
        KeyError: it asks for a table that does not exist.
    """
    tables = {
        "header": _header(schema),
        "messages": _messages(schema),
        "constants": _constants(schema),
    }
    tables |= {payload.name: _payload(payload) for payload in schema.payloads}
    tables |= {entry.name: _enumeration(entry) for entry in schema.enumerations}
    heads: dict[str, tuple[str, ...]] = {
        "header": ("field", "bytes", "meaning"),
        "constants": ("name", "value", "meaning"),
    }
    heads["messages"] = ("type", "request", "payload", "type", "reply", "payload")
    heads |= {payload.name: ("at", "field", "type", "meaning") for payload in schema.payloads}
    heads |= {
        entry.name: ("bit" if entry.flags else "value", "name", entry.text)
        for entry in schema.enumerations
    }

    def table(match: re.Match[str]) -> str:
        head = heads[match[2]]
        lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *tables[match[2]]]
        return match[1] + "\n".join(lines) + "\n" + match[3]

    return _TABLE.sub(table, text)


def _header(schema: Schema) -> list[str]:
    return [f"| {field.name} | {SIZES[field.type]} | {field.text} |" for field in schema.header]


def _constants(schema: Schema) -> list[str]:
    def shown(entry: Constant) -> str:
        return f"0x{entry.value:02X}" if entry.name == "incompatible_flags" else str(entry.value)

    return [
        f"| {entry.name.upper()} | {shown(entry)} | {entry.text} |" for entry in schema.constants
    ]


def _enumeration(enumeration: Enumeration) -> list[str]:
    return [f"| {entry.value} | {entry.name} | {entry.text} |" for entry in enumeration.values]


def _messages(schema: Schema) -> list[str]:
    titles = {payload.name: payload.title for payload in schema.payloads}
    titles["Nothing"] = "none"

    def cells(message: SchemaMessage | None) -> str:
        if message is None:
            return " | | |"
        carried = f"chunk of {message.chunked}" if message.chunked else titles[message.payload]
        return f" 0x{message.value:02X} | {message.name} | {carried} |"

    return [f"|{cells(message)}{cells(message.reply)}" for message in schema.messages]


def _payload(payload: SchemaPayload) -> list[str]:
    rows, offset = [], 0
    fixed = True
    for field in payload.fields:
        rows.append(f"| {offset if fixed else ''} | {field.name} | {_type(field)} | {field.text} |")
        # Behind a field of variable length, positions are unknown and their cells stay empty.
        fixed = fixed and field.type in SIZES
        offset += SIZES.get(field.type, 0)
    return rows


def _type(field: SchemaField) -> str:
    name = _TYPES.get(field.type, field.type)
    return f"{name}, {field.meaning}" if field.meaning else name

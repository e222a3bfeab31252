"""The schema of the link, `link.toml`, as values that the generators read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ccnvr.firmware_bridge.frozen import frozen

PATH = Path(__file__).parents[1] / "link.toml"

SIZES = {"u8": 1, "u16": 2, "u32": 4, "i16": 2, "bit": 1}
"""The number of bytes of each fixed type."""


@frozen
class Constant:
    """One number of the specification."""

    name: str
    value: int
    text: str


@frozen
class Enumeration:
    """Named values; those of `flags` can be combined."""

    name: str
    text: str
    values: tuple[Constant, ...]
    flags: bool


@frozen
class SchemaField:
    """A field of a header or payload.

    `meaning` names the enumeration or flags of its values; it is empty for a plain number.
    """

    name: str
    type: str
    text: str
    meaning: str
    later: bool
    default: int


@frozen
class SchemaPayload:
    """What a message carries, with example values for the golden vectors."""

    name: str
    title: str
    text: str
    fields: tuple[SchemaField, ...]
    extensible: bool
    examples: tuple[dict[str, Any], ...]


@frozen
class SchemaMessage:
    """A type of frame.

    `payload` names a payload; `chunked` says what the chunks add up to. At least one of them is
    empty.
    """

    name: str
    value: int
    payload: str
    chunked: str
    reply: SchemaMessage | None


@frozen
class Schema:
    """All of `link.toml`."""

    constants: tuple[Constant, ...]
    header: tuple[SchemaField, ...]
    enumerations: tuple[Enumeration, ...]
    payloads: tuple[SchemaPayload, ...]
    messages: tuple[SchemaMessage, ...]

    def constant(self, name: str) -> int:
        """Return the value of a constant."""
        return {constant.name: constant.value for constant in self.constants}[name]

    def enumeration(self, name: str) -> Enumeration:
        """Return the enumeration of this name."""
        return {enumeration.name: enumeration for enumeration in self.enumerations}[name]

    def types(self) -> list[SchemaMessage]:
        """Return requests, then replies, then ERROR, each in the order of its value."""
        replies = [message.reply for message in self.messages if message.reply]
        return sorted([*self.messages, *replies], key=lambda message: message.value)


def load() -> Schema:
    """Read the schema."""
    raw = tomllib.loads(PATH.read_text(encoding="utf-8"))
    return Schema(
        constants=_constants(raw["constants"]),
        header=tuple(_field(entry) for entry in raw["header"]),
        enumerations=tuple(
            Enumeration(name, entry["text"], _constants(entry["values"]), flags)
            for section, flags in (("enums", False), ("flags", True))
            for name, entry in raw[section].items()
        ),
        payloads=tuple(_payload(name, entry) for name, entry in raw["payloads"].items()),
        messages=tuple(_message(entry) for entry in raw["messages"]),
    )


def _constants(entries: dict[str, Any]) -> tuple[Constant, ...]:
    return tuple(Constant(name, entry["value"], entry["text"]) for name, entry in entries.items())


def _field(entry: dict[str, Any]) -> SchemaField:
    meaning = entry.get("enum", entry.get("flags", ""))
    return SchemaField(
        entry["name"],
        entry["type"],
        entry["text"],
        meaning,
        entry.get("later", False),
        entry.get("default", 0),
    )


def _payload(name: str, entry: dict[str, Any]) -> SchemaPayload:
    fields = tuple(_field(field) for field in entry["fields"])
    return SchemaPayload(
        name,
        entry["title"],
        entry["text"],
        fields,
        entry.get("extensible", False),
        tuple(entry["examples"]),
    )


def _message(entry: dict[str, Any]) -> SchemaMessage:
    reply = entry.get("reply")
    if reply is not None:
        # A reply has the number of its request with the high bit set; the schema states only the
        # request's.
        reply = _message({**reply, "value": entry["value"] | 0x80})
    return SchemaMessage(
        entry["name"], entry["value"], entry.get("payload", ""), entry.get("chunked", ""), reply
    )

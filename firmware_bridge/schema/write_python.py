"""The schema as Python: the text of `link_constants.py` and `link/messages.py`."""

from __future__ import annotations

import textwrap

from ccnvr.firmware_bridge.schema.schema import Enumeration, Schema, SchemaField, SchemaPayload

_WIDTH = 100

_NOTICE = "Generated from link.toml by `make generate`: change that file, not this one."

_STRUCT_CODES = {"u8": "B", "u16": "H", "u32": "I", "i16": "h"}

# Scan kinds are the same for every instrument, whatever its protocol: instrument.py defines them.
# A test compares them with the schema.
_ELSEWHERE = {"ScanKind"}

_MOST = {
    "name": "LONGEST_NAME",
    "text": "LONGEST_DETAIL",
    "doubles": "MOST_COEFFICIENTS",
    "bytes": "MAX_REQUEST - 2",
}
"""The limit of each type without a fixed size; `bytes` come after an offset in a request."""


def constants(schema: Schema) -> str:
    """Return the text of `link_constants.py`."""
    header = "<" + "".join(_STRUCT_CODES[field.type] for field in schema.header)
    lines = ['"""The numbers in the link\'s specification, PROTOCOL.md.', "", _NOTICE, '"""', ""]
    for constant in schema.constants:
        value = (
            f"0x{constant.value:02X}"
            if constant.name == "incompatible_flags"
            else str(constant.value)
        )
        lines += [
            f"{constant.name.upper()} = {value}",
            *_docstring(constant.text[0].upper() + constant.text[1:] + ".", ""),
            "",
        ]
    names = ", ".join(field.name for field in schema.header)
    lines += [
        f'HEADER_FORMAT = "{header}"',
        *_docstring(f"The header in the notation of `struct`. Its fields are {names}.", ""),
    ]
    return "\n".join(lines) + "\n"


def messages(schema: Schema) -> str:
    """Return the text of `link/messages.py`."""
    used = {_class_of(field) for payload in schema.payloads for field in payload.fields}
    limits = {word for name in _MOST.values() for word in name.split() if word.isupper()}
    lines = [
        '"""The messages in the frames of the link, as typed values with their bytes.',
        "",
        "They do no I/O. PROTOCOL.md specifies them.",
        "",
        _NOTICE,
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Sequence",
        "from enum import IntEnum, IntFlag",
        "from typing import ClassVar",
        "",
        "from ccnvr.firmware_bridge.frozen import frozen",
        "from ccnvr.firmware_bridge.instrument import ScanKind",
        *_import("link.payload", {*used, "Field", "Payload"}),
        *_import("link_constants", limits),
        "",
        "",
        "class Type(IntEnum):",
        '    """Types of frames. A reply is its request with the high bit set, except ERROR."""',
        "",
        *(f"    {message.name} = 0x{message.value:02X}" for message in schema.types()),
    ]
    for enumeration in schema.enumerations:
        if enumeration.name not in _ELSEWHERE:
            lines += ["", "", *_enumeration(enumeration)]
    for payload in schema.payloads:
        lines += ["", "", *_payload(payload)]
    return "\n".join(lines) + "\n"


def _enumeration(enumeration: Enumeration) -> list[str]:
    base = "IntFlag" if enumeration.flags else "IntEnum"
    lines = [
        f"class {enumeration.name}({base}):",
        f'    """{enumeration.text[0].upper()}{enumeration.text[1:]}."""',
        "",
    ]
    return lines + [f"    {value.name} = {value.value}" for value in enumeration.values]


def _payload(payload: SchemaPayload) -> list[str]:
    lines = [
        "@frozen",
        f"class {payload.name}(Payload):",
        *_docstring(payload.text, "    "),
        "",
    ]
    if payload.fields:
        lines += [*(f"    {field.name}: {_annotation(field)}" for field in payload.fields), ""]
    lines += [f'    TITLE: ClassVar[str] = "{payload.title}"']
    layout = [_layout(field) for field in payload.fields]
    if len(layout) <= 1:
        lines += [
            f"    LAYOUT: ClassVar[Sequence[Field]] = ({''.join(entry + ',' for entry in layout)})"
        ]
    else:
        lines += [
            "    LAYOUT: ClassVar[Sequence[Field]] = (",
            *(f"        {entry}," for entry in layout),
            "    )",
        ]
    if payload.extensible:
        lines += ["    EXTENSIBLE: ClassVar[bool] = True"]
    return lines


def _docstring(text: str, indent: str) -> list[str]:
    """Return a docstring whose first sentence is on a line of its own if it needs several lines."""
    width = _WIDTH - len(indent)
    if len(text) + 6 <= width:
        return [f'{indent}"""{text}"""']
    summary, _, rest = text.partition(". ")
    lines = [f'"""{summary}.', "", *textwrap.wrap(rest, width, break_long_words=False), '"""']
    return [(indent + line).rstrip() for line in lines]


def _class_of(field: SchemaField) -> str:
    return {
        "bit": "Bit",
        "name": "Name",
        "text": "Text",
        "doubles": "Doubles",
        "bytes": "Bytes",
    }.get(field.type, "Number")


def _annotation(field: SchemaField) -> str:
    plain = {
        "bit": "bool",
        "name": "str",
        "text": "str",
        "doubles": "Sequence[float]",
        "bytes": "bytes",
    }
    kind = field.meaning or plain.get(field.type, "int")
    if not field.later:
        return kind
    return f"{kind} = {kind}({field.default})" if field.meaning else f"{kind} = {field.default}"


def _layout(field: SchemaField) -> str:
    arguments = [f'"{field.name}"']
    if field.type in _STRUCT_CODES:
        arguments.append(f'"{_STRUCT_CODES[field.type]}"')
    if field.type in _MOST:
        arguments.append(_MOST[field.type])
    if field.meaning:
        arguments.append(field.meaning)
    if field.later:
        arguments.append("later=True")
    return f"{_class_of(field)}({', '.join(arguments)})"


def _import(module: str, names: set[str]) -> list[str]:
    """Return an import of `names`, laid out as the formatter does."""
    line = f"from ccnvr.firmware_bridge.{module} import {', '.join(sorted(names))}"
    if len(line) <= _WIDTH:
        return [line]
    head, _, _ = line.partition(" import ")
    return [f"{head} import (", *(f"    {name}," for name in sorted(names)), ")"]

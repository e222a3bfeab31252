"""The golden vectors in Python, in both directions, and whether generated files are up to date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ccnvr.firmware_bridge import link_constants
from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.framing import Damage
from ccnvr.firmware_bridge.instrument import ScanKind
from ccnvr.firmware_bridge.link import messages
from ccnvr.firmware_bridge.link.frames import Decoder, Frame, Reason, encode
from ccnvr.firmware_bridge.link.payload import Payload
from ccnvr.firmware_bridge.schema import generate as schema_generate
from ccnvr.firmware_bridge.schema import schema

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(schema.__file__).parents[1] / "vectors.json").read_text("utf-8")
)


def name_of(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def frame_of(vector: dict[str, Any]) -> Frame:
    return Frame(
        vector["type"],
        vector["sequence"],
        bytes.fromhex(vector["payload"]),
        vector["chunk"],
        vector["chunks"],
    )


def wire_of(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["wire"])


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=name_of)
def test_a_frame_decodes_whole_byte_by_byte_and_behind_garbage(vector: dict[str, Any]) -> None:
    wire, expected = wire_of(vector), frame_of(vector)
    assert Decoder().feed(wire) == [expected]
    decoder = Decoder()
    assert [event for byte in wire for event in decoder.feed(bytes([byte]))] == [expected]
    decoder = Decoder()
    for damage in VECTORS["damage"]:
        events = decoder.feed(wire + wire_of(damage) + b"\0" + wire)
        assert [event for event in events if isinstance(event, Frame)] == [expected, expected]
        assert [event.reason for event in events if isinstance(event, Damage)] == [
            Reason[damage["reason"]]
        ]


@pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS["frames"] if vector["encodes"]], ids=name_of
)
def test_a_frame_encodes(vector: dict[str, Any]) -> None:
    assert encode(frame_of(vector)) == wire_of(vector)


@pytest.mark.parametrize("vector", VECTORS["damage"], ids=name_of)
def test_damage_is_reported_byte_by_byte_too(vector: dict[str, Any]) -> None:
    decoder = Decoder()
    (event,) = [event for byte in wire_of(vector) for event in decoder.feed(bytes([byte]))]
    assert isinstance(event, Damage)
    assert event.reason is Reason[vector["reason"]]


@pytest.mark.parametrize("vector", VECTORS["payloads"], ids=lambda vector: vector["payload"])
def test_a_payload_packs_and_unpacks(vector: dict[str, Any]) -> None:
    kind: type[Payload] = getattr(messages, vector["payload"])
    values = {
        name: bytes.fromhex(value)
        if name == "data"
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in vector["values"].items()
    }
    assert kind.unpack(wire_of(vector)) == kind(**values)
    assert kind(**values).pack() == wire_of(vector)


def test_every_message_and_payload_has_a_vector() -> None:
    types = {vector["type"] for vector in VECTORS["frames"]}
    chunked = {messages.Type.WAVELENGTHS_DATA, messages.Type.MEMORY_DATA}
    assert set(messages.Type) - types == chunked
    assert {vector["payload"] for vector in VECTORS["payloads"]} == {
        entry.name for entry in schema.load().payloads
    }
    assert {vector["reason"] for vector in VECTORS["damage"]} == {reason.name for reason in Reason}


def test_an_instrument_that_states_no_features_has_none() -> None:
    whole = messages.Capabilities(
        1, 2, 3, 4, 5, 6, 7, "m", "s", "f", messages.Feature.LAMP, 64, 9600, 3
    ).pack()
    early = messages.Capabilities.unpack(whole[:-11])
    assert early == messages.Capabilities(
        1, 2, 3, 4, 5, 6, 7, "m", "s", "f", messages.Feature(0), 0, 0, 8
    )
    with pytest.raises(InstrumentError, match="no valid fastest_baud"):
        messages.Capabilities.unpack(whole[:-2])
    # A feature of a later revision is kept and ignored.
    later = messages.Capabilities.unpack(whole[:-11] + b"\x11\0\0\x80" + whole[-7:])
    assert messages.Feature.LAMP in later.features
    assert messages.Feature.BUTTON not in later.features


@pytest.mark.parametrize(
    "payload",
    [
        messages.Coefficients(messages.CoefficientKind.LINEARITY, (0.0,) * 17),
        messages.MemoryBlock(0, b""),
        messages.MemoryBlock(0, b"x" * 127),
        messages.MemoryBlock(65_536, b"x"),
    ],
)
def test_values_that_do_not_fit_the_wire_are_refused(payload: Payload) -> None:
    with pytest.raises(ValueError, match=r"more than 16|not 1 to 126|does not fit"):
        payload.pack()


def test_generated_files_are_up_to_date() -> None:
    for path, text in schema_generate.generated(schema.load()).items():
        assert path.read_text("utf-8") == text, f"{path.name}: run make generate"


def test_the_scan_kinds_of_the_schema_are_those_of_every_instrument() -> None:
    kinds = {value.name: value.value for value in schema.load().enumeration("ScanKind").values}
    assert kinds == {kind.name: kind.value for kind in ScanKind}
    assert schema.load().constant("version") == link_constants.VERSION

"""Frames: round trips, streams cut anywhere, garbage, and a million random streams."""

from __future__ import annotations

import random
import struct
import zlib
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccnvr.firmware_bridge.framing import Damage
from ccnvr.firmware_bridge.link.frames import (
    MAX_ENCODED,
    Decoder,
    Frame,
    Reason,
    cobs_decode,
    cobs_encode,
    encode,
)
from ccnvr.firmware_bridge.link_constants import HEADER_FORMAT, MAX_PAYLOAD, VERSION
from tools import fuzz_frames as fuzz_codec


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    chunks = draw(st.integers(1, 0xFFFF))
    return Frame(
        type=draw(st.integers(0, 255)),
        sequence=draw(st.integers(0, 0xFFFF)),
        payload=draw(st.binary(max_size=MAX_PAYLOAD)),
        chunk=draw(st.integers(0, chunks - 1)),
        chunks=chunks,
    )


def wire(body: bytes) -> bytes:
    """Return a frame of any body, with its right checksum."""
    return cobs_encode(body + struct.pack("<I", zlib.crc32(body))) + b"\0"


@given(st.binary(max_size=1100))
def test_stuffing_round_trips_without_zeros(data: bytes) -> None:
    encoded = cobs_encode(data)
    assert 0 not in encoded
    assert len(encoded) <= len(data) + len(data) // 254 + 1
    assert cobs_decode(encoded) == data


@pytest.mark.parametrize("length", [0, 1, 253, 254, 255, 507, 508, 509])
def test_stuffing_round_trips_at_group_borders(length: int) -> None:
    for data in (b"\1" * length, b"\0" * length, b"\1" * length + b"\0", b"\0" + b"\1" * length):
        assert cobs_decode(cobs_encode(data)) == data


@given(st.binary(max_size=300))
@example(b"\2\0")
@example(b"\xff" + b"\1" * 254)
def test_only_output_of_the_encoder_decodes(data: bytes) -> None:
    decoded = cobs_decode(data)
    assert decoded is None or cobs_encode(decoded) == data


WORDS = st.lists(
    st.tuples(
        st.sampled_from([b"\1\2\3\0", b"\1\2\0\0", b"\0\2\3\0", b"\1\0\3\0", b"\0", b"\1\2\3\4"]),
        st.integers(1, 40),
    ),
    max_size=30,
)
"""Counts whose zeros repeat, some words of one kind and then some of another."""


@given(WORDS, st.data())
def test_repeating_zeros_round_trip_and_their_damage_is_found(
    words: list[tuple[bytes, int]], data: st.DataObject
) -> None:
    plain = b"".join(word * count for word, count in words)[:1100]
    encoded = bytearray(cobs_encode(plain))
    assert cobs_decode(bytes(encoded)) == plain
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] = data.draw(st.sampled_from([1, 2, 3, 4, 5, 254, 255]))
    decoded = cobs_decode(bytes(encoded))
    assert decoded is None or cobs_encode(decoded) == encoded


def test_alternating_codes_that_end_behind_the_frame_do_not_decode() -> None:
    encoded = cobs_encode(b"\1\2\0" * 100)
    assert cobs_decode(encoded) == b"\1\2\0" * 100
    assert cobs_decode(encoded[:-2] + b"\3\3") is None
    assert cobs_decode((b"\3\1\1\2\1" * 100)[:-1]) is None


@given(st.lists(frames(), max_size=4))
def test_frames_round_trip_whole(sent: list[Frame]) -> None:
    assert Decoder().feed(b"".join(map(encode, sent))) == sent


@given(st.lists(frames(), min_size=1, max_size=3), st.integers(1, 40))
def test_frames_round_trip_cut_anywhere(sent: list[Frame], size: int) -> None:
    data, decoder = b"".join(map(encode, sent)), Decoder()
    received = [
        event
        for start in range(0, len(data), size)
        for event in decoder.feed(data[start : start + size])
    ]
    assert received == sent


@given(frames(), st.binary(max_size=2500))
def test_a_frame_survives_garbage_before_it(frame: Frame, garbage: bytes) -> None:
    events = Decoder().feed(garbage + b"\0" + encode(frame))
    assert events[-1] == frame
    assert all(isinstance(event, Damage) for event in events[:-1])


@given(frames(), st.data())
def test_a_flipped_bit_is_never_accepted(frame: Frame, data: st.DataObject) -> None:
    encoded = bytearray(encode(frame))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= 1 << data.draw(st.integers(0, 7))
    assert frame not in Decoder().feed(bytes(encoded))
    assert not [event for event in Decoder().feed(bytes(encoded)) if isinstance(event, Frame)]


@given(frames(), st.data())
def test_a_cut_frame_is_never_accepted(frame: Frame, data: st.DataObject) -> None:
    encoded = encode(frame)[:-1]
    keep = data.draw(st.integers(1, len(encoded) - 1))
    assert [type(event) for event in Decoder().feed(encoded[:keep] + b"\0")] == [Damage]


def test_damage_names_its_reason() -> None:
    body = struct.pack(HEADER_FORMAT, VERSION, 0, 1, 0, 0, 0, 1)
    cases = {
        b"\5\1\0": Reason.STUFFING,
        cobs_encode(b"short") + b"\0": Reason.LENGTH,
        b"\1" * (MAX_ENCODED + 1) + b"\0": Reason.LENGTH,
        cobs_encode(body + b"\0\0\0\0") + b"\0": Reason.CHECKSUM,
        wire(b"\2" + body[1:]): Reason.VERSION,
        wire(body[:1] + b"\x10" + body[2:]): Reason.FLAGS,
        wire(body[:-4] + struct.pack("<HH", 3, 3)): Reason.LENGTH,
    }
    for data, reason in cases.items():
        (event,) = Decoder().feed(data)
        assert isinstance(event, Damage)
        assert event.reason is reason
    assert Decoder().feed(wire(b"\2" + body[1:])) == [Damage(Reason.VERSION, 2)]
    assert Decoder().feed(wire(body[:1] + b"\x0f" + body[2:])) == [Frame(1, 0)]


def test_an_endless_frame_takes_no_memory_and_is_counted() -> None:
    decoder = Decoder()
    for _ in range(1000):
        assert decoder.feed(b"\1" * 1000) == []
    assert len(decoder._partial) <= MAX_ENCODED
    assert decoder.feed(b"\0" + encode(Frame(1, 2))) == [
        Damage(Reason.LENGTH, 1_000_000),
        Frame(1, 2),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        Frame(1, 0, b"x" * (MAX_PAYLOAD + 1)),
        Frame(256, 0),
        Frame(1, 0x10000),
        Frame(1, 0, chunk=1),
        Frame(1, 0, chunks=0),
    ],
)
def test_a_frame_that_does_not_fit_the_wire_is_refused(frame: Frame) -> None:
    with pytest.raises(ValueError):
        encode(frame)


def independently_valid(encoded: bytes) -> bool:
    """Return whether a second implementation accepts the piece between two delimiters.

    It unstuffs by definition, then looks for the fixed residue of the CRC.
    """
    out, rest = bytearray(), encoded
    while rest:
        code, rest = rest[0], rest[1:]
        out += rest[: code - 1]
        if len(rest) < code - 1:
            return False
        rest = rest[code - 1 :]
        if code != 255 and rest:
            out.append(0)
    return zlib.crc32(bytes(out)) == 0x2144DF1C


@pytest.mark.slow
def test_a_million_random_streams_never_raise_hang_or_pass_a_bad_checksum() -> None:
    source = random.Random(1)
    valid = [encode(Frame(source.randrange(256), n, source.randbytes(n % 40))) for n in range(200)]
    noise = source.randbytes(1 << 20)
    decoder, accepted = Decoder(), 0
    for number in range(1_000_000):
        start = source.randrange(len(noise) - 64)
        stream = noise[start : start + source.randrange(64)] + b"\0"
        if number % 4 == 0:
            # Every fourth stream is a valid frame with one byte changed, since random bytes would
            # never come near a frame.
            changed = bytearray(source.choice(valid))
            changed[source.randrange(len(changed))] = source.randrange(256)
            stream = bytes(changed) + b"\0"
        events = decoder.feed(stream)
        frames = sum(isinstance(event, Frame) for event in events)
        if frames:
            accepted += frames
            assert frames <= sum(
                independently_valid(piece) for piece in stream.split(b"\0") if piece
            )
    # A change may restore the byte that it replaces and so leave a valid frame. That some are
    # accepted shows that the test can tell acceptance from refusal.
    assert 0 < accepted < 5_000


def test_no_damaged_frame_comes_out_as_another() -> None:
    # `python -m tools.fuzz_frames` does the same ten million times.
    counts = sum(fuzz_codec.fuzz(100_000, seed=7), Counter())
    assert counts["frames"] == 100_000
    assert counts["false accepts"] == 0
    # Garbage beside a frame spares it. That some are accepted shows that the check can tell
    # acceptance from refusal.
    assert 1_000 < counts["accepted unharmed"] < 10_000
    assert counts["checksum"] > 10_000

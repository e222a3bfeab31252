"""The sliding decoder, with a codec of its own: `AB`, a length, so many bytes, and their sum."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ccnvr.firmware_bridge.framing import Damage, SlidingDecoder, Step, bytes_before


def encode(content: bytes) -> bytes:
    return b"AB" + bytes([len(content)]) + content + bytes([sum(content) % 256])


def take_next(buffer: bytearray) -> Step[bytes] | None:
    if before := bytes_before(b"AB", buffer):
        return Step.over(before, "no frame begins here")
    if len(buffer) < 3 or len(buffer) < 4 + buffer[2]:
        return None
    content = bytes(buffer[3 : 3 + buffer[2]])
    if sum(content) % 256 != buffer[3 + buffer[2]]:
        return Step.over(1, "sum")
    return Step(content, 4 + len(content))


@given(st.lists(st.binary(max_size=20)), st.integers(1, 30))
def test_frames_cut_anywhere_are_decoded(sent: list[bytes], size: int) -> None:
    stream, decoder = b"".join(map(encode, sent)), SlidingDecoder(take_next)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [event for piece in pieces for event in decoder.feed(piece)] == sent


@given(st.binary(max_size=40), st.binary(max_size=20))
def test_every_byte_is_part_of_a_frame_or_of_damage(noise: bytes, content: bytes) -> None:
    decoder = SlidingDecoder(take_next)
    events = decoder.feed(noise + encode(content))
    counted = sum(
        event.found if isinstance(event, Damage) else len(encode(event)) for event in events
    )
    assert counted + len(decoder._buffer) == len(noise + encode(content))


def test_a_frame_inside_a_damaged_one_is_found() -> None:
    inner = encode(b"hello")
    outer = b"AB" + bytes([len(inner)]) + inner + b"\0"
    events = SlidingDecoder(take_next).feed(outer)
    assert events[0] == Damage("sum", 1)
    assert [event for event in events if isinstance(event, bytes)] == [b"hello"]


def test_a_start_mark_that_is_cut_is_kept() -> None:
    decoder = SlidingDecoder(take_next)
    assert decoder.feed(b"xxA") == [Damage("no frame begins here", 2)]
    assert decoder.feed(encode(b"")[1:]) == [b""]

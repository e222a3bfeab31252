"""The bytes of drivers and instruments: golden frames, and whatever a line makes of them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.firmware_bridge.connect.registry import DRIVERS
from ccnvr.firmware_bridge.drivers import asd as driver_asd
from ccnvr.firmware_bridge.drivers.instrument_profile import parse_json, read_instrument_profile
from ccnvr.firmware_bridge.framing import Damage, SlidingDecoder, Step
from ccnvr.firmware_bridge.polled import nirscan_frames as codec_nirscan
from ccnvr.firmware_bridge.polled import obp_frames as codec_obp
from ccnvr.firmware_bridge.polled.exchange import Denied, Garbled
from ccnvr.firmware_bridge.polled.nirscan_frames import Packet
from ccnvr.firmware_bridge.polled.obp_frames import ACK_WANTED, VERSIONS, ObpMessage
from tools import fuzz_codecs

GOLDEN_OBP = {
    # GET_SERIAL, and an integration time of 100000 us with and without MD5, as in Ocean's sheets.
    ObpMessage(0x100, protected=False): "c1c00011"
    + "00000000"
    + "00010000"
    + "00" * 28
    + "14000000"
    + "00" * 16
    + "c5c4c3c2",
    ObpMessage(
        0x110010, data=struct.pack("<I", 100_000), flags=ACK_WANTED, protected=False
    ): "c1c00011"
    + "04000000"
    + "10001100"
    + "00" * 10
    + "0004"
    + "a0860100"
    + "00" * 12
    + "14000000"
    + "00" * 16
    + "c5c4c3c2",
    ObpMessage(0x110010, data=struct.pack("<I", 100_000), flags=ACK_WANTED): "c1c00011"
    + "04000000"
    + "10001100"
    + "00" * 10
    + "0104"
    + "a0860100"
    + "00" * 12
    + "14000000"
    + "13a4a266d9f695dfc1013830facb00eb"
    + "c5c4c3c2",
}


@pytest.mark.parametrize("message", GOLDEN_OBP)
def test_golden_messages_of_ocean(message: ObpMessage) -> None:
    data = bytes.fromhex(GOLDEN_OBP[message])
    assert codec_obp.encode(message) == data
    assert SlidingDecoder(codec_obp.next_message).feed(data) == [message]


def test_a_message_whose_md5_does_not_match_is_refused() -> None:
    data = bytearray(codec_obp.encode(ObpMessage(0x101100, 5, bytes(range(100)))))
    for position in range(8, len(data) - 4):
        data[position] ^= 1
        assert not [
            event
            for event in SlidingDecoder(codec_obp.next_message).feed(bytes(data))
            if isinstance(event, ObpMessage) and event.protected
        ]
        data[position] ^= 1


def test_golden_packet_of_a_nirscan() -> None:
    # Perform a scan, not stored: 40 + 01 + 03 + 00 + 18 + 02 + 00 add up to 5e.
    data = bytes.fromhex("414243445e0000004001030018020044434241")
    packet = Packet(0x0218, 1, b"\0", codec_nirscan.WRITE)
    assert codec_nirscan.encode(packet) == data
    assert SlidingDecoder(codec_nirscan.next_packet).feed(data) == [packet]


messages = st.builds(
    ObpMessage,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=60),
    st.integers(0, 63),
    st.integers(0, 255),
    st.sampled_from(VERSIONS),
    st.booleans(),
)
packets = st.builds(
    Packet, st.integers(0, 65_535), st.integers(0, 255), st.binary(max_size=60), st.integers(0, 255)
)


@pytest.mark.parametrize(
    ("frame", "encode", "take_next"),
    [
        (messages, codec_obp.encode, codec_obp.next_message),
        (packets, codec_nirscan.encode, codec_nirscan.next_packet),
    ],
    ids=["obp", "nirscan"],
)
@given(st.data())
def test_a_stream_cut_anywhere_gives_the_same_frames(
    frame: st.SearchStrategy[object],
    encode: Callable[[object], bytes],
    take_next: Callable[[bytearray], Step[object] | None],
    data: st.DataObject,
) -> None:
    frames = data.draw(st.lists(frame, max_size=4))
    garbage = data.draw(
        st.binary(max_size=12).map(lambda noise: noise.replace(b"\xc1", b"").replace(b"A", b""))
    )
    stream = b"".join(garbage + encode(frame) for frame in frames)
    decoder, found = SlidingDecoder(take_next), []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[start:stop])
    assert [event for event in found if not isinstance(event, Damage)] == frames


@given(st.binary(max_size=3_000))
def test_no_bytes_make_a_codec_raise_or_grow(data: bytes) -> None:
    for decoder in (
        SlidingDecoder(codec_obp.next_message),
        SlidingDecoder(codec_nirscan.next_packet),
    ):
        for start in range(0, len(data), 100):
            decoder.feed(data[start : start + 100])
        assert len(decoder._buffer) <= codec_obp.MAX_PAYLOAD + 64


@pytest.mark.parametrize("name", fuzz_codecs.targets())
def test_mutated_frames_are_refused(name: str) -> None:
    """Run `tools/fuzz_codecs.py` for a short time."""
    target = fuzz_codecs.targets()[name]
    tally = fuzz_codecs.fuzz(target, 3_000, seed=5)
    assert tally.refused > 1_000
    assert not (target.guarded and tally.altered)


def test_json_with_nil_or_a_wrong_checksum_is_refused() -> None:
    profile = read_instrument_profile("multispeq")
    good = b'{"device_version":nil,"sample":[[{"data_raw":[1,2,3]}]]}'
    np.testing.assert_array_equal(parse_json(good + _crc(good), profile), [1, 2, 3])
    for bad in (
        good + b"00000000",
        good.replace(b"2", b"nil") + _crc(good.replace(b"2", b"nil")),
        b"",
        b"[" * 5_000,
    ):
        with pytest.raises(Garbled):
            parse_json(bad, profile)


def _crc(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08X}".encode()


def test_a_spectrum_with_a_nan_is_refused() -> None:
    # A signalling NaN, found by fuzzing, of which NumPy warned.
    reply = (
        bytes(4 * driver_asd.HEADER_INTS)
        + bytes.fromhex("7fa00000")
        + bytes(4 * (driver_asd.WAVELENGTHS.size - 1))
    )
    with pytest.raises(Garbled, match="a spectrum with integration step 0"):
        driver_asd.parse_spectrum(reply)


def test_an_error_of_an_asd_is_named() -> None:
    header = np.zeros(driver_asd.HEADER_INTS, ">i4")
    header[1] = -10
    reply = header.tobytes() + bytes(4 * driver_asd.WAVELENGTHS.size)
    assert len(reply) == 8_860
    with pytest.raises(Denied, match="VNIR time-out"):
        driver_asd.parse_spectrum(reply)
    assert driver_asd.RESTORE.size == 7_616


@pytest.mark.parametrize("name", ["drivers/chromation", "simulators/chromation"])
def test_the_page_on_adding_an_instrument_shows_a_real_driver(name: str) -> None:
    root = Path(__file__).parents[3]
    page, code = (
        (root / "docs" / "adding-an-instrument.md").read_text(),
        (root / "firmware_bridge" / f"{name}.py").read_text(),
    )
    assert f"```python\n{code}```" in page
    assert len(code.splitlines()) < 120


def test_every_driver_is_in_the_table_and_says_what_is_not_verified() -> None:
    page = (Path(__file__).parents[3] / "docs" / "instruments.md").read_text()
    for driver in DRIVERS.values():
        assert f"| `{driver.name}` |" in page
        module: Callable[..., object] | object = driver.load()
        if driver.name != "ccnvr" and driver.profile is None:
            assert "Not verified" in str(module.__doc__)

"""The bytes that drivers and instruments exchange: golden frames, transcripts, and whatever a line makes of them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import fuzz_codecs
import numpy as np
import pytest
from helpers import WithoutRate
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.firmware_bridge import (
    codec_nirscan,
    codec_obp,
    driver_as7265x,
    driver_asd,
    driver_chromation,
    driver_lines,
    driver_ooi,
)
from ccnvr.firmware_bridge.codec_nirscan import Packet
from ccnvr.firmware_bridge.codec_obp import ACK_WANTED, VERSIONS, Message
from ccnvr.firmware_bridge.drivers import DRIVERS
from ccnvr.firmware_bridge.exchange import Damage, Denied, Garbled
from ccnvr.firmware_bridge.instrument import ScanKind, Settings
from ccnvr.firmware_bridge.polled import PolledInstrument

GOLDEN_OBP = {
    # GET_SERIAL, and an integration time of 100000 us with and without MD5, as Ocean's sheets lay them out.
    Message(0x100, protected=False): "c1c00011" + "00000000" + "00010000" + "00" * 28 + "14000000" + "00" * 16 + "c5c4c3c2",
    Message(0x110010, data=struct.pack("<I", 100_000), flags=ACK_WANTED, protected=False): "c1c00011"
    + "04000000"
    + "10001100"
    + "00" * 10
    + "0004"
    + "a0860100"
    + "00" * 12
    + "14000000"
    + "00" * 16
    + "c5c4c3c2",
    Message(0x110010, data=struct.pack("<I", 100_000), flags=ACK_WANTED): "c1c00011"
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
def test_ocean_s_golden_messages(message: Message) -> None:
    data = bytes.fromhex(GOLDEN_OBP[message])
    assert codec_obp.encode(message) == data
    assert codec_obp.Decoder().feed(data) == [message]


def test_a_message_whose_md5_does_not_match_is_no_message() -> None:
    data = bytearray(codec_obp.encode(Message(0x101100, 5, bytes(range(100)))))
    for position in range(8, len(data) - 4):
        data[position] ^= 1
        assert not [event for event in codec_obp.Decoder().feed(bytes(data)) if isinstance(event, Message) and event.protected]
        data[position] ^= 1


def test_a_nirscan_s_golden_packet() -> None:
    # Perform a scan, not stored: 40 + 01 + 03 + 00 + 18 + 02 + 00 add up to 5e.
    data = bytes.fromhex("414243445e0000004001030018020044434241")
    packet = Packet(0x0218, 1, b"\0", codec_nirscan.WRITE)
    assert codec_nirscan.encode(packet) == data
    assert codec_nirscan.Decoder().feed(data) == [packet]


messages = st.builds(
    Message,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=60),
    st.integers(0, 63),
    st.integers(0, 255),
    st.sampled_from(VERSIONS),
    st.booleans(),
)
packets = st.builds(Packet, st.integers(0, 65_535), st.integers(0, 255), st.binary(max_size=60), st.integers(0, 255))


@pytest.mark.parametrize("which", [codec_obp, codec_nirscan])
@given(st.data())
def test_a_stream_cut_anywhere_gives_the_same_frames(which: object, data: st.DataObject) -> None:
    frames = data.draw(st.lists(messages if which is codec_obp else packets, max_size=4))
    garbage = data.draw(st.binary(max_size=12).map(lambda noise: noise.replace(b"\xc1", b"").replace(b"A", b"")))
    stream = b"".join(garbage + which.encode(frame) for frame in frames)  # type: ignore[attr-defined]
    decoder, found = which.Decoder(), []  # type: ignore[attr-defined]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[start:stop])
    assert [event for event in found if not isinstance(event, Damage)] == frames


@given(st.binary(max_size=3_000))
def test_no_bytes_make_a_codec_raise_or_hoard(data: bytes) -> None:
    for decoder in (codec_obp.Decoder(), codec_nirscan.Decoder()):
        for start in range(0, len(data), 100):
            decoder.feed(data[start : start + 100])
        assert len(decoder._buffer) <= codec_obp.MAX_PAYLOAD + 64


@pytest.mark.parametrize("name", fuzz_codecs.targets())
def test_mutated_frames_are_refused(name: str) -> None:
    """A short run of `tests/fuzz_codecs.py`."""
    target = fuzz_codecs.targets()[name]
    tally = fuzz_codecs.fuzz(target, 3_000, seed=5)
    assert tally.refused > 1_000
    assert not (target.guarded and tally.altered)


class Transcript(WithoutRate):
    """A transport that expects each line of a dialogue in turn: what the host sends, and what it gets."""

    url = "transcript://"

    def __init__(self, dialogue: list[tuple[bytes, bytes]]) -> None:
        self.left, self._arrived = list(dialogue), b""

    def write(self, data: bytes) -> None:
        expected, reply = self.left.pop(0)
        assert data == expected
        self._arrived += reply

    def read(self, timeout_s: float) -> bytes:
        data, self._arrived = self._arrived, b""
        return data

    def close(self) -> None:
        pass


def scan_of(driver: PolledInstrument, wire: Transcript, settings: Settings, kind: ScanKind = ScanKind.SAMPLE) -> np.ndarray:
    driver.identify()
    driver.configure(settings)
    counts = driver.scan(kind).counts
    assert not wire.left
    return counts


def test_transcript_as7265x() -> None:
    """The bands come by the chips' letters, R to W, J to L, A to F, and are put in the order of their wavelengths."""
    data = b"100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100, 1200, 1300, 1400, 1500, 1600, 1700, 1800 OK\n"
    wire = Transcript(
        [
            (b"\r\n", b""),
            (b"ATVERHW\r\n", b"0x4041 OK\n"),
            (b"ATVERSW\r\n", b"12.0.0 OK\n"),
            (b"ATINTTIME=10\r\n", b"OK\n"),
            (b"ATINTTIME\r\n", b"10 OK\n"),
            (b"ATLED1=100\r\n", b"OK\n"),
            (b"ATTCSMD=3\r\n", b"OK\n"),
            (b"ATDATA\r\n", data),
            (b"ATDATA\r\n", data),
            (b"ATTEMP\r\n", b"31,30,32 OK\n"),
        ]
    )
    driver = driver_as7265x.As7265x(wire, 0.01)
    driver.settle_s = 0.0
    counts = scan_of(driver, wire, Settings(28_000, 1))
    # 410-535 nm are A to F, then G, H, R, I, S, J, T, U, V, W, K, L.
    hundreds = [13, 14, 15, 16, 17, 18, 9, 10, 1, 8, 2, 7, 3, 4, 5, 6, 11, 12]
    np.testing.assert_array_equal(counts, 100.0 * np.array(hundreds))


def test_transcript_ooi() -> None:
    spectrum = bytes.fromhex("02ffff00000001000a00000000000004050607fffd")
    set_up = [(letter + b"\0\0", b"\x06") for letter in (b"P", b"k", b"G", b"T")]
    wire = Transcript(
        [
            (bytes(4), b"\x15" * 4),
            (b"bB", b"\x06"),
            *set_up,
            (b"v", b"\x06\x03\xe8"),
            (b"I\0\x0a", b"\x06"),
            (b"A\0\x01", b"\x06"),
            (b"J\0\0", b"\x06"),
            (b"S", spectrum),
            (b"S", spectrum),
        ]
    )
    driver = driver_ooi.OceanLetters(wire, 0.01, [340.0, 1.0], 2, "OOI")
    np.testing.assert_array_equal(scan_of(driver, wire, Settings(10_000, 1), ScanKind.DARK), [0x0405, 0x0607])


def test_transcript_chromation() -> None:
    frame = bytes.fromhex("00000188") + (b"\x01\x02" * 392)
    wire = Transcript([(bytes(4), b""), (b"\x0b", frame), (b"\x0a\x00\x32", b"\0\0"), (b"\x0b", frame), (b"\x0b", frame)])
    driver = driver_chromation.Chromation(wire, 0.01, [348.0, 1.23])
    np.testing.assert_array_equal(scan_of(driver, wire, Settings(1_000, 1)), np.full(392, 0x0102))


def test_transcript_minispec() -> None:
    lines = b"".join(b" ".join([b"6000"] * 10) + b"\r\n" for _ in range(28)) + b" ".join([b"6001"] * 8) + b"\r\n"
    wire = Transcript(
        [
            (b"\r", b""),
            (b"format=1\r", b"ok\r\n"),
            (b"version\r", b"MiniSpec 3.1\r\n"),
            (b"i=5000\r", b"ok\r\n"),
            (b"m\r", lines),
            (b"gd\r", lines),
            (b"gd\r", lines),
        ]
    )
    driver = driver_lines.LineInstrument(wire, 0.01, driver_lines.read_profile("minispec"), [340.0, 1.8])
    counts = scan_of(driver, wire, Settings(5_000, 1))
    assert (counts[0], counts[287]) == (6_000.0, 6_001.0)


def test_json_with_nil_or_another_checksum_is_no_spectrum() -> None:
    profile = driver_lines.read_profile("multispeq")
    good = b'{"device_version":nil,"sample":[[{"data_raw":[1,2,3]}]]}'
    np.testing.assert_array_equal(driver_lines.parse_json(good + _crc(good), profile), [1, 2, 3])
    for bad in (good + b"00000000", good.replace(b"2", b"nil") + _crc(good.replace(b"2", b"nil")), b"", b"[" * 5_000):
        with pytest.raises(Garbled):
            driver_lines.parse_json(bad, profile)


def _crc(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08X}".encode()


def test_a_float_that_is_no_number_is_no_spectrum() -> None:
    # A signalling NaN, found by fuzzing: NumPy warned of it.
    reply = bytes(4 * driver_asd.HEADER_INTS) + bytes.fromhex("7fa00000") + bytes(4 * (driver_asd.WAVELENGTHS.size - 1))
    with pytest.raises(Garbled, match="a spectrum with integration step 0"):
        driver_asd.parse_spectrum(reply)


def test_an_asd_s_error_is_named() -> None:
    header = np.zeros(driver_asd.HEADER_INTS, ">i4")
    header[1] = -10
    reply = header.tobytes() + bytes(4 * driver_asd.WAVELENGTHS.size)
    assert len(reply) == 8_860
    with pytest.raises(Denied, match="VNIR time-out"):
        driver_asd.parse_spectrum(reply)
    assert driver_asd.RESTORE.size == 7_616


@pytest.mark.parametrize("name", ["driver_chromation", "simulator_chromation"])
def test_the_page_on_adding_an_instrument_shows_a_real_driver(name: str) -> None:
    root = Path(__file__).parents[1]
    page, code = (root / "docs" / "adding-an-instrument.md").read_text(), (root / "firmware_bridge" / f"{name}.py").read_text()
    assert f"```python\n{code}```" in page
    assert len(code.splitlines()) < 120


def test_every_driver_has_a_page_and_says_what_is_not_verified() -> None:
    page = (Path(__file__).parents[1] / "docs" / "instruments.md").read_text()
    for driver in DRIVERS.values():
        assert f"| `{driver.name}` |" in page
        module: Callable[..., object] | object = driver.load()
        if driver.name != "ccnvr" and driver.profile is None:
            assert "Not verified" in str(module.__doc__)

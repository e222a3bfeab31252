"""Transcripts: byte for byte what host and instrument say by the instrument's documents; `test_transcripts.py` plays them.

A transcript shares no code with the simulators, so that no error is made twice. Where a document gives the layout of an
answer but no bytes, the answer is built here from the layout, which its transcript then says.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from played_port import Line

from ccnvr.firmware_bridge.instrument import ScanKind, Settings


@dataclass
class Case:
    """A dialogue and what must come of it: `counts` of the scan, and `wavelengths` of some pixels, in nm."""

    driver: str
    transcript: list[Line]
    counts: list[int] | list[float]
    wavelengths: dict[int, float] = field(default_factory=dict)
    settings: Settings = field(default_factory=lambda: Settings(10_000, 1))
    kind: ScanKind = ScanKind.SAMPLE
    options: dict[str, str] = field(default_factory=dict)
    greeting: bytes = b""
    temperature_c: float = float("nan")
    saturated: bool = False


def lines(*dialogue: tuple[bytes, bytes]) -> list[Line]:
    return [Line(*line) for line in dialogue]


# Ocean Binary Protocol --------------------------------------------------------------------------------------------------


def ocean(kind: int, regarding: int, data: bytes = b"", flags: int = 0, md5: bool = True) -> bytes:
    """A message of protocol 0x1100 after the header's table in Ocean's data sheets."""
    immediate, payload = (data, b"") if len(data) <= 16 else (b"", data)
    message = bytes.fromhex("c1c0 0011") + struct.pack("<HHII", flags, 0, kind, regarding) + bytes(6)
    message += bytes([md5, len(immediate)]) + immediate.ljust(16, b"\0") + struct.pack("<I", len(payload) + 20) + payload
    return message + (hashlib.md5(message).digest() if md5 else bytes(16)) + bytes.fromhex("c5c4c3c2")


SET_100_MS = bytes.fromhex(
    "c1c00011 0400 0000 10001100 00000000 000000000000 01 04 a0860100 000000000000000000000000 14000000"
    "13a4a266d9f695dfc1013830facb00eb c5c4c3c2"
)
"""Ocean's worked example: an integration time of 100000 us, acknowledgement wanted, with its MD5."""


def obp() -> Case:
    """An STS with 1024 pixels, its baud rate raised first; the host counts its messages so that the worked example is one."""
    said: list[Line] = []
    regarding = 2**32 - 15

    def ask(kind: int, answer: bytes = b"", data: bytes = b"", wanted: int = 0, baud: int = 115_200, md5: bool = True) -> None:
        nonlocal regarding
        regarding = (regarding + 1) % 2**32
        # An answer bears flag 0, an acknowledgement flag 1.
        reply = ocean(kind, regarding, answer, 1 | wanted >> 1, md5)
        said.append(Line(ocean(kind, regarding, data, wanted), reply, baud))

    ask(0x100, b"S04302", baud=9_600, md5=False)
    ask(0x10, data=b"\1", wanted=4, baud=9_600)
    ask(0x810, data=struct.pack("<I", 115_200), wanted=4, baud=9_600)
    ask(0x100, b"S04302")
    ask(0x1010A0, struct.pack("<H", 16_383))
    ask(0x180100, b"\4")
    for index, coefficient in enumerate((338.5, 0.46875, -(2.0**-17), 0.0)):
        ask(0x180101, struct.pack("<f", coefficient), bytes([index]))
    ask(0x110220, struct.pack("<I", 1_024))
    ask(0x110001, struct.pack("<I", 10))
    ask(0x110002, struct.pack("<I", 85_000_000))
    ask(0x90, bytes.fromhex("3401"))
    ask(0x110010, data=struct.pack("<I", 100_000), wanted=4)
    assert said[-1].host == SET_100_MS
    ask(0x120010, data=struct.pack("<H", 3), wanted=4)
    ask(0x110000, struct.pack("<I", 100_000))
    ask(0x120000, struct.pack("<H", 3))
    ask(0x110410, data=b"\1", wanted=4)
    ask(0x101100, b"".join(struct.pack("<H", 1_500 + pixel) for pixel in range(1_024)))
    ask(0x400001, struct.pack("<f", 31.5), b"\0")
    return Case(
        "obp",
        said,
        [1_500 + pixel for pixel in range(1_024)],
        {0: 338.5, 1: 338.5 + 0.46875 - 2.0**-17, 1_023: 338.5 + 0.46875 * 1_023 - 1_023**2 / 2**17},
        Settings(100_000, 3),
        temperature_c=31.5,
    )


# TI DLP NIRscan Nano ----------------------------------------------------------------------------------------------------


def nirscan() -> Case:
    """A scan of three bands, of which the instrument is not done at the first question. Frames are laid out after
    NNOUARTDefs.h; that of the scan is the protocol's worked example."""
    said: list[Line] = []

    def frame(flags: int, payload: bytes) -> bytes:
        body = bytes([flags, len(said) + 1]) + struct.pack("<H", len(payload)) + payload
        return b"ABCD" + struct.pack("<I", sum(body)) + body + b"DCBA"

    def ask(command: int, answer: bytes = b"", data: bytes = b"", flags: int = 0xC0) -> None:
        key = struct.pack("<H", command)
        said.append(Line(frame(flags, key + data), frame(flags, key + answer)))

    # 900, 1300 and 1700 nm as doubles, each with its intensity: 1000, -2, 8388607.
    bands = bytes.fromhex("03000000 0000000000208c40 e8030000 0000000000509440 feffffff 0000000000909a40 ffff7f00")

    def scan() -> None:
        ask(0x0218, data=b"\0", flags=0x40)
        ask(0x0219, b"\0")
        ask(0x0219, b"\1")
        ask(0x0239, flags=0x40)
        ask(0x023A, b"\1")
        for _ in range(2):
            ask(0x002D, struct.pack("<I", 40), b"\x08")
            ask(0x002E, bands[:30])
            ask(0x002E, bands[30:])

    ask(0x0216, bytes.fromhex("06010200") + bytes(20))
    ask(0x0233, b"5490001\0")
    ask(0x023C, b"NIRscan Nano\0\0\0\0")
    ask(0x0237, struct.pack("<I", 2_400))
    scan()
    assert said[4].host == bytes.fromhex("41424344 62000000 40 05 0300 1802 00 44434241")
    ask(0x022E, data=struct.pack("<H", 6), flags=0x40)
    ask(0x0225, data=b"\1", flags=0x40)
    scan()
    ask(0x0300, struct.pack("<i", 2_950))
    waves = {0: 900.0, 1: 1_300.0, 2: 1_700.0}
    return Case("nirscan", said, [1_000, -2, 8_388_607], waves, Settings(2_400_000, 6), temperature_c=29.5, saturated=True)


# Ocean's letters, Chromation, AS7265x -----------------------------------------------------------------------------------


def ooi() -> Case:
    """Two pixels of a USB2000+, dark: the stream of the Flame's manual, words with the high byte first."""
    spectrum = bytes.fromhex("02 ffff 0000 0001 000a 0000 0000 0000 0405 0607 fffd")
    said = lines(
        (bytes(4), b"\x15" * 4),
        (b"bB", b"\x06"),
        *((letter + b"\0\0", b"\x06") for letter in (b"P", b"k", b"G", b"T")),
        (b"v", b"\x06\x03\xe8"),
        (b"I\0\x0a", b"\x06"),
        (b"A\0\x01", b"\x06"),
        (b"J\0\0", b"\x06"),
        (b"S", spectrum),
        (b"S", spectrum),
    )
    options = {"coefficients": "340,1", "pixels": "2"}
    return Case("ooi", said, [0x0405, 0x0607], {0: 340.0, 1: 341.0}, kind=ScanKind.DARK, options=options)


def chromation() -> Case:
    """392 pixels after microspec.json: status of bridge and sensor, number of pixels, pixels."""
    frame = bytes.fromhex("00 00 0188") + b"\x01\x02" * 391 + b"\x0f\xff"
    said = lines((bytes(4), b""), (b"\x0b", frame), (b"\x0a\x01\xf4", b"\0\0"), (b"\x0b", frame), (b"\x0b", frame))
    options = {"coefficients": "348,1"}
    return Case("chromation", said, [0x0102] * 391 + [0x0FFF], {0: 348.0, 391: 739.0}, options=options, saturated=True)


def as7265x() -> Case:
    """The bands come by the chips' letters, R to W, J to L, A to F, and are put in the order of their wavelengths."""
    data = b"100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100, 1200, 1300, 1400, 1500, 1600, 1700, 1800 OK\n"
    said = lines(
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
    )
    # 410-535 nm are A to F, then G, H, R, I, S, J, T, U, V, W, K, L.
    hundreds = [13, 14, 15, 16, 17, 18, 9, 10, 1, 8, 2, 7, 3, 4, 5, 6, 11, 12]
    waves = {0: 410.0, 8: 610.0, 17: 940.0}
    return Case("as7265x", said, [100 * value for value in hundreds], waves, Settings(28_000, 1), temperature_c=31.0)


# NIRONE -----------------------------------------------------------------------------------------------------------------


def nirone(order: str) -> Case:
    """Three wavelengths, two scans averaged. No document gives an answer's bytes: they are built here as the two open drivers
    read them, "label: value" and the value that was set. Among the floats' bytes are a carriage return and a line feed."""
    floats = [bytes.fromhex(value) for value in ("447a0000", "44800a0d", "45000d0a")]
    data = b"".join(value if order == "big" else value[::-1] for value in floats)
    table = lines(
        (b"W0,1550.0\r", b"Wavelength 0: 1550.0\r\n"),
        (b"W1,1750.0\r", b"Wavelength 1: 1750.0\r\n"),
        (b"W2,1950.0\r", b"Wavelength 2: 1950.0\r\n"),
    )
    measure = lines(
        (b"LI100\r", b"Lamp intensity: 100\r\n"), (b"XM\r", b"Measurement ready\r\n"), (b"Xm0,3\r", data), (b"Xm0,3\r", data)
    )
    said = [
        *lines(
            (b"\r", b""),
            (b"!\r", b"OK\r\n"),
            (b"h0\r", b"Sensor type: NIRONE S2.0\r\n"),
            (b"h2\r", b"Serial number: 1234\r\n"),
            (b"h3\r", b"Minimum wavelength: 1550.0\r\n"),
            (b"h4\r", b"Maximum wavelength: 1950.0\r\n"),
            (b"m\r", b"Number of wavelengths: 3\r\n"),
        ),
        *table,
        *lines((b"E0\r", b"Measurement time: 12.5\r\n"), (b"V3,1\r", b"Averages: 3,1\r\n")),
        *measure,
        *lines((b"i\r", b"FW version: 1.4\r\n"), (b"V3,2\r", b"Averages: 3,2\r\n")),
        *measure,
        *lines((b"St\r", b"Sensor temperature: 30.25\r\n")),
    ]
    # 1000; 1024 (1 + 0x0a0d / 2^23); 2048 (1 + 0x0d0a / 2^23).
    counts = [1_000.0, 1_024.3140869140625, 2_048.81494140625]
    waves = {0: 1_550.0, 1: 1_750.0, 2: 1_950.0}
    return Case("nirone", said, counts, waves, Settings(12_500, 2), temperature_c=30.25)


# Lines of text ----------------------------------------------------------------------------------------------------------


def minispec() -> Case:
    """Ten values a line, the last line of eight; asked for again twice."""
    values = b"".join(b" ".join([b"6000"] * 10) + b"\r\n" for _ in range(28)) + b" ".join([b"6001"] * 8) + b"\r\n"
    said = lines(
        (b"\r", b""),
        (b"format=1\r", b"ok\r\n"),
        (b"version\r", b"MiniSpec 3.1\r\n"),
        (b"i=5000\r", b"ok\r\n"),
        (b"m\r", values),
        (b"gd\r", values),
        (b"gd\r", values),
    )
    counts = [6_000] * 280 + [6_001] * 8
    return Case("minispec", said, counts, {0: 341.0}, Settings(5_000, 1), options={"coefficients": "340,1"})


def luxnode(kind: ScanKind) -> Case:
    """The frame that LuxNode's page "Firmware Protocol" shows, continued to 288 pixels. SCAN leaves the lamp as it is, so a
    sample is taken with WHITE, which switches it on. The second scan lies two counts higher: the mean counts."""
    command = {ScanKind.DARK: "DARK", ScanKind.SAMPLE: "WHITE"}[kind]

    def frame(tag: str, more: int) -> bytes:
        values = [123, 124, 130, *range(200, 485)]
        pixels = ",".join(str(value + more) for value in values)
        return f'{{"device":"luxnode-v0","kind":"{tag}","pixels":[{pixels}]}}\n'.encode()

    said = lines(
        (b"\n", b""),
        (b"SCAN\n", frame("raw", 0)),
        (f"{command}\n".encode(), frame(command.lower(), 0)),
        (f"{command}\n".encode(), frame(command.lower(), 2)),
    )
    counts = [124, 125, 131, *range(201, 486)]
    return Case("luxnode", said, counts, {0: 341.0, 287: 628.0}, kind=kind, options={"coefficients": "340,1"})


def c12880ma() -> Case:
    """After microspec.ino: the error that repeats an unknown command, silence for the integration time, a line of numbers."""
    values = b",".join(str(100 + 3 * pixel).encode() for pixel in range(288)) + b"\n"
    said = lines(
        (b"\n", b""),
        (b"CCNVR0badcafe\n", b"### Error: command 'CCNVR0badcafe' not recognized ###\n"),
        (b"SPEC.INTEG 0.000025\n", b""),
        (b"SPEC.READ?\n", values),
        (b"SPEC.READ?\n", values),
    )
    counts = [100 + 3 * pixel for pixel in range(288)]
    return Case("c12880ma", said, counts, {0: 341.0}, Settings(25, 1), options={"coefficients": "340,1"})


MULTISPEQ_DARK = (
    b'[{"averages":4,"pulses":[1,1,1,1,1,1,1,1,1,1],"pulse_distance":[1500,1500,1500,1500,1500,1500,1500,1500,1500,1500],'
    b'"pulse_length":[[20],[20],[20],[20],[20],[20],[20],[20],[20],[20]],'
    b'"pulsed_lights":[[1],[2],[3],[4],[5],[6],[7],[8],[9],[10]],'
    b'"pulsed_lights_brightness":[[0],[0],[0],[0],[0],[0],[0],[0],[0],[0]],'
    b'"detectors":[[1],[1],[1],[1],[1],[1],[1],[1],[1],[1]]}]'
)

MULTISPEQ_NOW = (
    b'{"device_name":"MultispeQ","device_version":"2","device_id":"01:12:53:04","device_battery":95,"device_firmware":2.3465,'
    b'"sample":[{"protocol_id":"","light_intensity":nil,"data_raw":[2190,2204,2177,2207,2189,2214,2195,2185,2201,2180]}]}'
    b"34AA4C17\n\n"
)
"""After PhotosynQ's page "Instrument API", with a value that is none."""

MULTISPEQ_ONCE = (
    b'{"device_id": 21.00,"firmware_version": "0.10","sample": [[{"protocol_id": "","slope_34":6.86,'
    b'"data_raw":[2190,2204,2177,2207,2189,2214,2195,2185,2201,2180]}]]}955423B9\r\n'
)
"""As firmware 0.10 nests it, in an example that PhotosynQ's macros keep."""


def multispeq(kind: ScanKind, answer: bytes) -> Case:
    brightness = b"[0]" if kind is ScanKind.DARK else b"[2000]"
    asked = MULTISPEQ_DARK.replace(b"[0]", brightness) + b"\r\n"
    said = lines(
        (b"\r\n", b""),
        (b"ccnvr0badcafe\r\n", b"bad command: ccnvr0badcafe\r\n"),
        (b"hello\r\n", b"MultispeQ Ready\r\n"),
        (asked, answer),
    )
    counts = [2190, 2204, 2177, 2207, 2189, 2214, 2195, 2185, 2201, 2180]
    return Case("multispeq", said, counts, {0: 365.0}, Settings(20, 4), kind, {"coefficients": "365,63.8"})


# ASD FieldSpec ----------------------------------------------------------------------------------------------------------


def asd() -> Case:
    """Five scans averaged at 68 ms. Answers are built from the documented layout: 64 integers and 2151 floats, big-endian."""
    restore = struct.pack(">ii", 100, 0)
    restore += b"".join(name.ljust(30, b"\0") for name in (b"VStartingWavelength", b"SerialNumber")) + bytes(198 * 30)
    restore += struct.pack(">2d", 350.0, 18_140.0) + bytes(198 * 8) + struct.pack(">ii", 2, 0)
    assert len(restore) == 4 * 1_904

    def spectrum(averages: int, more: float) -> bytes:
        header = [100, 0, *[0] * 14, 2, averages, *[0] * 46]
        return struct.pack(">64i", *header) + struct.pack(">2151f", *(1_000.5 + more + pixel for pixel in range(2_151)))

    said = lines(
        (b"RESTORE,1", restore),
        (b"A,1,1", spectrum(1, 0.0)),
        (b"A,1,5", spectrum(5, 0.0)),
        (b"A,1,5", spectrum(5, 4.0)),
    )
    waves = {0: 350.0, 1: 351.0, 2_150: 2_500.0}
    counts = [1_002.5 + pixel for pixel in range(2_151)]
    # 47 characters and the address and port, which nobody asked for.
    return Case("asd", said, counts, waves, Settings(68_000, 5), greeting=b"x" * (47 + len("10.1.1.11") + len("8080")))


CASES: dict[str, Callable[[], Case]] = {
    "obp": obp,
    "nirscan": nirscan,
    "ooi": ooi,
    "chromation": chromation,
    "as7265x": as7265x,
    "nirone, big-endian": lambda: nirone("big"),
    "nirone, little-endian": lambda: nirone("little"),
    "minispec": minispec,
    "luxnode, dark": lambda: luxnode(ScanKind.DARK),
    "luxnode, sample": lambda: luxnode(ScanKind.SAMPLE),
    "c12880ma": c12880ma,
    "multispeq, dark": lambda: multispeq(ScanKind.DARK, MULTISPEQ_NOW),
    "multispeq, sample": lambda: multispeq(ScanKind.SAMPLE, MULTISPEQ_NOW),
    "multispeq, firmware of 2015": lambda: multispeq(ScanKind.SAMPLE, MULTISPEQ_ONCE),
    "asd": asd,
}

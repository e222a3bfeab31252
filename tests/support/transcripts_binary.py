"""Transcripts of instruments that answer in binary, byte for byte, from the instruments' documents.

A transcript shares no code with the simulators, so that no error is made twice. Where a document
gives the layout of an answer but no bytes, the answer is built here from the layout, and its
transcript says so.
"""

from __future__ import annotations

import hashlib
import struct

from ccnvr.firmware_bridge.instrument import ScanKind, Settings
from tests.support.played_port import Case, Line, lines


def ocean(
    kind: int,
    regarding: int,
    data: bytes = b"",
    flags: int = 0,
    md5: bool = True,
    version: int = 0x1100,
    error: int = 0,
) -> bytes:
    """Return a message, after the table of the header in Ocean's data sheets."""
    immediate, payload = (data, b"") if len(data) <= 16 else (b"", data)
    message = b"\xc1\xc0" + struct.pack("<HHHII", version, flags, error, kind, regarding) + bytes(6)
    message += (
        bytes([md5, len(immediate)])
        + immediate.ljust(16, b"\0")
        + struct.pack("<I", len(payload) + 20)
        + payload
    )
    return (
        message + (hashlib.md5(message).digest() if md5 else bytes(16)) + bytes.fromhex("c5c4c3c2")
    )


SET_100_MS = bytes.fromhex(
    "c1c00011 0400 0000 10001100 00000000 000000000000 01 04 a0860100 000000000000000000000000 "
    "14000000"
    "13a4a266d9f695dfc1013830facb00eb c5c4c3c2"
)
"""An integration time of 100000 us, with an acknowledgement wanted and an MD5.

It is written out by hand, after page 13 of Ventana's sheet.
"""


def obp() -> Case:
    """Return the transcript of an STS with 1024 pixels, whose baud rate is raised first.

    The host numbers its messages so that the one above is among them.
    """
    said: list[Line] = []
    regarding = 2**32 - 15

    def ask(
        kind: int,
        answer: bytes = b"",
        data: bytes = b"",
        wanted: int = 0,
        baud: int = 115_200,
        md5: bool = True,
    ) -> None:
        nonlocal regarding
        regarding = (regarding + 1) % 2**32
        # An answer has flag 0, an acknowledgement flag 1.
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
    # Before each scan both are asked for again, because a restart would have changed them.
    ask(0x110000, struct.pack("<I", 100_000))
    ask(0x120000, struct.pack("<H", 3))
    ask(0x110410, data=b"\1", wanted=4)
    ask(0x101100, b"".join(struct.pack("<H", 1_500 + pixel) for pixel in range(1_024)))
    ask(0x400001, struct.pack("<f", 31.5), b"\0")
    return Case(
        "obp",
        said,
        [1_500 + pixel for pixel in range(1_024)],
        {
            0: 338.5,
            1: 338.5 + 0.46875 - 2.0**-17,
            1_023: 338.5 + 0.46875 * 1_023 - 1_023**2 / 2**17,
        },
        Settings(100_000, 3),
        temperature_c=31.5,
    )


def obp2() -> Case:
    """Return that of an instrument of the second generation, 0x2000.

    It has four pixels and no MD5, lamp or thermometer, and its rate is left as it is. That it
    refuses older versions with error 1, and what it lacks with error 2, follows from the table of
    errors.
    """
    said: list[Line] = []
    regarding = 2**32 - 15

    def ask(
        kind: int,
        answer: bytes = b"",
        data: bytes = b"",
        wanted: int = 0,
        version: int = 0x2000,
        error: int = 0,
    ) -> None:
        nonlocal regarding
        regarding = (regarding + 1) % 2**32
        # Flag 3 says that the message is refused.
        flags = 1 | (8 if error else wanted >> 1)
        reply = ocean(kind, regarding, answer, flags, False, 0x2000, error)
        said.append(Line(ocean(kind, regarding, data, wanted, version=version), reply))

    def spectrum(*counts: int) -> bytes:
        return bytes(32) + struct.pack("<4H", *counts)

    ask(0x100, version=0x1100, error=1)
    ask(0x100, version=0x1000, error=1)
    ask(0x100, b"SR400123")
    ask(0x10, data=b"\1", wanted=4, error=2)
    ask(0x11D00, struct.pack("<I", 65_535))
    # The coefficients are preceded by a value that is not a coefficient.
    ask(0x1100, struct.pack("<4f", 9.0, 190.0, 0.5, 0.25))
    ask(0x1C00, spectrum(0, 0, 0, 0))
    ask(0xC01, data=struct.pack("<I", 6_000), wanted=4)
    ask(0x110410, data=b"\0", wanted=4, error=2)
    ask(0x1C00, spectrum(1_500, 1_501, 1_502, 1_503))
    ask(0x1C00, spectrum(1_502, 1_503, 1_504, 1_505))
    ask(0x400001, data=b"\0", error=2)
    waves = {0: 190.0, 1: 190.75, 3: 193.75}
    return Case(
        "obp",
        said,
        [1_501, 1_502, 1_503, 1_504],
        waves,
        Settings(6_000, 1),
        ScanKind.DARK,
        {"fast_baud": "0"},
    )


def ooi() -> Case:
    """Return that of two pixels of a USB2000+ in the dark.

    The stream is that of the Flame's manual, in words with the high byte first.
    """
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
    return Case(
        "ooi", said, [0x0405, 0x0607], {0: 340.0, 1: 341.0}, kind=ScanKind.DARK, options=options
    )


def nirscan() -> Case:
    """Return that of a scan of three bands, which is not finished at the first question.

    Frames are laid out after NNOUARTDefs.h; the frame of the scan is also written out by hand.
    """
    said: list[Line] = []

    def frame(flags: int, payload: bytes) -> bytes:
        body = bytes([flags, len(said) + 1]) + struct.pack("<H", len(payload)) + payload
        return b"ABCD" + struct.pack("<I", sum(body)) + body + b"DCBA"

    def ask(command: int, answer: bytes = b"", data: bytes = b"", flags: int = 0xC0) -> None:
        key = struct.pack("<H", command)
        said.append(Line(frame(flags, key + data), frame(flags, key + answer)))

    # 900, 1300 and 1700 nm as doubles, each with its intensity: 1000, -2, 8388607.
    bands = bytes.fromhex(
        "03000000 0000000000208c40 e8030000 0000000000509440 feffffff 0000000000909a40 ffff7f00"
    )

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
    return Case(
        "nirscan",
        said,
        [1_000, -2, 8_388_607],
        waves,
        Settings(2_400_000, 6),
        temperature_c=29.5,
        saturated=True,
    )


def chromation() -> Case:
    """Return that of 392 pixels, after microspec.json.

    An answer holds the status of bridge and sensor, the number of pixels, and the pixels.
    """
    frame = bytes.fromhex("00 00 0188") + b"\x01\x02" * 391 + b"\x0f\xff"
    said = lines(
        (bytes(4), b""),
        (b"\x0b", frame),
        (b"\x0a\x01\xf4", b"\0\0"),
        (b"\x0b", frame),
        (b"\x0b", frame),
    )
    options = {"coefficients": "348,1"}
    return Case(
        "chromation",
        said,
        [0x0102] * 391 + [0x0FFF],
        {0: 348.0, 391: 739.0},
        options=options,
        saturated=True,
    )


def asd() -> Case:
    """Return that of five scans, averaged, at 68 ms each.

    Answers are built from the documented layout: 64 integers and 2151 floats, big-endian.
    """
    restore = struct.pack(">ii", 100, 0)
    restore += b"".join(
        name.ljust(30, b"\0") for name in (b"VStartingWavelength", b"SerialNumber")
    ) + bytes(198 * 30)
    restore += struct.pack(">2d", 350.0, 18_140.0) + bytes(198 * 8) + struct.pack(">ii", 2, 0)
    assert len(restore) == 4 * 1_904

    def spectrum(averages: int, more: float) -> bytes:
        header = [100, 0, *[0] * 14, 2, averages, *[0] * 46]
        return struct.pack(">64i", *header) + struct.pack(
            ">2151f", *(1_000.5 + more + pixel for pixel in range(2_151))
        )

    said = lines(
        (b"RESTORE,1", restore),
        (b"A,1,1", spectrum(1, 0.0)),
        (b"A,1,5", spectrum(5, 0.0)),
        (b"A,1,5", spectrum(5, 4.0)),
    )
    waves = {0: 350.0, 1: 351.0, 2_150: 2_500.0}
    counts = [1_002.5 + pixel for pixel in range(2_151)]
    # The banner, 47 characters and the address and port, arrives unasked.
    return Case(
        "asd",
        said,
        counts,
        waves,
        Settings(68_000, 5),
        greeting=b"x" * (47 + len("10.1.1.11") + len("8080")),
    )

"""Transcripts of instruments that take and answer lines of text, byte for byte, from documents.

A transcript shares no code with the simulators, so that no error is made twice. Where a document
gives the layout of an answer but no bytes, the answer is built here from the layout, and its
transcript says so.
"""

from __future__ import annotations

from ccnvr.firmware_bridge.instrument import ScanKind, Settings
from tests.support.played_port import Case, lines


def as7265x() -> Case:
    """Return the transcript of 18 bands.

    They arrive in the order of the chips' letters, R to W, J to L, A to F, and must be put in the
    order of their wavelengths.
    """
    data = (
        b"100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100, 1200, 1300, 1400, 1500, "
        b"1600, 1700, 1800 OK\n"
    )
    said = lines(
        (b"\r\n", b""),
        (b"ATVERHW\r\n", b"0x4041 OK\n"),
        (b"ATVERSW\r\n", b"12.0.0 OK\n"),
        (b"ATINTTIME=10\r\n", b"OK\n"),
        (b"ATINTTIME\r\n", b"10 OK\n"),
        # Asked for again before the scan, because a restart would have changed it.
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
    return Case(
        "as7265x",
        said,
        [100 * value for value in hundreds],
        waves,
        Settings(28_000, 1),
        temperature_c=31.0,
    )


def nirone(order: str) -> Case:
    """Return that of three wavelengths and two averaged scans.

    No document gives the bytes of an answer. They are built as the two open drivers read them:
    "label: value", and the value that was set. Among the bytes of the floats are a carriage return
    and a line feed.
    """
    floats = [bytes.fromhex(value) for value in ("447a0000", "44800a0d", "45000d0a")]
    data = b"".join(value if order == "big" else value[::-1] for value in floats)
    table = lines(
        (b"W0,1550.0\r", b"Wavelength 0: 1550.0\r\n"),
        (b"W1,1750.0\r", b"Wavelength 1: 1750.0\r\n"),
        (b"W2,1950.0\r", b"Wavelength 2: 1950.0\r\n"),
    )
    measure = lines(
        (b"LI100\r", b"Lamp intensity: 100\r\n"),
        (b"XM\r", b"Measurement ready\r\n"),
        (b"Xm0,3\r", data),
        (b"Xm0,3\r", data),
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


def minispec() -> Case:
    """Return that of a scan that is asked for again twice.

    It has ten values in each line, and eight in the last.
    """
    values = (
        b"".join(b" ".join([b"6000"] * 10) + b"\r\n" for _ in range(28))
        + b" ".join([b"6001"] * 8)
        + b"\r\n"
    )
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
    return Case(
        "minispec", said, counts, {0: 341.0}, Settings(5_000, 1), options={"coefficients": "340,1"}
    )


def luxnode(kind: ScanKind) -> Case:
    """Return that of the frame in LuxNode's page "Firmware Protocol", continued to 288 pixels.

    SCAN leaves the lamp as it is, so a sample is taken with WHITE, which switches it on. The second
    scan is two counts higher, so that the result is the mean.
    """
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
    return Case(
        "luxnode",
        said,
        counts,
        {0: 341.0, 287: 628.0},
        kind=kind,
        options={"coefficients": "340,1"},
    )


def c12880ma() -> Case:
    """Return that of microspec.ino.

    There is an error that repeats an unknown command, silence for the integration time, and a line
    of numbers.
    """
    values = b",".join(str(100 + 3 * pixel).encode() for pixel in range(288)) + b"\n"
    said = lines(
        (b"\n", b""),
        (b"CCNVR0badcafe\n", b"### Error: command 'CCNVR0badcafe' not recognized ###\n"),
        (b"SPEC.INTEG 0.000025\n", b""),
        (b"SPEC.READ?\n", values),
        (b"SPEC.READ?\n", values),
    )
    counts = [100 + 3 * pixel for pixel in range(288)]
    return Case(
        "c12880ma", said, counts, {0: 341.0}, Settings(25, 1), options={"coefficients": "340,1"}
    )


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
"""An answer after PhotosynQ's page "Instrument API", with a value that is not a number."""

MULTISPEQ_ONCE = (
    b'{"device_id": 21.00,"firmware_version": "0.10","sample": [[{"protocol_id": '
    b'"","slope_34":6.86,'
    b'"data_raw":[2190,2204,2177,2207,2189,2214,2195,2185,2201,2180]}]]}955423B9\r\n'
)
"""An answer as firmware 0.10 nests it, from an example in PhotosynQ's macros."""


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
    return Case(
        "multispeq", said, counts, {0: 365.0}, Settings(20, 4), kind, {"coefficients": "365,63.8"}
    )

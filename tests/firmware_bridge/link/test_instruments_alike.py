"""One suite for both implementations of an instrument, Python's and the C reference's.

Each runs as a process on a pseudo-terminal.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest

from ccnvr.firmware_bridge.connect.registry import open_instrument
from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.framing import Damage
from ccnvr.firmware_bridge.instrument import ScanKind, Settings
from ccnvr.firmware_bridge.link.driver import LinkInstrument
from ccnvr.firmware_bridge.link.frames import Decoder, Frame, cobs_encode, encode
from ccnvr.firmware_bridge.link.messages import (
    BaudRate,
    Capabilities,
    CoefficientKind,
    CoefficientsRequest,
    ErrorCode,
    Feature,
    Held,
    Hello,
    Hold,
    MemoryBlock,
    Refusal,
    Scanned,
    ScanNumber,
    ScanRequest,
    Status,
    Type,
)
from ccnvr.firmware_bridge.link.session import Refused
from ccnvr.firmware_bridge.transport import SerialTransport
from tests.support.helpers import CCNVR

Start = Callable[[str], "Running"]


class Running:
    """A process that acts as an instrument."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def open(self, options: str = "") -> LinkInstrument:
        instrument = open_instrument(self.url + options)
        assert isinstance(instrument, LinkInstrument)
        instrument.identify()
        return instrument

    def press(self) -> None:
        self._process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        self._process.terminate()
        _, said = self._process.communicate(timeout=10)
        # The C instrument runs under sanitizers, whose reports would be here.
        assert (self._process.returncode, said) == (0, "")


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    running: list[Running] = []

    def start(kind: str) -> Running:
        command = (
            [str(request.getfixturevalue("c_build") / "host_instrument")]
            if kind == "C"
            else [*CCNVR, "simulate"]
        )
        running.append(Running([*command, "--pace", "0", "--boot", "5"]))
        return running[-1]

    yield start
    for process in running:
        process.stop()


@pytest.fixture(params=["Python", "C"])
def running(request: pytest.FixtureRequest, start: Start) -> Running:
    return start(request.param)


def test_it_says_who_it_is(running: Running) -> None:
    instrument = running.open()
    info = instrument.identify()
    assert (info.model, info.boot, info.saturation_counts) == ("ccnvr simulated NIR-512", 5, 65_535)
    assert info.wavelengths_nm.size == 512
    assert info.wavelengths_nm[[0, -1]] == pytest.approx([1101.5, 2496.0], abs=0.1)
    assert np.all(np.diff(info.wavelengths_nm) > 0.0)
    instrument.close()


def test_a_hundred_scans_are_numbered_read_and_forgotten(running: Running) -> None:
    instrument = running.open()
    instrument.configure(Settings(10_000, 4))
    dark, white = instrument.scan(ScanKind.DARK), instrument.scan(ScanKind.WHITE)
    assert np.all(dark.counts < 3_000)
    assert 20_000 < white.counts.max() < 60_000
    for number in range(3, 103):
        scan = instrument.scan(ScanKind.SAMPLE)
        assert (scan.number, scan.kind, scan.settings, scan.saturated) == (
            number,
            ScanKind.SAMPLE,
            Settings(10_000, 4),
            False,
        )
        reflectance = (scan.counts - dark.counts)[:480] / (white.counts - dark.counts)[:480]
        assert np.all((reflectance > 0.05) & (reflectance < 0.8))
        instrument.acknowledge(scan)
    assert [kept.number for kept in instrument.unacknowledged()] == [1, 2]
    assert instrument.statistics.frames_lost == 0
    instrument.close()


def test_a_long_integration_saturates(running: Running) -> None:
    instrument = running.open()
    instrument.configure(Settings(500_000, 1))
    scan = instrument.scan(ScanKind.WHITE)
    assert scan.saturated
    assert scan.counts.max() == 65_535
    instrument.close()


def test_another_host_finds_what_the_first_left(running: Running) -> None:
    first = running.open()
    taken = [first.scan(ScanKind.SAMPLE) for _ in range(8)]
    with pytest.raises(Refused) as refused:
        first.scan(ScanKind.SAMPLE)
    assert refused.value.code == ErrorCode.STORE_FULL
    first.close()
    second = running.open()
    assert second.controls.state().samples_waiting == 8
    for scan, found in zip(taken, second.unacknowledged(), strict=True):
        np.testing.assert_array_equal(scan.counts, found.counts)
        second.acknowledge(found)
    assert list(second.unacknowledged()) == []
    second.close()


def test_lamp_and_shutter_are_held_and_no_scan_is_taken_in_the_wrong_light(
    running: Running,
) -> None:
    instrument = running.open()
    controls = instrument.controls
    assert (
        controls.features == Feature.LAMP | Feature.SHUTTER | Feature.BUTTON | Feature.THERMOMETER
    )
    state = controls.hold(lamp=Held.ON)
    assert (state.lamp_on, state.shutter_open, state.temperature_c) == (True, False, 25.0)
    assert instrument.scan(ScanKind.DARK).temperature_c == 25.0
    for lamp, shutter, kind in (
        (Held.ON, Held.ON, ScanKind.DARK),
        (Held.OFF, Held.AUTOMATIC, ScanKind.SAMPLE),
        (Held.AUTOMATIC, Held.OFF, ScanKind.WHITE),
    ):
        controls.hold(lamp, shutter)
        with pytest.raises(Refused) as refused:
            instrument.scan(kind)
        assert refused.value.code == ErrorCode.WRONG_STATE
    assert not controls.hold().lamp_on
    assert instrument.scan(ScanKind.SAMPLE).number == 2
    instrument.close()


def test_a_press_of_the_button_is_counted_once(running: Running) -> None:
    instrument = running.open()
    assert not instrument.controls.wait_for_button(0.0)
    before = instrument.controls.state().presses
    running.press()
    deadline = time.monotonic() + 10.0
    while instrument.controls.state().presses == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert instrument.controls.state().presses == before + 1
    instrument.close()


def test_user_memory_keeps_what_is_written(running: Running) -> None:
    controls = running.open().controls
    assert controls.read_memory() == b"\xff" * 1024
    written = random.Random(3).randbytes(700)
    controls.write_memory(300, written)
    assert controls.read_memory() == b"\xff" * 300 + written + b"\xff" * 24
    with pytest.raises(InstrumentError, match="2 bytes at 1023 do not fit into the 1024 bytes"):
        controls.write_memory(1023, b"xx")


def test_calibration_coefficients_are_the_wavelengths_own(running: Running) -> None:
    instrument = running.open()
    polynomial = instrument.controls.coefficients(CoefficientKind.WAVELENGTH)
    wavelengths = np.polynomial.polynomial.polyval(np.arange(512.0), polynomial)
    np.testing.assert_allclose(instrument.identify().wavelengths_nm, wavelengths, rtol=1e-6)
    np.testing.assert_array_equal(
        instrument.controls.coefficients(CoefficientKind.LINEARITY), [1.0]
    )
    instrument.close()


def test_the_line_runs_faster_and_a_host_that_knows_nothing_of_it_is_heard(
    running: Running,
) -> None:
    fast = running.open("?fast_baud=3000000")
    assert fast.scan(ScanKind.SAMPLE).number == 1
    fast.close()
    # The first host has left at the high rate; the bytes of the second are noise until the
    # instrument falls back.
    slow = running.open()
    assert slow.statistics.retries > 0
    assert [scan.number for scan in slow.unacknowledged()] == [1]
    slow.close()


def test_a_rate_beyond_the_limits_is_refused(running: Running) -> None:
    instrument = running.open()
    with pytest.raises(Refused) as refused:
        instrument.controls.change_baud(9_599, instrument.identify)
    assert refused.value.code == ErrorCode.OUT_OF_RANGE
    instrument.close()


class Wire:
    """Bytes to and from an instrument, below the driver."""

    def __init__(self, url: str) -> None:
        self._port = SerialTransport(url)
        self._decoder = Decoder()

    def ask(self, data: bytes, replies: int = 1) -> list[Frame | Damage]:
        self._port.write(data)
        events: list[Frame | Damage] = []
        while len(events) < replies and (heard := self._port.read(10.0)):
            events += self._decoder.feed(heard)
        return events

    def close(self) -> None:
        self._port.close()


def test_a_repeat_gets_the_same_reply_whatever_lies_between(running: Running) -> None:
    wire = Wire(running.url)
    scan = encode(Frame(Type.SCAN, 77, ScanRequest(ScanKind.SAMPLE, 1000, 1).pack()))
    garbage = b"\x07garbage\0\0\0" + scan[:9] + b"\0" + b"\xff" * 5_000 + b"\0"
    first, again = wire.ask(scan + garbage + scan, 2)
    assert first == again
    assert isinstance(first, Frame)
    assert Scanned.unpack(first.payload).number == 1
    pieces = [event for byte in scan for event in wire.ask(bytes([byte]), 0)]
    assert pieces == []
    assert wire.ask(b"\0") == [first]
    wire.close()


PAYLOADS = [
    b"",
    b"\x09",
    Hello(1).pack(),
    *(ScanRequest(kind, 1000, 2).pack() for kind in ScanKind),
    ScanRequest(ScanKind.SAMPLE, 1, 1).pack(),
    ScanRequest(ScanKind.SAMPLE, 1000, 5000).pack(),
    b"\x07" + ScanRequest(ScanKind.SAMPLE, 1000, 1).pack()[1:],
    *(ScanNumber(number).pack() for number in (0, 1, 2, 5, 2**32 - 1)),
    *(Hold(lamp, shutter).pack() for lamp in Held for shutter in Held),
    b"\x03\x00",
    BaudRate(1).pack(),
    BaudRate(2**32 - 1).pack(),
    *(CoefficientsRequest(kind).pack() for kind in CoefficientKind),
    MemoryBlock(0, b"first").pack(),
    MemoryBlock(1020, b"last").pack(),
    MemoryBlock(1021, b"over").pack(),
    MemoryBlock(60_000, b"x" * 126).pack(),
]


def test_both_answer_any_request_alike(start: Start) -> None:
    source = random.Random(5)
    wires = [Wire(start("Python").url), Wire(start("C").url)]
    seen = set()
    for sequence in range(1, 1000):
        kind = source.choice([*range(1, 14), 0x7F, 0x83, 0xFF])
        payload = source.choice(PAYLOADS)
        if sequence % 3 == 0:
            # Random numbers would seldom ask for a scan that is kept.
            kind = source.choice([Type.SCAN, Type.OLDEST, Type.READ, Type.READ, Type.ACKNOWLEDGE])
            payload = (
                PAYLOADS[5] if kind is Type.SCAN else ScanNumber(source.randrange(1, 40)).pack()
            )
        request = encode(Frame(kind, sequence, payload, source.choice([0, 0, 0, 1, 2, 40]), 41))
        ours, theirs = ([comparable(event) for event in wire.ask(request)] for wire in wires)
        assert ours == theirs
        seen.add((ours[0][0], ours[0][-1] if ours[0][0] == Type.ERROR else None))
    # Each reply has occurred except BAUD_SET, which would need a change of rate, and each error
    # except those of damage.
    assert {kind for kind, _ in seen} == {kind for kind in Type if kind >= 0x80} - {Type.BAUD_SET}
    assert {code for _, code in seen} == {None, *ErrorCode} - {
        ErrorCode.HARDWARE,
        ErrorCode.OTHER_VERSION,
    }
    for wire in wires:
        wire.close()


def comparable(event: Frame | Damage) -> tuple[object, ...]:
    """Return what must be the same in both replies: not the noise, the names and the wording."""
    assert isinstance(event, Frame)
    head = (event.type, event.sequence, event.chunk, event.chunks)
    match event.type:
        case Type.ERROR:
            return (*head, Refusal.unpack(event.payload).code)
        case Type.SCANNED | Type.OLDEST_SCANNED:
            return (*head, replace(Scanned.unpack(event.payload), checksum=0))
        case Type.CAPABILITIES:
            return (*head, replace(Capabilities.unpack(event.payload), serial="", firmware=""))
        case Type.STATUS_NOW | Type.HELD:
            return (*head, Status.unpack(event.payload))
        case Type.WAVELENGTHS_DATA:
            return (*head, np.frombuffer(event.payload, "<f4").round(2).tolist())
        case Type.DATA:
            return (*head, len(event.payload))
    return (*head, event.payload)


def test_another_version_is_answered_in_the_version_that_is_spoken(running: Running) -> None:
    wire = Wire(running.url)
    body = bytes([2, 0, Type.HELLO, 0, 9, 0, 0, 0, 1, 0]) + Hello(1).pack()
    (reply,) = wire.ask(cobs_encode(body + crc32(body).to_bytes(4, "little")) + b"\0")
    assert isinstance(reply, Frame)
    assert (reply.type, reply.sequence, Refusal.unpack(reply.payload).code) == (
        Type.ERROR,
        0,
        ErrorCode.OTHER_VERSION,
    )
    wire.close()

"""The host's side against the instrument's, over wires that damage, lose, double and reorder."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.firmware_bridge.errors import InstrumentError, InstrumentRestarted, LinkLost
from ccnvr.firmware_bridge.instrument import LinkStatistics, ScanKind, Settings
from ccnvr.firmware_bridge.link import driver
from ccnvr.firmware_bridge.link import frames as codec
from ccnvr.firmware_bridge.link.device import Device
from ccnvr.firmware_bridge.link.driver import LinkInstrument
from ccnvr.firmware_bridge.link.frames import Decoder, Frame, encode
from ccnvr.firmware_bridge.link.messages import (
    Capabilities,
    ErrorCode,
    Hello,
    Refusal,
    Scanned,
    ScanNumber,
    ScanRequest,
    Type,
)
from ccnvr.firmware_bridge.link.session import Link, Refused
from ccnvr.firmware_bridge.link_constants import (
    AFTER_DAMAGE_MS,
    ANSWER_MS,
    ATTEMPTS,
    BAUD_FALLBACK_MS,
    BAUD_SETTLE_MS,
    DEFAULT_BAUD,
    LONGEST_DETAIL,
    MAX_REQUEST,
    SAMPLES_KEPT,
)
from ccnvr.firmware_bridge.simulators.handheld import (
    SimulatedHandheld,
    SimulatedSpectrometer,
    synthetic_soils,
)
from tests.support.helpers import WithoutRate
from tests.support.instruments import CLOCK, virtual_time

Fault = Callable[[bytes], list[bytes]]


@pytest.fixture(autouse=True, scope="module")
def nothing_waits_for_real() -> Iterator[None]:
    with virtual_time():
        yield


class Wire(WithoutRate):
    """A transport straight into a device; `fault` turns each reply into the pieces that arrive."""

    def __init__(self, device: Device, fault: Fault = lambda data: [data]) -> None:
        self.url = "test://"
        self._device = device
        self._fault = fault
        self._arriving: list[bytes] = []

    def write(self, data: bytes) -> None:
        reply = self._device.receive(data)
        if reply:
            self._arriving += self._fault(reply)

    def read(self, timeout_s: float) -> bytes:
        if not self._arriving:
            CLOCK.sleep(timeout_s)
            return b""
        return self._arriving.pop(0)

    def close(self) -> None:
        pass


def make_device(**options: object) -> Device:
    return Device(SimulatedSpectrometer(synthetic_soils(3, 1), pace=0.0, **options))  # type: ignore[arg-type]


def connect(
    device: Device, fault: Fault = lambda data: [data], timeout_s: float = 0.02
) -> LinkInstrument:
    instrument = LinkInstrument(Wire(device, fault), timeout_s)
    instrument.identify()
    return instrument


def test_identify_scan_acknowledge() -> None:
    device = make_device(boot=3)
    instrument = connect(device)
    info = instrument.identify()
    assert (info.serial, info.boot, info.wavelengths_nm.size) == ("SIM-512", 3, 512)
    assert info.scan_id(7) == "SIM-512-3-7"
    instrument.configure(Settings(10_000, 4))
    scan = instrument.scan(ScanKind.WHITE)
    assert scan.counts.shape == (512,)
    assert 20_000 < scan.counts.max() < 60_000
    assert scan.settings == Settings(10_000, 4)
    assert [kept.number for kept in instrument.unacknowledged()] == [scan.number]
    instrument.acknowledge(scan)
    assert list(instrument.unacknowledged()) == []


class Restarting(SimulatedHandheld):
    """An instrument that loses its power before the request of this type, `skip` of which pass.

    With `counts` False its boot counter stays the same, as that of bad firmware.
    """

    def __init__(self, before: Type, skip: int = 0, *, counts: bool = True) -> None:
        self._before, self._skip, self._counts = before, skip, counts
        self._armed = False
        super().__init__(SimulatedSpectrometer(synthetic_soils(3, 1), boot=4, pace=0.0))

    def arm(self) -> None:
        self._armed = True

    def receive(self, data: bytes) -> bytes:
        asked = [frame.type for frame in Decoder().feed(data) if isinstance(frame, Frame)]
        if self._armed and self._before in asked:
            self._skip -= 1
            if self._skip < 0:
                self._armed = False
                boot = self._spectrometer.info.boot
                self.reset()
                if not self._counts:
                    self._spectrometer.info = dataclasses.replace(
                        self._spectrometer.info, boot=boot
                    )
        return super().receive(data)


@pytest.mark.parametrize("before", [Type.SCAN, Type.READ, Type.STATUS])
@pytest.mark.parametrize("scans", [0, 1, 5])
def test_a_restart_behind_an_open_port_is_noticed_at_the_next_scan(
    before: Type, scans: int
) -> None:
    """A power dip with a USB bridge that stays up: no byte on the line tells of it."""
    device = Restarting(before)
    host = connect(device)  # type: ignore[arg-type]
    for _ in range(scans):
        host.acknowledge(host.scan(ScanKind.SAMPLE))
    device.arm()
    with pytest.raises(InstrumentRestarted):
        host.scan(ScanKind.SAMPLE)
    assert host.identify().boot == 5
    assert host.scan(ScanKind.SAMPLE).number >= 1


def test_a_restart_while_scans_are_read_later_is_noticed() -> None:
    device = Restarting(Type.STATUS)
    host = connect(device)  # type: ignore[arg-type]
    host.scan(ScanKind.SAMPLE)
    device.arm()
    with pytest.raises(InstrumentRestarted, match="boot 5 instead of 4"):
        list(host.unacknowledged())


def test_an_instrument_whose_boot_stays_the_same_is_betrayed_by_its_numbers() -> None:
    device = Restarting(Type.SCAN, counts=False)
    host = connect(device)  # type: ignore[arg-type]
    for _ in range(3):
        host.acknowledge(host.scan(ScanKind.SAMPLE))
    device.arm()
    with pytest.raises(InstrumentRestarted, match="gave scan 1 after scan 3, so it has restarted"):
        host.scan(ScanKind.SAMPLE)


def test_an_early_instrument_without_status_is_asked_by_hello() -> None:
    """Its firmware is of the time before STATUS, which came within version 1."""

    class Early(Restarting):
        def receive(self, data: bytes) -> bytes:
            reply = super().receive(data)
            (asked,) = [frame for frame in Decoder().feed(data) if isinstance(frame, Frame)] or [
                Frame(0, 0)
            ]
            if asked.type != Type.STATUS:
                return reply
            refusal = Refusal(ErrorCode.UNKNOWN_REQUEST, "")
            return encode(Frame(Type.ERROR, asked.sequence, refusal.pack()))

    device = Early(Type.SCAN)
    host = connect(device)  # type: ignore[arg-type]
    for number in (1, 2, 3):
        assert host.scan(ScanKind.SAMPLE).number == number
    device.arm()
    host.identify()  # forgets the numbers, so that only the boot is left to tell
    with pytest.raises(InstrumentRestarted, match="boot 5 instead of 4"):
        host.scan(ScanKind.SAMPLE)


class Faults:
    """Faults that strike every n-th reply."""

    @staticmethod
    def every(period: int, strike: Fault) -> Fault:
        count = 0

        def fault(data: bytes) -> list[bytes]:
            nonlocal count
            count += 1
            return strike(data) if count % period == 0 else [data]

        return fault


def flipped(data: bytes) -> list[bytes]:
    position = len(data) // 2
    return [data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]]


STRIKES: dict[str, Fault] = {
    "flip": flipped,
    "cut": lambda data: [data[: len(data) // 2], b"\0"],
    "cut without delimiter": lambda data: [data[: len(data) // 2]],
    "drop": lambda data: [],
    "duplicate": lambda data: [data, data],
    "garbage before": lambda data: [b"\x07\x08garbage\0", data],
    "much garbage before": lambda data: [b"\x07\x08garbage\0" * 20, data],
    "drip": lambda data: [data[i : i + 1] for i in range(len(data))],
}


@pytest.mark.parametrize("name", STRIKES)
def test_no_fault_loses_doubles_or_changes_a_scan(name: str) -> None:
    clean = connect(make_device())
    faulty = connect(make_device(), Faults.every(3, STRIKES[name]), timeout_s=0.1)
    for _ in range(20):
        expected, scan = clean.scan(ScanKind.SAMPLE), faulty.scan(ScanKind.SAMPLE)
        assert scan.number == expected.number
        np.testing.assert_array_equal(scan.counts, expected.counts)
        clean.acknowledge(expected)
        faulty.acknowledge(scan)
    assert (faulty.statistics.frames_lost > 0) == (name not in ("drip", "duplicate"))


def test_replies_out_of_order_are_passed_over() -> None:
    held: list[bytes] = []

    def delayed(data: bytes) -> list[bytes]:
        held.append(data)
        # Each reply arrives after the next one, so the host repeats its request and receives late
        # frames of earlier ones.
        return [held.pop(0)] if len(held) > 1 else []

    instrument = LinkInstrument(Wire(make_device(), delayed), 0.02)
    assert instrument.identify().serial == "SIM-512"
    scans = [instrument.scan(ScanKind.SAMPLE) for _ in range(5)]
    assert [scan.number for scan in scans] == [1, 2, 3, 4, 5]
    assert instrument.statistics.frames_stale > 0


@given(st.integers(0, 2**32 - 1))
def test_random_damage_ends_in_the_right_scan_or_a_named_error(seed: int) -> None:
    source = random.Random(seed)

    def fault(data: bytes) -> list[bytes]:
        return source.choice([lambda d: [d], *STRIKES.values()])(data)

    expected = connect(make_device()).scan(ScanKind.SAMPLE)
    instrument = LinkInstrument(Wire(make_device(), fault), 0.0005)
    try:
        instrument.identify()
        scan = instrument.scan(ScanKind.SAMPLE)
    except InstrumentError:
        return
    assert scan.number == expected.number
    np.testing.assert_array_equal(scan.counts, expected.counts)


def test_silence_is_a_lost_link_that_says_what_to_check() -> None:
    with pytest.raises(
        LinkLost, match=r"nothing valid on test:// answered HELLO within .* baud rate"
    ):
        connect(make_device(), lambda data: [])


def test_another_link_version_is_named_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    class Newer(Device):
        """An instrument of version 2, which reads and writes only frames of that version."""

        def receive(self, data: bytes) -> bytes:
            with monkeypatch.context() as context:
                context.setattr(codec, "VERSION", 2)
                return super().receive(data)

    newer = Newer(SimulatedSpectrometer(synthetic_soils(1, 1), pace=0.0))
    with pytest.raises(InstrumentError, match="speaks link version 2, this ccnvr speaks 1"):
        connect(newer)


def test_a_million_bytes_of_noise_end_no_request() -> None:
    source = random.Random(8)
    first = True

    def noisy(data: bytes) -> list[bytes]:
        nonlocal first
        noise, first = (source.randbytes(1_000_000) if first else b""), False
        return [noise + b"\0", data]

    instrument = connect(make_device(), noisy, timeout_s=1.0)
    assert instrument.statistics.frames_damaged > 1_000
    assert instrument.scan(ScanKind.SAMPLE).number == 1


def altered(index: int, change: Callable[[Frame], Frame]) -> Fault:
    """Return a fault that changes the replies of one type and passes all others."""

    def fault(data: bytes) -> list[bytes]:
        (frame,) = Decoder().feed(data)
        assert isinstance(frame, Frame)
        return [encode(change(frame) if frame.type == index else frame)]

    return fault


def edited(of: type[Capabilities | Scanned], /, **fields: object) -> Callable[[Frame], Frame]:
    def change(frame: Frame) -> Frame:
        payload: Any = of.unpack(frame.payload)
        return dataclasses.replace(frame, payload=dataclasses.replace(payload, **fields).pack())

    return change


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (altered(Type.CAPABILITIES, edited(Capabilities, nonce=5)), "another host's handshake"),
        (altered(Type.CAPABILITIES, edited(Capabilities, pixels=1)), "states 1 pixels"),
        (altered(Type.CAPABILITIES, edited(Capabilities, serial="")), "needs a serial number"),
        (altered(Type.CAPABILITIES, edited(Capabilities, saturation_counts=0)), "saturation at 0"),
        (altered(Type.CAPABILITIES, edited(Capabilities, saturation_counts=2**31)), "sums below"),
        (altered(Type.CAPABILITIES, edited(Capabilities, pixels=60_000)), "states 60000 pixels"),
        (altered(Type.CAPABILITIES, edited(Capabilities, pixels=300)), "of 1200 bytes"),
        (
            altered(Type.CAPABILITIES, lambda f: dataclasses.replace(f, payload=f.payload[:20])),
            "CAPABILITIES has 20 bytes",
        ),
        (
            altered(Type.CAPABILITIES, lambda f: dataclasses.replace(f, payload=f.payload[:28])),
            "no valid model",
        ),
        (
            altered(
                Type.WAVELENGTHS_DATA, lambda f: dataclasses.replace(f, payload=f.payload[:-4])
            ),
            "bytes",
        ),
        (altered(Type.WAVELENGTHS_DATA, lambda f: dataclasses.replace(f, chunk=0)), "chunk"),
        (altered(Type.SCANNED, edited(Scanned, pixels=511)), "511 pixels"),
        (altered(Type.SCANNED, edited(Scanned, averages=0)), "0 averages"),
        (altered(Type.SCANNED, edited(Scanned, averages=2)), "of 10000 us and 2 averages when"),
        (altered(Type.SCANNED, edited(Scanned, integration_us=9_999)), "of 9999 us and 1 averages"),
        (altered(Type.SCANNED, edited(Scanned, kind=ScanKind.DARK)), "as dark of .* when sample"),
        (altered(Type.SCANNED, edited(Scanned, checksum=1)), "do not match their checksum"),
        (
            altered(
                Type.SCANNED,
                lambda f: dataclasses.replace(f, payload=f.payload[:4] + b"\7" + f.payload[5:]),
            ),
            "kind 7",
        ),
        (altered(Type.OLDEST_SCANNED, edited(Scanned, number=0)), "gave scan 0"),
    ],
)
def test_an_instrument_that_contradicts_itself_is_an_error(fault: Fault, words: str) -> None:
    with pytest.raises(InstrumentError, match=words):
        instrument = connect(make_device(), fault)
        instrument.scan(ScanKind.SAMPLE)
        list(instrument.unacknowledged())


def test_settings_outside_the_limits_are_refused() -> None:
    instrument = connect(make_device())
    with pytest.raises(
        InstrumentError, match="integration time 99 us is outside this instrument's 100-500000 us"
    ):
        instrument.configure(Settings(99, 1))
    with pytest.raises(InstrumentError, match="5000 averages are outside this instrument's 1-1000"):
        instrument.configure(Settings(1_000, 5_000))


def test_scanning_before_the_handshake_is_refused() -> None:
    with pytest.raises(InstrumentError, match="identify"):
        LinkInstrument(Wire(make_device())).configure(Settings(1_000, 1))


def test_the_device_keeps_samples_until_acknowledged_and_references_always() -> None:
    device = make_device()
    instrument = connect(device)
    for _ in range(SAMPLES_KEPT):
        instrument.scan(ScanKind.SAMPLE)
    with pytest.raises(Refused, match="8 samples wait"):
        instrument.scan(ScanKind.SAMPLE)
    for _ in range(3):
        instrument.scan(ScanKind.DARK)
        instrument.scan(ScanKind.WHITE)
    # A new host finds all samples, and the newest references.
    kept = list(connect(device).unacknowledged())
    assert [scan.kind for scan in kept] == [ScanKind.SAMPLE] * SAMPLES_KEPT + [
        ScanKind.DARK,
        ScanKind.WHITE,
    ]
    assert [scan.number for scan in kept[:SAMPLES_KEPT]] == list(range(1, SAMPLES_KEPT + 1))


@pytest.mark.parametrize("code", [*map(int, ErrorCode), 99])
def test_a_refusal_says_what_is_wrong_and_what_to_do(code: int) -> None:
    stated = str(Refused(Type.SCAN, Refusal(code, "lamp 2 is out")))
    assert stated.startswith(f"the instrument refused SCAN with error {code}: lamp 2 is out; ")
    silent = str(Refused(Type.SCAN, Refusal(code, "")))
    what, then = silent.split(": ", 1)[1].split("; ")
    assert len(what.split()) >= 4 and stated.endswith(f"; {then}") and len(then.split()) >= 2
    assert ("manual" in then) == (code == 99)


def ask(
    device: Device, request: int, payload: bytes = b"", chunk: int = 0, chunks: int = 1
) -> Frame:
    (reply,) = Decoder().feed(device.receive(encode(Frame(request, 9, payload, chunk, chunks))))
    assert isinstance(reply, Frame)
    return reply


@pytest.mark.parametrize(
    ("request_type", "payload", "code"),
    [
        (0x55, b"", 1),
        (Type.HELLO, b"x", 2),
        (Type.SCAN, b"\x09" + ScanRequest(ScanKind.DARK, 1000, 1).pack()[1:], 2),
        (Type.SCAN, ScanRequest(ScanKind.DARK, 1, 1).pack(), 3),
        (Type.SCAN, ScanRequest(ScanKind.DARK, 1000, 0).pack(), 3),
        (Type.READ, ScanNumber(12).pack(), 4),
    ],
)
def test_the_device_refuses_with_the_code_of_the_specification(
    request_type: int, payload: bytes, code: int
) -> None:
    reply = ask(make_device(), request_type, payload)
    assert reply.type == Type.ERROR
    assert Refusal.unpack(reply.payload).code == code


def test_a_chunk_beyond_the_last_is_refused() -> None:
    assert ask(make_device(), Type.WAVELENGTHS, chunk=2, chunks=3).type == Type.ERROR


def test_a_repeated_request_is_answered_again_and_not_carried_out_again() -> None:
    device = make_device()
    request = encode(Frame(Type.SCAN, 5, ScanRequest(ScanKind.SAMPLE, 1000, 1).pack()))
    assert device.receive(request) == device.receive(request)
    following = encode(Frame(Type.SCAN, 6, ScanRequest(ScanKind.SAMPLE, 1000, 1).pack()))
    (frame,) = Decoder().feed(device.receive(following))
    assert isinstance(frame, Frame)
    assert Scanned.unpack(frame.payload).number == 2


@given(st.binary(max_size=400), st.integers(0, 255))
def test_no_request_makes_the_device_raise(payload: bytes, kind: int) -> None:
    device = make_device()
    assert len(Decoder().feed(device.receive(encode(Frame(kind, 1, payload))))) == 1
    device.receive(payload)


@given(
    st.binary(max_size=80),
    st.sampled_from([Hello, Capabilities, ScanRequest, Scanned, ScanNumber, Refusal]),
)
def test_malformed_payloads_are_named_errors(payload: bytes, kind: type) -> None:
    try:
        kind.unpack(payload)  # type: ignore[attr-defined]
    except InstrumentError as error:
        assert str(error)


def test_text_of_an_instrument_is_safe_for_a_terminal() -> None:
    received = Refusal.unpack(Refusal(6, "lamp\ndead\x1b[31m " + "\u00e9" * 200).pack())
    assert received.detail.startswith("lamp?dead?[31m \u00e9")
    assert received.detail.isprintable()


@given(st.text(max_size=8), st.text(max_size=8))
def test_capabilities_round_trip_and_names_are_printable(model: str, serial: str) -> None:
    sent = Capabilities(1, 2, 3, 4, 5, 6, 7, model, serial, "1.0")
    received = Capabilities.unpack(sent.pack() + b"a later field")
    assert all(character.isprintable() for character in received.model + received.serial)
    if (model + serial).isprintable():
        assert received == sent


def test_a_name_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 32"):
        Capabilities(1, 2, 3, 4, 5, 6, 7, "m" * 33, "s", "f").pack()


def test_sequence_numbers_wrap() -> None:
    device = make_device()
    statistics = LinkStatistics()
    link = Link(Wire(device), statistics)
    link._sequence = 0xFFFE
    for _ in range(3):
        link.call(Type.HELLO, Hello(1).pack(), timeout_s=0.01)
    assert link._sequence == 1
    assert statistics.retries == 0


def test_the_numbers_in_the_specification_are_those_of_the_code() -> None:
    text = (Path(driver.__file__).parents[1] / "PROTOCOL.md").read_text()
    assert f"at most {codec.MAX_ENCODED} bytes" in text
    assert f"{codec.MAX_ENCODED + 1}th byte" in text
    assert f"wire   {encode(Frame(Type.HELLO, 1, Hello(0x12345678).pack())).hex(' ')}\n" in text
    assert f"runs at {DEFAULT_BAUD} baud" in text
    assert f"{driver.WHITE_TIMEOUT_S:.0f} s + 2 x light time | {ATTEMPTS} times" in text
    assert f"{driver.REPLY_TIMEOUT_S:.0f} s | {driver.REPLY_TIMEOUT_S * ATTEMPTS:.0f} s |" in text
    assert f"within {AFTER_DAMAGE_MS} ms after something damaged" in text
    assert f"must answer any other request within {ANSWER_MS / 1000} s" in text
    assert f"(10 + {MAX_REQUEST} + 4 bytes" in text
    assert f"the rate changes within {BAUD_SETTLE_MS} ms" in text
    assert f"no whole frame for {BAUD_FALLBACK_MS / 1000} s" in text
    assert f"{SAMPLES_KEPT} samples where CAPABILITIES does not say" in text
    assert f"The text is at most {LONGEST_DETAIL} bytes" in text

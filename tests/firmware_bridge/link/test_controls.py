"""Lamp, shutter, button, memory, coefficients and baud rate, where they are missing or fail."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ccnvr.firmware_bridge.errors import InstrumentError, LinkLost
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind, Settings
from ccnvr.firmware_bridge.link.board import Board
from ccnvr.firmware_bridge.link.device import Device
from ccnvr.firmware_bridge.link.driver import LinkInstrument
from ccnvr.firmware_bridge.link.frames import Frame, encode
from ccnvr.firmware_bridge.link.messages import (
    BaudRate,
    CoefficientKind,
    Coefficients,
    ErrorCode,
    Feature,
    Held,
    Hold,
    MemoryBlock,
    MemoryWritten,
    Refusal,
    ScanRequest,
    Status,
    Type,
)
from ccnvr.firmware_bridge.link.session import Refused
from ccnvr.firmware_bridge.link_constants import BAUD_FALLBACK_MS, DEFAULT_BAUD
from ccnvr.firmware_bridge.serving.port import PtyPort
from ccnvr.firmware_bridge.serving.pty_baud import heard_at, line_baud
from ccnvr.firmware_bridge.serving.server import BackgroundServer
from ccnvr.firmware_bridge.simulators.handheld import (
    SimulatedSpectrometer,
    simulated_board,
    synthetic_soils,
)
from ccnvr.firmware_bridge.transport import SerialTransport
from tests.firmware_bridge.link.test_session import Wire, altered, ask

Fault = Callable[[bytes], list[bytes]]
BARE = {"features": Feature(0), "memory": bytearray(), "fastest_baud": 0}


def device(board: Board | None = None, clock: Callable[[], float] = time.monotonic) -> Device:
    return Device(
        SimulatedSpectrometer(synthetic_soils(3, 1), pace=0.0), board or simulated_board(), clock
    )


def connect(instrument: Device, fault: Fault = lambda data: [data]) -> LinkInstrument:
    link = LinkInstrument(Wire(instrument, fault), 0.02)
    link.identify()
    return link


def test_an_instrument_that_lacks_something_is_not_asked_for_it() -> None:
    instrument = connect(device(Board(**BARE)))  # type: ignore[arg-type]
    controls = instrument.controls
    for call, words in (
        (lambda: controls.hold(lamp=Held.ON), "SIM-512 has no lamp"),
        (lambda: controls.hold(shutter=Held.ON), "SIM-512 has no shutter"),
        (lambda: controls.wait_for_button(1.0), "SIM-512 has no button"),
        (controls.read_memory, "SIM-512 has no user memory"),
        (lambda: controls.write_memory(0, b"x"), "SIM-512 has no user memory"),
    ):
        with pytest.raises(InstrumentError, match=words):
            call()
    assert controls.coefficients(CoefficientKind.WAVELENGTH).size == 0
    assert math.isnan(controls.state().temperature_c)
    assert math.isnan(instrument.scan(ScanKind.DARK).temperature_c)


@pytest.mark.parametrize(
    ("request_type", "payload", "code"),
    [
        (Type.BAUD, BaudRate(9_600).pack(), ErrorCode.UNKNOWN_REQUEST),
        (Type.MEMORY, b"", ErrorCode.UNKNOWN_REQUEST),
        (Type.WRITE, MemoryBlock(0, b"x").pack(), ErrorCode.UNKNOWN_REQUEST),
        (Type.HOLD, Hold(Held.ON, Held.AUTOMATIC).pack(), ErrorCode.OUT_OF_RANGE),
        (Type.STATUS, b"x", ErrorCode.MALFORMED),
    ],
)
def test_a_bare_instrument_refuses_what_it_lacks(
    request_type: Type, payload: bytes, code: ErrorCode
) -> None:
    reply = ask(device(Board(**BARE)), request_type, payload)  # type: ignore[arg-type]
    assert Refusal.unpack(reply.payload).code == code


def test_controls_need_the_handshake() -> None:
    with pytest.raises(InstrumentError, match="call identify"):
        _ = LinkInstrument(Wire(device())).controls


def carrying(payload: bytes) -> Callable[[Frame], Frame]:
    return lambda frame: replace(frame, payload=payload)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            altered(
                Type.COEFFICIENTS_DATA,
                carrying(Coefficients(CoefficientKind.LINEARITY, (1.0,)).pack()),
            ),
            "gave LINEARITY",
        ),
        (
            altered(
                Type.COEFFICIENTS_DATA,
                carrying(Coefficients(CoefficientKind.WAVELENGTH, (math.nan,)).pack()),
            ),
            "when finite WAVELENGTH ones were asked for",
        ),
        (altered(Type.COEFFICIENTS_DATA, carrying(b"\0" + bytes(7))), "no valid values"),
        (
            altered(Type.WRITTEN, carrying(MemoryWritten(0, 4).pack())),
            "wrote 4 bytes at 0 when 5 at 0 were asked for",
        ),
        (
            altered(Type.MEMORY_DATA, lambda frame: replace(frame, payload=frame.payload[1:])),
            "1023 bytes instead of 1024",
        ),
        (altered(Type.STATUS_NOW, carrying(b"")), "STATUS has 0 bytes"),
    ],
)
def test_an_instrument_that_contradicts_itself_is_an_error(fault: Fault, words: str) -> None:
    controls = connect(device(), fault).controls
    with pytest.raises(InstrumentError, match=words):
        controls.coefficients(CoefficientKind.WAVELENGTH)
        controls.write_memory(0, b"hello")
        controls.read_memory()
        controls.state()


def test_a_press_is_waited_for() -> None:
    instrument = device()
    controls = connect(instrument).controls
    pressing = threading.Timer(0.05, instrument.press)
    pressing.start()
    assert controls.wait_for_button(30.0)
    pressing.join()
    assert not controls.wait_for_button(0.01)


def test_a_restart_during_the_wait_for_the_button_is_reported() -> None:
    boots = iter(range(1, 10))

    def restarted(frame: Frame) -> Frame:
        return replace(
            frame, payload=replace(Status.unpack(frame.payload), boot=next(boots)).pack()
        )

    with pytest.raises(LinkLost, match="SIM-512 has restarted"):
        connect(device(), altered(Type.STATUS_NOW, restarted)).controls.wait_for_button(30.0)


class Broken(SimulatedSpectrometer):
    """A spectrometer whose lamp is out."""

    def expose(self, request: ScanRequest, number: int) -> object:  # type: ignore[override]
        raise InstrumentError("the lamp is out")


def test_a_detector_that_fails_is_a_hardware_error_and_keeps_the_old_reference() -> None:
    instrument = device()
    host = connect(instrument)
    white = host.scan(ScanKind.WHITE)
    instrument._spectrometer = Broken(synthetic_soils(1, 1))  # type: ignore[assignment]
    with pytest.raises(Refused, match="error 6: the lamp is out"):
        host.scan(ScanKind.WHITE)
    assert [kept.number for kept in host.unacknowledged()] == [white.number]


def test_the_rate_returns_when_nothing_is_understood_and_baud_is_carried_out_anew() -> None:
    now = 100.0
    instrument = device(clock=lambda: now)
    request = encode(Frame(Type.BAUD, 1, BaudRate(3_000_000).pack()))
    instrument.receive(request)
    assert instrument.baud == DEFAULT_BAUD  # the reply leaves at the old rate
    instrument.tick()
    assert instrument.baud == 3_000_000
    instrument.receive(encode(Frame(Type.STATUS, 2)))
    now += 1_000.0
    instrument.tick()
    assert instrument.baud == 3_000_000  # silence changes nothing
    instrument.receive(b"\x55")
    now += BAUD_FALLBACK_MS / 1000.0
    instrument.tick()
    assert instrument.baud == 3_000_000
    now += 0.001
    instrument.tick()
    assert instrument.baud == DEFAULT_BAUD
    instrument.receive(request)
    instrument.receive(request)
    instrument.tick()
    assert instrument.baud == 3_000_000


class Coarse(SerialTransport):
    """A port whose clock cannot be divided down to the rate that is asked for."""

    def set_baud(self, rate: int) -> None:
        super().set_baud(2_900_000 if rate == 3_000_000 else rate)


@contextmanager
def on_a_pty(instrument: Device) -> Iterator[str]:
    with BackgroundServer(PtyPort(), instrument) as server:
        yield server.url


def test_a_line_that_cannot_run_faster_goes_on_at_its_old_rate() -> None:
    with on_a_pty(device()) as url:
        transport = Coarse(url)
        instrument = LinkInstrument(transport, 0.2, fast_baud=3_000_000)
        info: InstrumentInfo = instrument.identify()
        assert (info.serial, transport.baud) == ("SIM-512", DEFAULT_BAUD)
        instrument.configure(Settings(1_000, 1))
        assert instrument.scan(ScanKind.SAMPLE).number == 1
        instrument.close()


def test_a_wrong_rate_is_silence() -> None:
    with on_a_pty(device()) as url:
        instrument = LinkInstrument(SerialTransport(f"{url}?baud=115200"), 0.05)
        with pytest.raises(LinkLost, match="baud rate"):
            instrument.identify()
        instrument.close()


def test_a_transport_without_a_rate_stays_as_it_is() -> None:
    controls = connect(device()).controls
    assert not controls.change_baud(3_000_000, lambda: pytest.fail("nothing was changed"))


def test_a_rate_that_the_system_does_not_state_is_ignored(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with open(tmp_path_factory.mktemp("no") / "port", "w") as file:
        assert line_baud(file.fileno()) is None
    assert heard_at(9_600, None, b"abc") == b"abc"
    assert heard_at(9_600, 115_200, b"abc") != b"abc"


def test_a_scan_without_the_lamp_needs_a_lamp_and_leaves_things_as_they_were() -> None:
    assert connect(device(Board(**BARE))).scan_without_lamp() is None  # type: ignore[arg-type]
    for features in (Feature.LAMP, Feature.LAMP | Feature.SHUTTER):
        board = replace(simulated_board(), features=features)
        instrument = connect(device(board))
        scan = instrument.scan_without_lamp()
        assert scan is not None and scan.kind is ScanKind.DARK
        assert (board.lamp, board.shutter) == (Held.AUTOMATIC, Held.AUTOMATIC)
        board.lamp = Held.OFF
        instrument.release_lamp()
        assert board.lamp is Held.AUTOMATIC
        board.lamp = Held.ON
        instrument.release_lamp()
        assert instrument.scan_without_lamp() is None and board.lamp is Held.ON


def test_a_simulated_operator_shows_each_soil_for_as_many_scans_as_asked() -> None:
    spectrometer = SimulatedSpectrometer(synthetic_soils(3, 1), pace=0.0)
    spectrometer.bench.acquisitions = 2
    request = ScanRequest(ScanKind.SAMPLE, 10_000, 16)
    first, again, other = (
        spectrometer.expose(request, number).sums.astype(float) for number in range(3)
    )
    assert abs(first - again).mean() < 0.2 * abs(first - other).mean()

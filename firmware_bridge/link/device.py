"""The instrument's side of the link: request bytes in, reply bytes out, without I/O.

`c/ccnvr_device.c` does the same in C; one test suite runs against both.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.framing import Damage
from ccnvr.firmware_bridge.instrument import ScanKind
from ccnvr.firmware_bridge.link.board import Board
from ccnvr.firmware_bridge.link.frames import Decoder, Frame, Reason, encode
from ccnvr.firmware_bridge.link.kept_scans import KeptScan, KeptScans
from ccnvr.firmware_bridge.link.line_rate import LineRate
from ccnvr.firmware_bridge.link.messages import (
    BaudRate,
    Capabilities,
    Coefficients,
    CoefficientsRequest,
    ErrorCode,
    Feature,
    Held,
    Hello,
    Hold,
    MemoryBlock,
    MemoryWritten,
    Nothing,
    Refusal,
    Scanned,
    ScanNumber,
    ScanRequest,
    Status,
    Type,
)
from ccnvr.firmware_bridge.link.payload import Payload
from ccnvr.firmware_bridge.link.spectrometer import Spectrometer
from ccnvr.firmware_bridge.link_constants import MAX_PAYLOAD, SAMPLES_KEPT

P = TypeVar("P", bound=Payload)


class _Refuse(Exception):
    """A request that is answered with ERROR."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(code, detail)


class Device:
    """Answers requests, and keeps each scan until a host acknowledges it."""

    def __init__(
        self,
        spectrometer: Spectrometer,
        board: Board | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.board = board or Board()
        self._spectrometer = spectrometer
        self._rate = LineRate(self.board.starting_baud, clock)
        self._decoder = Decoder()
        self._scans = KeptScans()
        self._last: tuple[Frame, bytes] | None = None
        # Requests that a single reply answers, and below those whose data are pulled in chunks.
        self._answers: dict[Type, tuple[type[Payload], Callable[[Any], Payload]]] = {
            Type.HELLO: (Hello, self._capabilities),
            Type.SCAN: (ScanRequest, self._scan),
            Type.OLDEST: (ScanNumber, self._oldest),
            Type.ACKNOWLEDGE: (ScanNumber, self._acknowledge),
            Type.STATUS: (Nothing, self._status),
            Type.HOLD: (Hold, self._hold),
            Type.BAUD: (BaudRate, self._set_baud),
            Type.COEFFICIENTS: (CoefficientsRequest, self._coefficients),
            Type.WRITE: (MemoryBlock, self._write),
        }
        self._pieces: dict[Type, Callable[[Frame], bytes]] = {
            Type.WAVELENGTHS: self._wavelengths,
            Type.READ: self._kept,
            Type.MEMORY: self._memory,
        }

    @property
    def baud(self) -> int:
        """The rate that the instrument's port must have now."""
        return self._rate.baud

    def press(self) -> None:
        """Press the button."""
        self.board.presses = (self.board.presses + 1) % 2**32

    def tick(self) -> None:
        """Let time pass: a new rate begins, or ends if nothing intelligible arrives at it."""
        if self._rate.tick():
            # The last request is forgotten, because a BAUD whose reply was lost must be carried
            # out anew and not only be answered again.
            self._decoder, self._last = Decoder(), None

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`.

        Damaged requests get no answer; the host will ask again.
        """
        self.tick()
        events = self._decoder.feed(data)
        if data:
            self._rate.hear(intelligible=any(isinstance(event, Frame) for event in events))
        return b"".join(
            self._answer(event) if isinstance(event, Frame) else _answer_to_damage(event)
            for event in events
        )

    def _answer(self, request: Frame) -> bytes:
        # A request repeated because its reply was lost must not be carried out twice.
        if self._last is not None and self._last[0] == request:
            return self._last[1]
        try:
            reply = self._carry_out(request)
        except _Refuse as refuse:
            reply = Frame(Type.ERROR, request.sequence, refuse.refusal.pack())
        except InstrumentError as error:
            reply = Frame(
                Type.ERROR, request.sequence, Refusal(ErrorCode.HARDWARE, str(error)).pack()
            )
        encoded = encode(reply)
        self._last = (request, encoded)
        return encoded

    def _carry_out(self, request: Frame) -> Frame:
        if request.type in self._pieces:
            return _chunk(request, self._pieces[Type(request.type)](request))
        if request.type not in self._answers:
            raise _Refuse(
                ErrorCode.UNKNOWN_REQUEST, f"request type 0x{request.type:02x} is unknown"
            )
        expected, answer = self._answers[Type(request.type)]
        return Frame(
            request.type | 0x80, request.sequence, answer(_unpacked(expected, request)).pack()
        )

    def _wavelengths(self, request: Frame) -> bytes:
        _unpacked(Nothing, request)
        return self._spectrometer.info.wavelengths_nm.astype("<f4").tobytes()

    def _kept(self, request: Frame) -> bytes:
        number = _unpacked(ScanNumber, request).number
        kept = self._scans.find(number)
        if kept is None:
            raise _Refuse(ErrorCode.NO_SUCH_SCAN, f"scan {number} is not kept")
        return kept.data

    def _memory(self, request: Frame) -> bytes:
        _unpacked(Nothing, request)
        if not self.board.memory:
            raise _Refuse(ErrorCode.UNKNOWN_REQUEST, "there is no user memory")
        return bytes(self.board.memory)

    def _capabilities(self, hello: Hello) -> Capabilities:
        info = self._spectrometer.info
        return Capabilities(
            nonce=hello.nonce,
            boot=info.boot,
            pixels=info.wavelengths_nm.size,
            saturation_counts=info.saturation_counts,
            shortest_integration_us=info.shortest_integration_us,
            longest_integration_us=info.longest_integration_us,
            most_averages=info.most_averages,
            model=info.model,
            serial=info.serial,
            firmware=info.firmware,
            features=self.board.features,
            memory_bytes=len(self.board.memory),
            fastest_baud=self.board.fastest_baud,
            samples_kept=SAMPLES_KEPT,
        )

    def _scan(self, request: ScanRequest) -> Scanned:
        self._check(request)
        number = self._scans.next_number
        # If this raises, the number is not used up, and an earlier reference stays.
        exposure = self._spectrometer.expose(request, number)
        data = exposure.sums.astype("<u4").tobytes()
        scanned = Scanned(
            number=number,
            kind=request.kind,
            saturated=exposure.saturated,
            integration_us=request.integration_us,
            averages=request.averages,
            pixels=exposure.sums.size,
            temperature_centi_c=_centi(exposure.temperature_c),
            checksum=zlib.crc32(data),
        )
        self._scans.keep(KeptScan(scanned, data))
        return scanned

    def _check(self, request: ScanRequest) -> None:
        info = self._spectrometer.info
        # The order of these checks decides which error is reported; the C reference has the same.
        low, high = info.shortest_integration_us, info.longest_integration_us
        if not low <= request.integration_us <= high:
            raise _Refuse(ErrorCode.OUT_OF_RANGE, f"integration time {request.integration_us} us")
        if not 1 <= request.averages <= info.most_averages:
            raise _Refuse(ErrorCode.OUT_OF_RANGE, f"{request.averages} averages")
        if not self.board.can_take(request.kind):
            raise _Refuse(
                ErrorCode.WRONG_STATE, "lamp or shutter is held otherwise than this scan needs"
            )
        if request.kind is ScanKind.SAMPLE and self._scans.samples() >= SAMPLES_KEPT:
            raise _Refuse(ErrorCode.STORE_FULL, f"{SAMPLES_KEPT} samples wait to be acknowledged")

    def _oldest(self, after: ScanNumber) -> Scanned:
        kept = self._scans.oldest_after(after.number)
        if kept is None:
            raise _Refuse(
                ErrorCode.NO_SUCH_SCAN, f"every scan above {after.number} is acknowledged"
            )
        return kept.scanned

    def _acknowledge(self, done: ScanNumber) -> ScanNumber:
        # Confirmed for an unknown scan as well: an earlier ACKNOWLEDGE may have arrived, and only
        # the reply to it been lost.
        self._scans.forget(done.number)
        return done

    def _status(self, _: Payload) -> Status:
        return Status(
            boot=self._spectrometer.info.boot,
            presses=self.board.presses,
            temperature_centi_c=_centi(self._spectrometer.temperature_c()),
            waiting=self._scans.samples(),
            flags=self.board.flags,
        )

    def _hold(self, hold: Hold) -> Status:
        for part, feature in ((hold.lamp, Feature.LAMP), (hold.shutter, Feature.SHUTTER)):
            if part is not Held.AUTOMATIC and feature not in self.board.features:
                raise _Refuse(ErrorCode.OUT_OF_RANGE, f"there is no {str(feature.name).lower()}")
        self.board.lamp, self.board.shutter = hold.lamp, hold.shutter
        return self._status(hold)

    def _coefficients(self, wanted: CoefficientsRequest) -> Coefficients:
        return Coefficients(wanted.kind, self.board.coefficients.get(wanted.kind, ()))

    def _set_baud(self, rate: BaudRate) -> BaudRate:
        if not self.board.fastest_baud:
            raise _Refuse(ErrorCode.UNKNOWN_REQUEST, "the baud rate is fixed")
        if not self.board.slowest_baud <= rate.baud <= self.board.fastest_baud:
            raise _Refuse(ErrorCode.OUT_OF_RANGE, f"{rate.baud} baud")
        self._rate.change(rate.baud)
        return rate

    def _write(self, block: MemoryBlock) -> MemoryWritten:
        if not self.board.memory:
            raise _Refuse(ErrorCode.UNKNOWN_REQUEST, "there is no user memory")
        end = block.offset + len(block.data)
        if end > len(self.board.memory):
            raise _Refuse(
                ErrorCode.OUT_OF_RANGE,
                f"bytes {block.offset} to {end - 1} of {len(self.board.memory)}",
            )
        self.board.memory[block.offset : end] = block.data
        return MemoryWritten(block.offset, len(block.data))


def _answer_to_damage(damage: Damage) -> bytes:
    """Return an ERROR to a whole frame of another version, and nothing to other damage.

    The frame is of our version, so that the sender learns from it which version that is.
    """
    if damage.reason is not Reason.VERSION:
        return b""
    refusal = Refusal(ErrorCode.OTHER_VERSION, "this instrument speaks another version")
    return encode(Frame(Type.ERROR, 0, refusal.pack()))


def _unpacked(expected: type[P], request: Frame) -> P:
    try:
        return expected.unpack(request.payload)
    except InstrumentError as error:
        raise _Refuse(ErrorCode.MALFORMED, str(error)) from error


def _chunk(request: Frame, data: bytes) -> Frame:
    chunks = -(-len(data) // MAX_PAYLOAD)
    if request.chunk >= chunks:
        raise _Refuse(ErrorCode.OUT_OF_RANGE, f"chunk {request.chunk} is not one of {chunks}")
    # Only the chunk of the request counts; `chunks` is a guess of the host.
    start = request.chunk * MAX_PAYLOAD
    payload = data[start : start + MAX_PAYLOAD]
    return Frame(request.type | 0x80, request.sequence, payload, request.chunk, chunks)


def _centi(temperature_c: float) -> int:
    """Return hundredths of a degree, limited to what fits the wire."""
    return max(-32_768, min(32_767, round(temperature_c * 100)))

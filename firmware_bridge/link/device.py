"""The instrument's side of the link: request bytes in, reply bytes out. No I/O; `c/ccnvr_device.c`
is the same in C.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.framing import Damage
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind
from ccnvr.firmware_bridge.link.board import Board
from ccnvr.firmware_bridge.link.frames import Decoder, Frame, Reason, encode
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
from ccnvr.firmware_bridge.link_constants import BAUD_FALLBACK_MS, MAX_PAYLOAD, SAMPLES_KEPT

P = TypeVar("P", bound=Payload)


@dataclass(frozen=True)
class Exposure:
    """What a detector gave: `sums` is `(pixels,)` counts added over the averages."""

    sums: NDArray[np.uint32]
    saturated: bool
    temperature_c: float


class Spectrometer(Protocol):
    """The measuring part of an instrument."""

    info: InstrumentInfo

    def expose(self, request: ScanRequest, number: int) -> Exposure:
        """Take scan `number`."""
        ...

    def temperature_c(self) -> float:
        """Its temperature now, in degrees Celsius."""
        ...


class _Refuse(Exception):
    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(code, detail)


def _unreadable(damage: Damage) -> bytes:
    """A whole frame of another version is answered in ours, so that its sender learns which that
    is.
    """
    if damage.reason is not Reason.VERSION:
        return b""
    return encode(
        Frame(
            Type.ERROR,
            0,
            Refusal(ErrorCode.OTHER_VERSION, "this instrument speaks another version").pack(),
        )
    )


def _unpacked(expected: type[P], request: Frame) -> P:
    try:
        return expected.unpack(request.payload)
    except InstrumentError as error:
        raise _Refuse(ErrorCode.MALFORMED, str(error)) from error


class Device:
    """Answers requests; keeps each scan until a host acknowledges it. `baud` is the rate that its
    port must have now.
    """

    def __init__(
        self,
        spectrometer: Spectrometer,
        board: Board | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.board = board or Board()
        self.baud = self.board.starting_baud
        self._spectrometer = spectrometer
        self._clock = clock
        self._decoder = Decoder()
        self._scans: dict[int, tuple[Scanned, bytes]] = {}
        self._next_number = 1
        self._last: tuple[Frame, bytes] | None = None
        self._next_baud = self.baud
        self._unheard_since: float | None = None
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

    def press(self) -> None:
        """Somebody presses the button."""
        self.board.presses = (self.board.presses + 1) % 2**32

    def tick(self) -> None:
        """Let time pass: a new rate begins once the reply has left, and ends if nothing
        intelligible arrives at it.
        """
        now = self._clock()
        if self.baud != self._next_baud:
            self.baud, self._unheard_since = self._next_baud, now
        if (
            self._unheard_since is not None
            and now - self._unheard_since > BAUD_FALLBACK_MS / 1000.0
        ):
            self._unheard_since = None
            if self.baud != self.board.starting_baud:
                # The request is forgotten: a BAUD whose reply was lost must be carried out anew.
                self.baud = self._next_baud = self.board.starting_baud
                self._decoder, self._last = Decoder(), None

    def receive(self, data: bytes) -> bytes:
        """The bytes to send back after `data`; damaged requests get no answer, so the host asks
        again.
        """
        self.tick()
        events = self._decoder.feed(data)
        if any(isinstance(event, Frame) for event in events):
            self._unheard_since = None
        elif data and self._unheard_since is None:
            self._unheard_since = self._clock()
        return b"".join(
            self._answer(event) if isinstance(event, Frame) else _unreadable(event)
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
            return self._chunk(request, self._pieces[Type(request.type)](request))
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
        if number not in self._scans:
            raise _Refuse(ErrorCode.NO_SUCH_SCAN, f"scan {number} is not kept")
        return self._scans[number][1]

    def _memory(self, request: Frame) -> bytes:
        _unpacked(Nothing, request)
        if not self.board.memory:
            raise _Refuse(ErrorCode.UNKNOWN_REQUEST, "there is no user memory")
        return bytes(self.board.memory)

    @staticmethod
    def _chunk(request: Frame, data: bytes) -> Frame:
        chunks = -(-len(data) // MAX_PAYLOAD)
        if request.chunk >= chunks:
            raise _Refuse(ErrorCode.OUT_OF_RANGE, f"chunk {request.chunk} is not one of {chunks}")
        start = request.chunk * MAX_PAYLOAD
        payload = data[start : start + MAX_PAYLOAD]
        return Frame(request.type | 0x80, request.sequence, payload, request.chunk, chunks)

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
        info = self._spectrometer.info
        if (
            not info.shortest_integration_us
            <= request.integration_us
            <= info.longest_integration_us
        ):
            raise _Refuse(ErrorCode.OUT_OF_RANGE, f"integration time {request.integration_us} us")
        if not 1 <= request.averages <= info.most_averages:
            raise _Refuse(ErrorCode.OUT_OF_RANGE, f"{request.averages} averages")
        if not self.board.can_take(request.kind):
            raise _Refuse(
                ErrorCode.WRONG_STATE, "lamp or shutter is held otherwise than this scan needs"
            )
        if request.kind is ScanKind.SAMPLE and self._waiting() >= SAMPLES_KEPT:
            raise _Refuse(ErrorCode.STORE_FULL, f"{SAMPLES_KEPT} samples wait to be acknowledged")
        number = self._next_number
        exposure = self._spectrometer.expose(request, number)
        self._next_number += 1
        if request.kind is not ScanKind.SAMPLE:
            # A new reference replaces one of its kind, so references can be taken whatever waits.
            self._scans = {
                number: kept
                for number, kept in self._scans.items()
                if kept[0].kind is not request.kind
            }
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
        self._scans[number] = (scanned, data)
        return scanned

    def _oldest(self, after: ScanNumber) -> Scanned:
        for number, (scanned, _) in self._scans.items():
            if number > after.number:
                return scanned
        raise _Refuse(ErrorCode.NO_SUCH_SCAN, f"every scan above {after.number} is acknowledged")

    def _acknowledge(self, done: ScanNumber) -> ScanNumber:
        self._scans.pop(done.number, None)
        return done

    def _waiting(self) -> int:
        return sum(kept.kind is ScanKind.SAMPLE for kept, _ in self._scans.values())

    def _status(self, _: Payload) -> Status:
        temperature = _centi(self._spectrometer.temperature_c())
        return Status(
            self._spectrometer.info.boot,
            self.board.presses,
            temperature,
            self._waiting(),
            self.board.flags,
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
        self._next_baud = rate.baud
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


def _centi(temperature_c: float) -> int:
    """Hundredths of a degree, as far as they fit the wire."""
    return max(-32_768, min(32_767, round(temperature_c * 100)))

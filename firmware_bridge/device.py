"""The instrument's side of the link: request bytes in, reply bytes out. No I/O; the C reference will mirror it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.codec import MAX_PAYLOAD, Damage, Decoder, Frame, Reason, encode
from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind
from ccnvr.firmware_bridge.messages import (
    Capabilities,
    ErrorCode,
    Hello,
    Refusal,
    Scanned,
    ScanNumber,
    ScanRequest,
    Type,
)

SAMPLES_KEPT = 8
"""Unacknowledged samples that the instrument holds; it takes no more until the host stores some."""


@dataclass(frozen=True)
class Exposure:
    """What a detector gave: `sums` is `(pixels,)` counts added over the averages."""

    sums: NDArray[np.uint32]
    saturated: bool
    temperature_c: float


class Detector(Protocol):
    """The measuring part of an instrument."""

    info: InstrumentInfo

    def expose(self, request: ScanRequest, number: int) -> Exposure:
        """Take scan `number`."""
        ...


class _Refuse(Exception):
    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(code, detail)


def _unreadable(damage: Damage) -> bytes:
    """A whole frame of another version is answered in ours, so that its sender learns which that is."""
    if damage.reason is not Reason.VERSION:
        return b""
    return encode(Frame(Type.ERROR, 0, Refusal(ErrorCode.OTHER_VERSION, "this instrument speaks another version").pack()))


class Device:
    """Answers requests; keeps each scan until a host acknowledges it."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._decoder = Decoder()
        self._scans: dict[int, tuple[Scanned, bytes]] = {}
        self._next_number = 1
        self._last: tuple[Frame, bytes] | None = None

    def receive(self, data: bytes) -> bytes:
        """The bytes to send back after `data`; damaged requests get no answer, so the host asks again."""
        return b"".join(
            self._answer(event) if isinstance(event, Frame) else _unreadable(event) for event in self._decoder.feed(data)
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
            reply = Frame(Type.ERROR, request.sequence, Refusal(ErrorCode.MALFORMED, str(error)).pack())
        encoded = encode(reply)
        self._last = (request, encoded)
        return encoded

    def _carry_out(self, request: Frame) -> Frame:
        match request.type:
            case Type.HELLO:
                return self._reply(request, self._capabilities(Hello.unpack(request.payload)).pack())
            case Type.WAVELENGTHS:
                return self._chunk(request, self._detector.info.wavelengths_nm.astype("<f4").tobytes())
            case Type.SCAN:
                return self._reply(request, self._scan(ScanRequest.unpack(request.payload)).pack())
            case Type.OLDEST:
                after = ScanNumber.unpack(request.payload).number
                return self._reply(request, self._oldest(after).pack())
            case Type.READ:
                number = ScanNumber.unpack(request.payload).number
                if number not in self._scans:
                    raise _Refuse(ErrorCode.NO_SUCH_SCAN, f"scan {number} is not kept")
                return self._chunk(request, self._scans[number][1])
            case Type.ACKNOWLEDGE:
                number = ScanNumber.unpack(request.payload).number
                self._scans.pop(number, None)
                return self._reply(request, ScanNumber(number).pack())
        raise _Refuse(ErrorCode.UNKNOWN_REQUEST, f"request type 0x{request.type:02x} is unknown")

    @staticmethod
    def _reply(request: Frame, payload: bytes) -> Frame:
        return Frame(request.type | 0x80, request.sequence, payload)

    @staticmethod
    def _chunk(request: Frame, data: bytes) -> Frame:
        chunks = -(-len(data) // MAX_PAYLOAD)
        if request.chunk >= chunks:
            raise _Refuse(ErrorCode.OUT_OF_RANGE, f"chunk {request.chunk} is not one of {chunks}")
        start = request.chunk * MAX_PAYLOAD
        payload = data[start : start + MAX_PAYLOAD]
        return Frame(request.type | 0x80, request.sequence, payload, request.chunk, chunks)

    def _capabilities(self, hello: Hello) -> Capabilities:
        info = self._detector.info
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
        )

    def _scan(self, request: ScanRequest) -> Scanned:
        info = self._detector.info
        if not info.shortest_integration_us <= request.integration_us <= info.longest_integration_us:
            raise _Refuse(ErrorCode.OUT_OF_RANGE, f"integration time {request.integration_us} us")
        if not 1 <= request.averages <= info.most_averages:
            raise _Refuse(ErrorCode.OUT_OF_RANGE, f"{request.averages} averages")
        if request.kind is ScanKind.SAMPLE:
            if sum(kept.kind is ScanKind.SAMPLE for kept, _ in self._scans.values()) >= SAMPLES_KEPT:
                raise _Refuse(ErrorCode.STORE_FULL, f"{SAMPLES_KEPT} samples wait to be acknowledged")
        else:
            # A new reference replaces one of its kind, so references can be taken whatever waits.
            self._scans = {number: kept for number, kept in self._scans.items() if kept[0].kind is not request.kind}
        number = self._next_number
        exposure = self._detector.expose(request, number)
        self._next_number += 1
        data = exposure.sums.astype("<u4").tobytes()
        scanned = Scanned(
            number=number,
            kind=request.kind,
            saturated=exposure.saturated,
            integration_us=request.integration_us,
            averages=request.averages,
            pixels=exposure.sums.size,
            temperature_centi_c=round(exposure.temperature_c * 100),
            checksum=zlib.crc32(data),
        )
        self._scans[number] = (scanned, data)
        return scanned

    def _oldest(self, after: int) -> Scanned:
        for number, (scanned, _) in self._scans.items():
            if number > after:
                return scanned
        raise _Refuse(ErrorCode.NO_SUCH_SCAN, f"every scan above {after} is acknowledged")

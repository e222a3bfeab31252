"""The messages inside the link's frames: typed values to payload bytes and back. No I/O. See PROTOCOL.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.instrument import ScanKind


class Type(IntEnum):
    """Frame types. A reply is its request with the high bit set, but for ERROR."""

    HELLO = 0x01
    WAVELENGTHS = 0x02
    SCAN = 0x03
    OLDEST = 0x04
    READ = 0x05
    ACKNOWLEDGE = 0x06
    CAPABILITIES = 0x81
    WAVELENGTHS_DATA = 0x82
    SCANNED = 0x83
    OLDEST_SCANNED = 0x84
    DATA = 0x85
    ACKNOWLEDGED = 0x86
    ERROR = 0xFF


class ErrorCode(IntEnum):
    """Why the instrument refused a request."""

    UNKNOWN_REQUEST = 1
    MALFORMED = 2
    OUT_OF_RANGE = 3
    NO_SUCH_SCAN = 4
    STORE_FULL = 5
    HARDWARE = 6
    OTHER_VERSION = 7


@dataclass(frozen=True)
class Hello:
    """Host to instrument: start a session. `nonce` marks the reply as belonging to it."""

    nonce: int

    _FORMAT = struct.Struct("<I")

    def pack(self) -> bytes:
        """Payload bytes."""
        return self._FORMAT.pack(self.nonce)

    @classmethod
    def unpack(cls, payload: bytes) -> Hello:
        """Raises InstrumentError on malformed bytes, as every `unpack` here does."""
        return cls(*_fields(cls._FORMAT, payload, "HELLO"))


@dataclass(frozen=True)
class Capabilities:
    """Instrument to host: who it is and what it can do. Strings are UTF-8, at most `LONGEST_NAME` bytes each."""

    nonce: int
    boot: int
    pixels: int
    saturation_counts: int
    shortest_integration_us: int
    longest_integration_us: int
    most_averages: int
    model: str
    serial: str
    firmware: str

    LONGEST_NAME = 32
    _FORMAT = struct.Struct("<IIHIIIH")

    def pack(self) -> bytes:
        """Payload bytes."""
        fixed = self._FORMAT.pack(
            self.nonce,
            self.boot,
            self.pixels,
            self.saturation_counts,
            self.shortest_integration_us,
            self.longest_integration_us,
            self.most_averages,
        )
        return fixed + b"".join(_pack_name(name) for name in (self.model, self.serial, self.firmware))

    @classmethod
    def unpack(cls, payload: bytes) -> Capabilities:
        """Raises InstrumentError on malformed bytes."""
        nonce, boot, pixels, saturation, shortest, longest, averages = _fields(
            cls._FORMAT, payload[: cls._FORMAT.size], "CAPABILITIES"
        )
        model, rest = _unpack_name(payload[cls._FORMAT.size :])
        serial, rest = _unpack_name(rest)
        # Bytes behind the last name are a later minor revision's and are passed over.
        firmware, _ = _unpack_name(rest)
        return cls(nonce, boot, pixels, saturation, shortest, longest, averages, model, serial, firmware)


@dataclass(frozen=True)
class ScanRequest:
    """Host to instrument: take a scan of `averages` integrations."""

    kind: ScanKind
    integration_us: int
    averages: int

    _FORMAT = struct.Struct("<BIH")

    def pack(self) -> bytes:
        """Payload bytes."""
        return self._FORMAT.pack(self.kind, self.integration_us, self.averages)

    @classmethod
    def unpack(cls, payload: bytes) -> ScanRequest:
        """Raises InstrumentError on malformed bytes."""
        kind, integration_us, averages = _fields(cls._FORMAT, payload, "SCAN")
        return cls(_kind(kind), integration_us, averages)


@dataclass(frozen=True)
class Scanned:
    """Instrument to host: a scan waits to be read. `checksum` is the CRC-32 of all its data.

    The data are `pixels` unsigned 32-bit sums over `averages` integrations, so that averaging loses nothing.
    """

    number: int
    kind: ScanKind
    saturated: bool
    integration_us: int
    averages: int
    pixels: int
    temperature_centi_c: int
    checksum: int

    _FORMAT = struct.Struct("<IBBIHHhI")

    def pack(self) -> bytes:
        """Payload bytes."""
        return self._FORMAT.pack(
            self.number,
            self.kind,
            int(self.saturated),
            self.integration_us,
            self.averages,
            self.pixels,
            self.temperature_centi_c,
            self.checksum,
        )

    @classmethod
    def unpack(cls, payload: bytes) -> Scanned:
        """Raises InstrumentError on malformed bytes."""
        number, kind, flags, *rest = _fields(cls._FORMAT, payload, "SCANNED")
        return cls(number, _kind(kind), bool(flags & 1), *rest)


@dataclass(frozen=True)
class ScanNumber:
    """A scan's number: the payload of READ, ACKNOWLEDGE, ACKNOWLEDGED and, meaning "above this one", of OLDEST."""

    number: int

    _FORMAT = struct.Struct("<I")

    def pack(self) -> bytes:
        """Payload bytes."""
        return self._FORMAT.pack(self.number)

    @classmethod
    def unpack(cls, payload: bytes) -> ScanNumber:
        """Raises InstrumentError on malformed bytes."""
        return cls(*_fields(cls._FORMAT, payload, "scan number"))


@dataclass(frozen=True)
class Refusal:
    """Instrument to host: why a request was not carried out; `code` may be one that this version does not know."""

    code: int
    detail: str

    _FORMAT = struct.Struct("<H")

    def pack(self) -> bytes:
        """Payload bytes."""
        detail = self.detail.encode()[:200].decode(errors="ignore")
        return self._FORMAT.pack(self.code) + detail.encode()

    @classmethod
    def unpack(cls, payload: bytes) -> Refusal:
        """Raises InstrumentError on malformed bytes."""
        (code,) = _fields(cls._FORMAT, payload[: cls._FORMAT.size], "ERROR")
        return cls(code, _printable(payload[cls._FORMAT.size :]))


def _fields(layout: struct.Struct, payload: bytes, name: str) -> tuple[int, ...]:
    if len(payload) != layout.size:
        raise InstrumentError(
            f"{name} has {len(payload)} bytes where the link protocol has {layout.size}; "
            "update the instrument's firmware or ccnvr"
        )
    return layout.unpack(payload)


def _kind(value: int) -> ScanKind:
    try:
        return ScanKind(value)
    except ValueError:
        raise InstrumentError(f"scan kind {value} is none of 0, 1, 2; update the instrument's firmware or ccnvr") from None


def _pack_name(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) > Capabilities.LONGEST_NAME:
        raise ValueError(f"{name!r} takes {len(encoded)} bytes; at most {Capabilities.LONGEST_NAME} fit")
    return bytes([len(encoded)]) + encoded


def _unpack_name(data: bytes) -> tuple[str, bytes]:
    length = data[0] if data else 0
    if not data or length > Capabilities.LONGEST_NAME or len(data) < 1 + length:
        raise InstrumentError("CAPABILITIES names are cut short; update the instrument's firmware or ccnvr")
    return _printable(data[1 : 1 + length]), data[1 + length :]


def _printable(data: bytes) -> str:
    """Text of the instrument's, safe for file names, topics and terminals."""
    return "".join(character if character.isprintable() else "?" for character in data.decode(errors="replace"))

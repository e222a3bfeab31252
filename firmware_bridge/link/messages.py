"""The messages in the frames of the link, as typed values with their bytes.

They do no I/O. PROTOCOL.md specifies them.

Generated from link.toml by `make generate`: change that file, not this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import ClassVar

from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import ScanKind
from ccnvr.firmware_bridge.link.payload import (
    Bit,
    Bytes,
    Doubles,
    Field,
    Name,
    Number,
    Payload,
    Text,
)
from ccnvr.firmware_bridge.link_constants import (
    LONGEST_DETAIL,
    LONGEST_NAME,
    MAX_REQUEST,
    MOST_COEFFICIENTS,
)


class Type(IntEnum):
    """Types of frames. A reply is its request with the high bit set, except ERROR."""

    HELLO = 0x01
    WAVELENGTHS = 0x02
    SCAN = 0x03
    OLDEST = 0x04
    READ = 0x05
    ACKNOWLEDGE = 0x06
    STATUS = 0x07
    HOLD = 0x08
    BAUD = 0x09
    COEFFICIENTS = 0x0A
    MEMORY = 0x0B
    WRITE = 0x0C
    CAPABILITIES = 0x81
    WAVELENGTHS_DATA = 0x82
    SCANNED = 0x83
    OLDEST_SCANNED = 0x84
    DATA = 0x85
    ACKNOWLEDGED = 0x86
    STATUS_NOW = 0x87
    HELD = 0x88
    BAUD_SET = 0x89
    COEFFICIENTS_DATA = 0x8A
    MEMORY_DATA = 0x8B
    WRITTEN = 0x8C
    ERROR = 0xFF


class ErrorCode(IntEnum):
    """Why a request was refused."""

    UNKNOWN_REQUEST = 1
    MALFORMED = 2
    OUT_OF_RANGE = 3
    NO_SUCH_SCAN = 4
    STORE_FULL = 5
    HARDWARE = 6
    OTHER_VERSION = 7
    WRONG_STATE = 8


class Held(IntEnum):
    """How lamp or shutter is held."""

    AUTOMATIC = 0
    OFF = 1
    ON = 2


class CoefficientKind(IntEnum):
    """Which calibration."""

    WAVELENGTH = 0
    LINEARITY = 1


class Feature(IntFlag):
    """What the instrument has."""

    LAMP = 1
    SHUTTER = 2
    BUTTON = 4
    THERMOMETER = 8


class StatusFlag(IntFlag):
    """Current state."""

    LAMP_ON = 1
    SHUTTER_OPEN = 2


@frozen
class Nothing(Payload):
    """Host to instrument: no payload."""

    TITLE: ClassVar[str] = "a request without payload"
    LAYOUT: ClassVar[Sequence[Field]] = ()


@frozen
class Hello(Payload):
    """Host to instrument: start a session. The reply repeats `nonce`."""

    nonce: int

    TITLE: ClassVar[str] = "HELLO"
    LAYOUT: ClassVar[Sequence[Field]] = (Number("nonce", "I"),)


@frozen
class Capabilities(Payload):
    """Instrument to host: identity and abilities.

    Bytes after the last field belong to a later revision and are ignored.
    """

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
    features: Feature = Feature(0)
    memory_bytes: int = 0
    fastest_baud: int = 0
    samples_kept: int = 8

    TITLE: ClassVar[str] = "CAPABILITIES"
    LAYOUT: ClassVar[Sequence[Field]] = (
        Number("nonce", "I"),
        Number("boot", "I"),
        Number("pixels", "H"),
        Number("saturation_counts", "I"),
        Number("shortest_integration_us", "I"),
        Number("longest_integration_us", "I"),
        Number("most_averages", "H"),
        Name("model", LONGEST_NAME),
        Name("serial", LONGEST_NAME),
        Name("firmware", LONGEST_NAME),
        Number("features", "I", Feature, later=True),
        Number("memory_bytes", "H", later=True),
        Number("fastest_baud", "I", later=True),
        Number("samples_kept", "B", later=True),
    )
    EXTENSIBLE: ClassVar[bool] = True


@frozen
class ScanRequest(Payload):
    """Host to instrument: take a scan of `averages` integrations."""

    kind: ScanKind
    integration_us: int
    averages: int

    TITLE: ClassVar[str] = "SCAN"
    LAYOUT: ClassVar[Sequence[Field]] = (
        Number("kind", "B", ScanKind),
        Number("integration_us", "I"),
        Number("averages", "H"),
    )


@frozen
class Scanned(Payload):
    """Instrument to host: a scan can be read.

    Its data are `pixels` u32 sums over the averages, so that averaging loses no precision.
    """

    number: int
    kind: ScanKind
    saturated: bool
    integration_us: int
    averages: int
    pixels: int
    temperature_centi_c: int
    checksum: int

    TITLE: ClassVar[str] = "SCANNED"
    LAYOUT: ClassVar[Sequence[Field]] = (
        Number("number", "I"),
        Number("kind", "B", ScanKind),
        Bit("saturated"),
        Number("integration_us", "I"),
        Number("averages", "H"),
        Number("pixels", "H"),
        Number("temperature_centi_c", "h"),
        Number("checksum", "I"),
    )


@frozen
class ScanNumber(Payload):
    """The number of a scan.

    READ, ACKNOWLEDGE and ACKNOWLEDGED carry it, and OLDEST, which asks for a scan above it.
    """

    number: int

    TITLE: ClassVar[str] = "scan number"
    LAYOUT: ClassVar[Sequence[Field]] = (Number("number", "I"),)


@frozen
class Refusal(Payload):
    """Instrument to host: why a request was not carried out.

    `code` may be unknown to this version.
    """

    code: int
    detail: str

    TITLE: ClassVar[str] = "ERROR"
    LAYOUT: ClassVar[Sequence[Field]] = (
        Number("code", "H"),
        Text("detail", LONGEST_DETAIL),
    )


@frozen
class Status(Payload):
    """Instrument to host: its current state."""

    boot: int
    presses: int
    temperature_centi_c: int
    waiting: int
    flags: StatusFlag

    TITLE: ClassVar[str] = "STATUS"
    LAYOUT: ClassVar[Sequence[Field]] = (
        Number("boot", "I"),
        Number("presses", "I"),
        Number("temperature_centi_c", "h"),
        Number("waiting", "B"),
        Number("flags", "B", StatusFlag),
    )


@frozen
class Hold(Payload):
    """Host to instrument: hold lamp and shutter, or leave them to the scans again."""

    lamp: Held
    shutter: Held

    TITLE: ClassVar[str] = "HOLD"
    LAYOUT: ClassVar[Sequence[Field]] = (
        Number("lamp", "B", Held),
        Number("shutter", "B", Held),
    )


@frozen
class BaudRate(Payload):
    """In both directions: the new rate of the serial line."""

    baud: int

    TITLE: ClassVar[str] = "BAUD"
    LAYOUT: ClassVar[Sequence[Field]] = (Number("baud", "I"),)


@frozen
class CoefficientsRequest(Payload):
    """Host to instrument: which calibration coefficients to send."""

    kind: CoefficientKind

    TITLE: ClassVar[str] = "COEFFICIENTS"
    LAYOUT: ClassVar[Sequence[Field]] = (Number("kind", "B", CoefficientKind),)


@frozen
class Coefficients(Payload):
    """Instrument to host: calibration coefficients; none if it has none of that kind."""

    kind: CoefficientKind
    values: Sequence[float]

    TITLE: ClassVar[str] = "COEFFICIENTS_DATA"
    LAYOUT: ClassVar[Sequence[Field]] = (
        Number("kind", "B", CoefficientKind),
        Doubles("values", MOST_COEFFICIENTS),
    )


@frozen
class MemoryBlock(Payload):
    """Host to instrument: bytes to write to the user memory."""

    offset: int
    data: bytes

    TITLE: ClassVar[str] = "WRITE"
    LAYOUT: ClassVar[Sequence[Field]] = (
        Number("offset", "H"),
        Bytes("data", MAX_REQUEST - 2),
    )


@frozen
class MemoryWritten(Payload):
    """Instrument to host: these bytes are written permanently."""

    offset: int
    length: int

    TITLE: ClassVar[str] = "WRITTEN"
    LAYOUT: ClassVar[Sequence[Field]] = (
        Number("offset", "H"),
        Number("length", "H"),
    )

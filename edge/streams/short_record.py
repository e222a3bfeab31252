"""A prediction in at most 51 bytes, for LoRaWAN or a mesh radio.

The smallest LoRaWAN payload in Europe (EU868, data rate 0) is 51 bytes: LoRaWAN Regional
Parameters RP002-1.0.4, section 2.4.6. The layout, big-endian, is in docs/short-record.md;
`decoder.js` beside this file reads it as a network server's payload formatter.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from ccnvr.firmware_bridge.frozen import frozen

MOST_BYTES = 51

VERSION = 1

PROPERTIES = ("OC", "N", "CEC", "pH", "clay", "sand", "silt", "CaCO3", "pH_CaCl2", "pH_KCl")
"""The properties that have a number; a number is never given again."""

MOST_PROPERTIES = 5

VERDICTS = ("", "ok", "laboratory", "rescan")

_HEAD = struct.Struct(">BIIiiB")
"""Version and count, CRC-32 of the scan id, seconds since 1970, latitude, longitude, flags."""

_EACH = struct.Struct(">BHH")
"""Number and verdict of a property, its value and the half width of its interval."""

NO_POSITION = -(2**31)

OTHER = "other"

FLAGS = (
    "rescan",
    "out_of_domain",
    "reference",
    "noisy",
    "outside_training_range",
    "check_sample",
    OTHER,
)
"""The bits of the byte of flags, from the lowest; each stands for all flags of its kind.

`other` stands for any flag without a bit of its own, so that no doubt about a number is left out.
"""

_HARMLESS = "read_later"
"""The flag that says nothing about the numbers."""


@frozen
class ShortEstimate:
    """A property's value and the half width of its interval; None where there is none."""

    value: float
    half_width: float | None
    verdict: str = ""


@frozen
class ShortRecord:
    """What a short record holds.

    `id_crc` is the CRC-32 of the scan id in UTF-8: enough to find the record in the store. `time`
    is in s since 1970, `position` latitude and longitude in degrees.
    """

    id_crc: int
    time: int
    position: tuple[float, float] | None
    flags: tuple[str, ...]
    estimates: Mapping[str, ShortEstimate]


def short_of(record: Mapping[str, Any], time: int) -> ShortRecord:
    """Return a record of a stream, with its time in s since 1970, as a short record.

    The first `MOST_PROPERTIES` properties that have a number are kept.
    """
    estimates: dict[str, ShortEstimate] = {}
    # In the order of their numbers, so that a model with six properties always sends the same five.
    for name in PROPERTIES:
        if name in record["predictions"] and len(estimates) < MOST_PROPERTIES:
            found = record["predictions"][name]
            low, high = found.get("low"), found.get("high")
            half = None if low is None or high is None else (high - low) / 2.0
            estimates[name] = ShortEstimate(found["value"], half, str(found.get("verdict") or ""))
    position = record.get("position") or {}
    latitude, longitude = position.get("latitude"), position.get("longitude")
    return ShortRecord(
        # The id itself may have a hundred characters. Two ids of one store with equal sums are not
        # to be expected, and the time tells them apart.
        id_crc=zlib.crc32(str(record["scan_id"]).encode("utf-8", "surrogatepass")),
        time=time,
        position=None if latitude is None or longitude is None else (latitude, longitude),
        flags=_kinds(record["flags"]),
        estimates=estimates,
    )


def _kinds(flags: Iterable[object]) -> tuple[str, ...]:
    """Return the kinds of flags that have bits."""
    found = set()
    for flag in flags:
        parts = str(flag).split(":")
        own = {kind for kind in FLAGS[:-1] if any(part.startswith(kind) for part in parts)}
        found |= own or ({OTHER} if flag != _HARMLESS else set())
    return tuple(kind for kind in FLAGS if kind in found)


def encode(record: ShortRecord) -> bytes:
    """Return a short record as bytes.

    Raises:
        ValueError: it has more than `MOST_PROPERTIES` properties, or one without a number.
    """
    if len(record.estimates) > MOST_PROPERTIES:
        raise ValueError(f"{len(record.estimates)} properties are more than {MOST_PROPERTIES}")
    latitude, longitude = (
        (NO_POSITION, NO_POSITION)
        if record.position is None
        else (round(record.position[0] * 1e7), round(record.position[1] * 1e7))
    )
    bits = sum(1 << FLAGS.index(flag) for flag in record.flags)
    data = _HEAD.pack(
        VERSION << 4 | len(record.estimates),
        record.id_crc,
        # A computer without a clock battery may be before 1970, which must not end the stream.
        max(0, min(record.time, 2**32 - 1)),
        latitude,
        longitude,
        bits,
    )
    for name, estimate in record.estimates.items():
        verdict = VERDICTS.index(estimate.verdict) if estimate.verdict in VERDICTS else 0
        data += _EACH.pack(
            PROPERTIES.index(name) << 2 | verdict,
            _half(estimate.value),
            _half(math.nan if estimate.half_width is None else estimate.half_width),
        )
    return data


def decode(data: bytes) -> ShortRecord:
    """Return bytes as a short record.

    Raises:
        ValueError: the bytes are not a short record of this version.
    """
    if len(data) < _HEAD.size or data[0] >> 4 != VERSION:
        raise ValueError(
            f"{len(data)} bytes that begin with {data[:1].hex() or 'nothing'} are not a short "
            f"record of version {VERSION}"
        )
    count = data[0] & 0x0F
    if len(data) != _HEAD.size + count * _EACH.size or count > MOST_PROPERTIES:
        raise ValueError(
            f"a short record with {count} properties has {_HEAD.size + count * _EACH.size} bytes, "
            f"not {len(data)}"
        )
    _, crc, time, latitude, longitude, bits = _HEAD.unpack_from(data)
    # A later version may give them a meaning; to ignore it could hide a warning.
    if bits >> len(FLAGS):
        raise ValueError(f"the flags {bits:#04x} have bits without a meaning")
    estimates: dict[str, ShortEstimate] = {}
    for place in range(count):
        kind, value, half = _EACH.unpack_from(data, _HEAD.size + place * _EACH.size)
        if kind >> 2 >= len(PROPERTIES) or PROPERTIES[kind >> 2] in estimates:
            raise ValueError(f"property number {kind >> 2} is unknown or given twice")
        width = _number(half)
        estimates[PROPERTIES[kind >> 2]] = ShortEstimate(
            _number(value), None if math.isnan(width) else width, VERDICTS[kind & 3]
        )
    return ShortRecord(
        crc,
        time,
        None if latitude == NO_POSITION else (latitude / 1e7, longitude / 1e7),
        tuple(flag for place, flag in enumerate(FLAGS) if bits >> place & 1),
        estimates,
    )


def _half(value: float) -> int:
    """Return a number as the bits of a 16-bit float, the largest one where it is too large."""
    # 65504 is the largest 16-bit float; `struct` raises an error beyond it.
    limited = max(-65_504.0, min(value, 65_504.0)) if math.isfinite(value) else math.nan
    (bits,) = struct.unpack(">H", struct.pack(">e", limited))
    return int(bits)


def _number(bits: int) -> float:
    (value,) = struct.unpack(">e", struct.pack(">H", bits))
    return float(value)

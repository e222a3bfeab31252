"""NMEA 0183 from a satellite receiver: the sentences GGA, RMC and GST, each with its checksum."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

from ccnvr.edge.storage.context import GeoPosition

MOST_SENTENCE = 128
"""The most bytes of a sentence; the standard allows 82, and some receivers send a few more."""

_PLAIN_ERROR_M, _CORRECTED_ERROR_M = 15.0, 3.75
"""The error of a range with 95 % confidence without and with differential correction, as gpsd has
it; times the horizontal dilution of precision it is the radius that holds the true position."""

_RECENT_S = 5.0
"""How long GGA takes precedence over RMC, and GST belongs to the fixes that follow."""


class NmeaParser:
    """Bytes of a receiver in, positions out; None is the receiver's word that it has no fix.

    Args:
        clock: a monotonic clock in s.
    """

    greeting = b""
    """What is sent to the source first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rest = b""
        self._gga_at = -math.inf
        self._deviation_m, self._gst_at = math.nan, -math.inf

    def feed(self, data: bytes) -> Iterator[GeoPosition | None]:
        """Yield what the sentences that end in `data` say; damaged ones say nothing."""
        *lines, rest = (self._rest + data).split(b"\n")
        # A line without an end is noise, as of a wrong baud rate.
        self._rest = rest[-MOST_SENTENCE:]
        for line in lines:
            fields = _fields(line)
            if fields is not None:
                yield from self._read(fields)

    def _read(self, fields: Sequence[str]) -> Iterator[GeoPosition | None]:
        # The first two letters of a sentence's name say which satellites it used.
        kind = fields[0][2:]
        try:
            if kind == "GGA":
                self._gga_at = self._clock()
                yield self._gga(fields)
            elif kind == "RMC" and self._clock() - self._gga_at > _RECENT_S:
                valid = fields[2] == "A"
                yield _position(fields[3:7], math.nan) if valid else None
            elif kind == "GST":
                self._deviation_m = math.hypot(float(fields[6]), float(fields[7]))
                self._gst_at = self._clock()
        except (ValueError, IndexError):
            return

    def _gga(self, fields: Sequence[str]) -> GeoPosition | None:
        quality = int(fields[6] or 0)
        # 6 to 8 are estimated, typed in and simulated: not where the receiver is.
        if not 1 <= quality <= 5:
            return None
        if self._clock() - self._gst_at < _RECENT_S:
            # Twice the root of the summed variances holds some 95 %.
            accuracy = 2.0 * self._deviation_m
        else:
            error = _PLAIN_ERROR_M if quality == 1 else _CORRECTED_ERROR_M
            accuracy = float(fields[8]) * error if fields[8] else math.nan
        return _position(fields[2:6], accuracy)


def _fields(line: bytes) -> list[str] | None:
    """Return the fields of a sentence without `$`; None if it is damaged."""
    line = line.strip()
    body, star, given = line[1:].rpartition(b"*")
    if line[:1] != b"$" or not star or len(line) > MOST_SENTENCE or len(given) != 2:
        return None
    computed = 0
    for byte in body:
        computed ^= byte
    # Compared as text, because int() reads more than two digits of base 16 may be.
    if given.upper() != b"%02X" % computed or not body.isascii():
        return None
    return body.decode("ascii").split(",")


def _position(fields: Sequence[str], accuracy_m: float) -> GeoPosition:
    """Return the position of the fields latitude, N or S, longitude, E or W.

    Raises:
        ValueError: they hold none.
    """
    latitude, north, longitude, east = fields
    if north not in ("N", "S") or east not in ("E", "W"):
        raise ValueError(f"{north} and {east} are no hemispheres")
    return GeoPosition(
        _degrees(latitude, 2) * (1 if north == "N" else -1),
        _degrees(longitude, 3) * (1 if east == "E" else -1),
        accuracy_m,
    )


def _degrees(text: str, digits: int) -> float:
    """Return degrees from `ddmm.mmm` or `dddmm.mmm`."""
    whole, minutes = text[:digits], float(text[digits:])
    if not whole.isdecimal() or not 0.0 <= minutes < 60.0:
        raise ValueError(f"{text} are no degrees and minutes")
    return int(whole) + minutes / 60.0

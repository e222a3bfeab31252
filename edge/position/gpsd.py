"""Positions from gpsd: JSON lines over TCP, of which the reports of class TPV hold the position."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, TypeGuard

from ccnvr.edge.storage.context import GeoPosition

MOST_LINE = 65_536
"""The most bytes of a line; reports of many satellites take some 10 kB."""

_LEAST_FIX = 2
"""The mode of a fix in two dimensions; 3 is a fix in three, and less is no fix."""


class GpsdParser:
    """Bytes of gpsd in, positions out; None is the receiver's word that it has no fix."""

    greeting = b'?WATCH={"enable":true,"json":true};\n'
    """What is sent to the source first."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[GeoPosition | None]:
        """Yield what the reports that end in `data` say; what is no report says nothing."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest if len(rest) <= MOST_LINE else b""
        for line in lines:
            try:
                report = json.loads(line.decode("utf-8")) if len(line) <= MOST_LINE else None
            except (ValueError, RecursionError):
                continue
            if isinstance(report, dict) and report.get("class") == "TPV":
                yield _position(report)


def _position(report: dict[str, Any]) -> GeoPosition | None:
    mode, latitude, longitude = (report.get(name) for name in ("mode", "lat", "lon"))
    if not _number(mode) or mode < _LEAST_FIX or not (_number(latitude) and _number(longitude)):
        return None
    # eph is the horizontal error; versions before 3.20 gave it by east and north only.
    accuracy = report.get("eph")
    if not _number(accuracy):
        east, north = report.get("epx"), report.get("epy")
        accuracy = math.hypot(east, north) if _number(east) and _number(north) else math.nan
    return GeoPosition(float(latitude), float(longitude), float(accuracy))


def _number(value: Any) -> TypeGuard[float]:
    # An integer of a thousand digits has no float.
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**53)

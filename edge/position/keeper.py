"""Where the probe is: a thread that follows gpsd or a receiver, and never holds up a scan."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from ccnvr.edge.position.gpsd import GpsdParser
from ccnvr.edge.position.nmea import NmeaParser
from ccnvr.edge.storage.context import GeoPosition
from ccnvr.edge.typed import check_choice, check_range
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.transport import SerialTransport

_READ_S = 0.2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
"""The pause before a source is opened again doubles from try to try."""

_SILENT_S = 20.0
"""A source that says nothing for so long is opened again: a TCP peer may be gone without a word."""

_LEAVE_S = 1.0
"""How long the end of the thread is waited for, in s."""

_LARGEST_M = 1e6

_LOG = logging.getLogger(__name__)


@frozen
class PositionConfig:
    """Where positions come from.

    `source` is "none", "gpsd" or "nmea". `gpsd` is the HOST:PORT of gpsd, `port` the URL of a
    receiver that sends NMEA 0183, such as "serial:///dev/ttyUSB0?baud=9600". A position older than
    `max_age_s` is not stored with a scan.
    """

    source: str = "none"
    gpsd: str = "127.0.0.1:2947"
    port: str = ""
    max_age_s: float = 10.0

    def __post_init__(self) -> None:
        check_choice("source", self.source, ("none", "gpsd", "nmea"))
        check_range("max_age_s", self.max_age_s, 0.5, 3_600.0)
        host, _, number = self.gpsd.rpartition(":")
        if not host or not number.isdecimal() or not 1 <= int(number[:6]) <= 65_535:
            raise ValueError(f"gpsd = {self.gpsd!r} is not HOST:PORT")
        if self.source == "nmea" and not self.port:
            raise ValueError("port names no receiver; give serial:///dev/NAME?baud=9600")


class PositionParser(Protocol):
    """What makes positions of the bytes of a source."""

    greeting: bytes

    def feed(self, data: bytes) -> Iterator[GeoPosition | None]:
        """Yield positions; None where the source says that it has none."""
        ...


class PositionKeeper(threading.Thread):
    """The thread that follows a source of positions; start it, and `close` it in the end."""

    def __init__(self, config: PositionConfig) -> None:
        super().__init__(name="position", daemon=True)
        self._max_age_s = config.max_age_s
        self._gpsd = config.source == "gpsd"
        self._url = f"socket://{config.gpsd}" if self._gpsd else config.port
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._latest: GeoPosition | None = None
        self._at = -math.inf

    def position(self) -> GeoPosition | None:
        """Return the present position at once; None if it is unknown or too old."""
        with self._lock:
            fresh = time.monotonic() - self._at <= self._max_age_s
            return self._latest if fresh else None

    def status(self) -> dict[str, Any]:
        """Return source, position and its age as JSON values."""
        with self._lock:
            latest, age_s = self._latest, time.monotonic() - self._at
        return {
            "source": self._url,
            "position": latest.as_data() if latest and age_s <= self._max_age_s else None,
            "age_s": round(age_s, 1) if math.isfinite(age_s) else None,
        }

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        # A connection to a host that does not answer takes longer; the thread is a daemon.
        self.join(_LEAVE_S)

    def run(self) -> None:
        """Run the thread: follow the source, and open it again when it is lost."""
        pause_s, told = _FIRST_PAUSE_S, ""
        while not self._stopping.is_set():
            problem = self._follow()
            if self._stopping.is_set():
                return
            if self._at > -math.inf and time.monotonic() - self._at < _SILENT_S:
                pause_s = _FIRST_PAUSE_S
            if problem != told:
                told = problem
                _LOG.warning(
                    "no position from %s (%s); scans are stored without one", self._url, problem
                )
            self._stopping.wait(pause_s)
            pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)

    def _follow(self) -> str:
        """Read the source until it is lost or the thread is to end; return what was wrong."""
        parser: PositionParser = GpsdParser() if self._gpsd else NmeaParser()
        try:
            transport = SerialTransport(self._url)
        except CcnvrError as error:
            return str(error)
        try:
            transport.write(parser.greeting)
            heard = time.monotonic()
            while not self._stopping.is_set():
                data = transport.read(_READ_S)
                if data:
                    heard = time.monotonic()
                elif time.monotonic() - heard > _SILENT_S:
                    return f"it said nothing for {_SILENT_S:.0f} s"
                for position in parser.feed(data):
                    self._keep(position)
        except CcnvrError:
            return "it went away"
        except Exception as error:  # no fault of a receiver may reach the measuring
            _LOG.exception("the position source %s failed; report this", self._url)
            return type(error).__name__
        finally:
            transport.close()
        return ""

    def _keep(self, position: GeoPosition | None) -> None:
        if position is not None and not _possible(position):
            return
        with self._lock:
            # Without a fix the last one is not the present position, however young it is.
            self._latest = position
            if position is not None:
                self._at = time.monotonic()


def _possible(position: GeoPosition) -> bool:
    # Written so that NaN and infinity fail, but for an accuracy that is not known.
    known = not math.isnan(position.accuracy_m)
    return (
        abs(position.latitude) <= 90.0
        and abs(position.longitude) <= 180.0
        and (not known or 0.0 <= position.accuracy_m <= _LARGEST_M)
    )

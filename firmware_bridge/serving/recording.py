"""A recorded session: every byte between a host and an instrument, with time and direction.

It is a text file. The first line is `ccnvr recording 1 URL`; each further line is an event:

    0.003117 > 0000020102...

These are the seconds since the start, `>` (to the instrument) or `<` (from it), and the bytes in
hexadecimal, at most `MOST_BYTES`. A line is written whole and at once. One without its end, which a
recorder that was killed may leave, is not an event.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.firmware_bridge.frozen import frozen

TO_INSTRUMENT, FROM_INSTRUMENT = ">", "<"

MOST_BYTES = 4_096

LARGEST_FILE = 64 << 20
"""The largest recording in bytes; some 10,000 scans of 512 pixels."""

MOST_EVENTS = 500_000
"""The most events in a recording, each of which takes some 120 bytes when it is read."""

_MAGIC = "ccnvr recording 1 "
# Two digits for each byte, and room for the time and the direction.
_LONGEST_LINE = 2 * MOST_BYTES + 64


@dataclass(frozen=True, slots=True)
class Event:
    """Bytes that passed in one direction, `time_s` seconds after the start of the recording."""

    time_s: float
    direction: str
    data: bytes


@frozen
class Recording:
    """A recorded session: the URL of the instrument, and the events in order."""

    url: str
    events: list[Event]


class Recorder:
    """A writer of a session as it happens; safe to call from several threads.

    Raises:
        UsageError: the file exists, or cannot be created.
    """

    def __init__(self, path: Path, url: str) -> None:
        try:
            # Mode x never overwrites an earlier session.
            self._stream: IO[str] = open(path, "x", encoding="ascii", newline="\n")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise UsageError(
                f"{path} cannot be made ({error.strerror}); name a new file in a folder that exists"
            ) from error
        self.passed = {TO_INSTRUMENT: 0, FROM_INSTRUMENT: 0}
        """The number of bytes that have passed, by direction."""
        self._path = path
        self._bytes = self._events = 0
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._write(_MAGIC + url.encode("unicode_escape").decode() + "\n")

    def note(self, direction: str, data: bytes) -> None:
        """Write down bytes that pass now.

        Raises:
            CcnvrError: the file cannot be written, for example because the disk is full, or holds
                as much as `read_recording` reads.
        """
        # One thread records each direction, and the lines must not mix.
        with self._lock:
            now = time.monotonic() - self._start
            for start in range(0, len(data), MOST_BYTES):
                self._write(f"{now:.6f} {direction} {data[start : start + MOST_BYTES].hex()}\n")
            self.passed[direction] += len(data)

    def close(self) -> None:
        """Close the file; what could not be written was reported by `note`."""
        # After a failed write, closing tries to write the rest again, and fails again.
        with suppress(OSError):
            self._stream.close()

    def _write(self, line: str) -> None:
        self._bytes, self._events = self._bytes + len(line), self._events + 1
        # The first line is no event.
        if self._bytes > LARGEST_FILE or self._events > MOST_EVENTS + 1:
            raise CcnvrError(
                f"{self._path} has {LARGEST_FILE >> 20} MiB or {MOST_EVENTS} events, which is all "
                "that a replay reads; go on in another file"
            )
        try:
            self._stream.write(line)
            # A recorder that is killed loses nothing that has passed.
            self._stream.flush()
        except OSError as error:
            raise CcnvrError(
                f"{self._path} cannot be written ({error.strerror}); make room or name another "
                "file, and record again"
            ) from error


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        UsageError: the file does not exist, is not a recording or has a malformed line, which is
            named.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UsageError(
                f"{path} has more than {LARGEST_FILE >> 20} MiB; record a shorter session"
            )
        with open(path, encoding="ascii", newline="\n") as stream:
            first = stream.readline(_LONGEST_LINE)
            if not first.startswith(_MAGIC) or not first.endswith("\n"):
                raise UsageError(
                    f"{path} does not begin with {_MAGIC!r}; give a file that ccnvr record wrote"
                )
            return Recording(first[len(_MAGIC) : -1], list(_events(path, stream)))
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text; give a file that ccnvr record wrote") from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); give a file that ccnvr record wrote"
        ) from error


def _events(path: Path, stream: IO[str]) -> Iterator[Event]:
    last, number = 0.0, 1
    while line := stream.readline(_LONGEST_LINE):
        number += 1
        if number > MOST_EVENTS + 1:
            raise UsageError(f"{path} has more than {MOST_EVENTS} events; record a shorter session")
        if not line.endswith("\n") and len(line) < _LONGEST_LINE:
            return  # cut short when the recorder was killed
        event = _event(line)
        # The comparison also refuses NaN and infinity, which float() reads.
        if event is None or not last <= event.time_s < math.inf:
            raise UsageError(
                f"{path} line {number} is {line[:40].strip()!r} and must be SECONDS, > or <, and "
                f"1 to {MOST_BYTES} bytes in hexadecimal, in order of time; record the session "
                "again"
            )
        last = event.time_s
        yield event


def _event(line: str) -> Event | None:
    try:
        seconds, direction, data = line.rstrip("\n").split(" ")
        event = Event(float(seconds), direction, bytes.fromhex(data))
    except ValueError:
        return None
    return (
        event
        if direction in (TO_INSTRUMENT, FROM_INSTRUMENT) and 0 < len(event.data) <= MOST_BYTES
        else None
    )

"""A real port whose other end follows a transcript.

The transcript says what the host must send, what it then gets, and what must result.
"""

from __future__ import annotations

import os
import select
import socket
import tty
from dataclasses import dataclass, field
from typing import NamedTuple

from ccnvr.firmware_bridge.instrument import ScanKind, Settings
from ccnvr.firmware_bridge.serving.pty_baud import line_baud
from ccnvr.firmware_bridge.transport import SerialTransport

_LONGEST_S = 20.0
"""Longer than any machine, however busy, takes to carry bytes through its own kernel."""

_PIECE = 2_048
"""Less than a pseudo-terminal holds.

So sending never waits for the host, which is the same thread.
"""


class Line(NamedTuple):
    """One exchange: the host sends `host`, at `baud` if that is given, and gets `answer`."""

    host: bytes
    answer: bytes = b""
    baud: int | None = None


def lines(*dialogue: tuple[bytes, bytes]) -> list[Line]:
    """Return exchanges at any rate."""
    return [Line(*line) for line in dialogue]


@dataclass
class Case:
    """A dialogue and what must result from it.

    The scan must have `counts`, and some pixels the `wavelengths`, in nm.
    """

    driver: str
    transcript: list[Line]
    counts: list[int] | list[float]
    wavelengths: dict[int, float] = field(default_factory=dict)
    settings: Settings = field(default_factory=lambda: Settings(10_000, 1))
    kind: ScanKind = ScanKind.SAMPLE
    options: dict[str, str] = field(default_factory=dict)
    greeting: bytes = b""
    temperature_c: float = float("nan")
    saturated: bool = False


class PlayedPort(SerialTransport):
    """The host's port, a pseudo-terminal or a TCP socket.

    What is written to it must be the next line of the transcript. The port knows when nothing more
    will come, and does not wait for it; and it waits for what will come. So no test depends on
    time.
    """

    def __init__(
        self, transcript: list[Line], greeting: bytes = b"", *, over_tcp: bool = False
    ) -> None:
        self._left, self._answer, self._on_the_way = list(transcript), greeting, 0
        if over_tcp:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                super().__init__(f"socket://127.0.0.1:{listener.getsockname()[1]}")
                self._end = listener.accept()[0].detach()
                self._others: list[int] = []
        else:
            self._end, slave = os.openpty()
            self._others = [slave]
            tty.setraw(slave)
            super().__init__(f"serial://{os.ttyname(slave)}")

    @property
    def all_said(self) -> bool:
        """Whether the transcript is at its end, and everything has been read."""
        return not (self._left or self._answer or self._on_the_way)

    def write(self, data: bytes) -> None:
        """Send the next line and check that it arrives."""
        super().write(data)
        arrived = b""
        while len(arrived) < len(data):
            assert select.select([self._end], [], [], _LONGEST_S)[0], (
                f"only {arrived!r} of {data!r} arrived"
            )
            arrived += os.read(self._end, len(data))
        assert self._left, f"{arrived!r} was sent when all had been said"
        line = self._left.pop(0)
        assert arrived == line.host
        assert line.baud is None or line.baud == line_baud(self._end)
        self._answer += line.answer

    def read(self, timeout_s: float) -> bytes:
        """Return what the other end answers; nothing, at once, where it is silent."""
        if not self._on_the_way:
            piece, self._answer = self._answer[:_PIECE], self._answer[_PIECE:]
            self._on_the_way = os.write(self._end, piece) if piece else 0
        data = super().read(_LONGEST_S) if self._on_the_way else b""
        self._on_the_way -= len(data)
        return data

    def close(self) -> None:
        """Close both ends."""
        super().close()
        for end in (self._end, *self._others):
            os.close(end)

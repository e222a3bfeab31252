"""A port that a host opens, seen from the instrument's side: a pseudo-terminal, or a TCP port for one host at a time."""

from __future__ import annotations

import os
import select
import socket
import threading
import tty
from typing import Protocol

from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.line_baud import line_baud

_READ_SIZE = 4_096
_LOOK_UP_S = 0.1


class ServedPort(Protocol):
    """A byte pipe to whichever host has opened it."""

    url: str

    def read(self, timeout_s: float) -> bytes:
        """What a host has sent, waiting at most `timeout_s` for it; empty if nothing came."""
        ...

    def baud(self) -> int | None:
        """The rate that the host has set, None where there is none."""
        ...

    def write(self, data: bytes, stop: threading.Event) -> None:
        """Send all of `data`, however slowly the host reads, unless `stop` is set meanwhile."""
        ...

    def close(self) -> None:
        """Take the port away, as unplugging does."""
        ...


class PtyPort:
    """A pseudo-terminal; its slave side is the serial port that the host opens."""

    def __init__(self) -> None:
        # The slave stays open here too, so that a host may leave and come back without a hang-up.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.url = f"serial://{os.ttyname(self._slave)}"

    def read(self, timeout_s: float) -> bytes:
        """See `ServedPort`."""
        return os.read(self._master, _READ_SIZE) if select.select([self._master], [], [], timeout_s)[0] else b""

    def baud(self) -> int | None:
        """See `ServedPort`."""
        return line_baud(self._master)

    def write(self, data: bytes, stop: threading.Event) -> None:
        """See `ServedPort`."""
        while data and not stop.is_set():
            if select.select([], [self._master], [], _LOOK_UP_S)[1]:
                data = data[os.write(self._master, data) :]

    def close(self) -> None:
        """See `ServedPort`."""
        os.close(self._slave)
        os.close(self._master)


class TcpPort:
    """A TCP port; a second host waits until the first has gone, and what is sent meanwhile is lost.

    Raises:
        UsageError: the address cannot be listened on.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise UsageError(f"cannot listen on {host}:{port} ({error.strerror}); choose another address") from error
        self._host: socket.socket | None = None
        self.url = f"socket://{host}:{self._listener.getsockname()[1]}"

    def read(self, timeout_s: float) -> bytes:
        """See `ServedPort`."""
        waiting = self._host or self._listener
        if not select.select([waiting], [], [], timeout_s)[0]:
            return b""
        if self._host is None:
            self._host, _ = self._listener.accept()
            self._host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._host.settimeout(_LOOK_UP_S)
            return b""
        try:
            data = self._host.recv(_READ_SIZE)
        except OSError:
            data = b""
        if not data:
            self._hang_up()
        return data

    def baud(self) -> int | None:
        """See `ServedPort`."""
        return None

    def write(self, data: bytes, stop: threading.Event) -> None:
        """See `ServedPort`."""
        while data and self._host is not None and not stop.is_set():
            try:
                data = data[self._host.send(data) :]
            except TimeoutError:
                continue
            except OSError:
                self._hang_up()

    def close(self) -> None:
        """See `ServedPort`."""
        self._hang_up()
        self._listener.close()

    def _hang_up(self) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None


def serve_at(listen: str | None) -> ServedPort:
    """A pseudo-terminal, or the TCP port `HOST:PORT`.

    Raises:
        UsageError: it is no HOST:PORT, or cannot be listened on.
    """
    return PtyPort() if listen is None else TcpPort(*address(listen))


def address(listen: str) -> tuple[str, int]:
    """`HOST:PORT`; port 0 takes any.

    Raises:
        UsageError: it is none.
    """
    host, separator, port = listen.rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise UsageError(f"--listen {listen!r} is not HOST:PORT, as in 127.0.0.1:5000")
    return host, int(port)

"""The instrument's side of a port that a host opens.

It is a pseudo-terminal, or a TCP port for one host at a time.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import tty
from pathlib import Path
from typing import Protocol

from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.serving.pty_baud import line_baud

_READ_SIZE = 4_096
_LOOK_UP_S = 0.1


class ServedPort(Protocol):
    """A byte pipe to whichever host has opened it."""

    url: str
    hosts: int
    """How often a line to a host was made.

    This counts each connection over TCP, and each time that a pseudo-terminal is plugged in.
    """

    def read(self, timeout_s: float) -> bytes:
        """Return what a host has sent, waiting at most `timeout_s`; empty if nothing arrived."""
        ...

    def baud(self) -> int | None:
        """Return the rate that the host has set; None if there is none."""
        ...

    def write(self, data: bytes, stop: threading.Event) -> None:
        """Send all of `data`, however slowly the host reads, unless `stop` is set meanwhile."""
        ...

    def hang_up(self) -> None:
        """Cut the line to the host, which may come back."""
        ...

    def close(self) -> None:
        """Take the port away, as unplugging does."""
        ...


class PtyPort:
    """A pseudo-terminal, whose slave side is the serial port that the host opens.

    `link` is a symbolic link that names the port, and goes on doing so when it is unplugged and
    plugged in again.

    Raises:
        UsageError: the link cannot be made.
    """

    def __init__(self, link: Path | None = None) -> None:
        self.hosts = 0
        self._link = link
        self._plug_in()

    def _plug_in(self) -> None:
        # The slave stays open here too: otherwise the master would report a hang-up as soon as a
        # host closes it, and the next host could not be served.
        self._master, self._slave = os.openpty()
        # Otherwise the terminal would echo bytes and translate line ends.
        tty.setraw(self._slave)
        # A host that does not read must not block the simulator, which looks at `stop` between
        # writes.
        os.set_blocking(self._master, False)
        name = os.ttyname(self._slave)
        if self._link is not None:
            self._name(self._link, name)
        self.url = f"serial://{self._link or name}"
        self.hosts += 1

    def read(self, timeout_s: float) -> bytes:
        """See `ServedPort`."""
        return (
            os.read(self._master, _READ_SIZE)
            if select.select([self._master], [], [], timeout_s)[0]
            else b""
        )

    def baud(self) -> int | None:
        """See `ServedPort`."""
        return line_baud(self._master)

    def write(self, data: bytes, stop: threading.Event) -> None:
        """See `ServedPort`."""
        while data and not stop.is_set():
            if select.select([], [self._master], [], _LOOK_UP_S)[1]:
                data = data[os.write(self._master, data) :]

    def _name(self, link: Path, name: str) -> None:
        try:
            # A link may be left over from a simulator that was killed; a file is never replaced.
            if link.is_symlink():
                link.unlink()
            link.symlink_to(name)
        except OSError as error:
            os.close(self._slave)
            os.close(self._master)
            raise UsageError(
                f"--link {link} cannot be made ({error.strerror}); name a new file in a folder "
                "that exists"
            ) from error

    def hang_up(self) -> None:
        """Unplug the port and plug it in again."""
        self.close()
        self._plug_in()

    def close(self) -> None:
        """See `ServedPort`."""
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)


class TcpPort:
    """A TCP port; a second host waits until the first has gone.

    What is sent while no host is connected is lost.

    Raises:
        UsageError: the address cannot be listened on.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port} ({error.strerror}); choose another address"
            ) from error
        self.hosts = 0
        self._host: socket.socket | None = None
        self.url = f"socket://{host}:{self._listener.getsockname()[1]}"

    def read(self, timeout_s: float) -> bytes:
        """See `ServedPort`."""
        waiting = self._host or self._listener
        if not select.select([waiting], [], [], timeout_s)[0]:
            return b""
        if self._host is None:
            self._host, _ = self._listener.accept()
            # Replies are short, and waiting to collect more of them would only delay the host.
            self._host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Sending must return now and then to look at `stop`.
            self._host.settimeout(_LOOK_UP_S)
            self.hosts += 1
            return b""
        try:
            data = self._host.recv(_READ_SIZE)
        except OSError:
            data = b""
        if not data:
            self.hang_up()
        return data

    def baud(self) -> int | None:
        """See `ServedPort`."""
        return None

    def write(self, data: bytes, stop: threading.Event) -> None:
        """See `ServedPort`."""
        while data and self._host is not None and not stop.is_set():
            try:
                data = data[self._host.send(data) :]
            # The host reads slowly; try again and look at `stop` in between.
            except TimeoutError:
                continue
            except OSError:
                self.hang_up()

    def close(self) -> None:
        """See `ServedPort`."""
        self.hang_up()
        self._listener.close()

    def hang_up(self) -> None:
        """See `ServedPort`."""
        if self._host is not None:
            self._host.close()
            self._host = None


def serve_at(listen: str | None, link: Path | None = None) -> ServedPort:
    """Return a pseudo-terminal, which `link` may name, or the TCP port `HOST:PORT`.

    Raises:
        UsageError: `listen` is not HOST:PORT or cannot be listened on, the link cannot be made, or
            both are given.
    """
    if listen is None:
        return PtyPort(link)
    if link is not None:
        raise UsageError("--link names a pseudo-terminal, and --listen serves TCP; choose one")
    return TcpPort(*_address(listen))


def _address(listen: str) -> tuple[str, int]:
    """Split `HOST:PORT`; port 0 takes any free port.

    Raises:
        UsageError: it is malformed.
    """
    host, separator, port = listen.rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise UsageError(f"--listen {listen!r} is not HOST:PORT, as in 127.0.0.1:5000; correct it")
    return host, int(port)

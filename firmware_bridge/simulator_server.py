"""Puts a simulated instrument behind a real pseudo-terminal or a TCP port."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import tty
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.faults import Answering, Line
from ccnvr.firmware_bridge.instrument import Instrument, Scan, ScanKind
from ccnvr.firmware_bridge.line_baud import heard_at, line_baud
from ccnvr.firmware_bridge.simulator_bench import Bench

_READ_SIZE = 1 << 16


class Server(Protocol):
    """Serves one device until closed."""

    url: str

    def serve(self, device: Answering | Line, stop: threading.Event | None = None) -> None:
        """Answer requests until `stop` is set; `device` may be a `faults.Line`."""
        ...

    def close(self) -> None:
        """Give the port back."""
        ...


class _HungUp(Exception):
    """The line is cut, by a fault or by the host."""


def _line(device: Answering | Line) -> Line:
    return device if isinstance(device, Line) else Line(device)


def _stopped(stop: threading.Event | None, within_s: float = 0.0) -> bool:
    """Whether the server is told to stop, now or within so many seconds."""
    if stop is not None and within_s > 0.0:
        return stop.wait(within_s)
    if within_s > 0.0:
        time.sleep(within_s)
    return stop is not None and stop.is_set()


class PtyServer:
    """A pseudo-terminal whose slave side is the instrument's serial port.

    With `link`, a symbolic link that names the port, also after it was unplugged and plugged in again.
    """

    def __init__(self, link: Path | None = None) -> None:
        self._link = link
        self._plug_in()

    def _plug_in(self) -> None:
        # The slave stays open here too, so that a host may leave and come back without a hang-up.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        name = os.ttyname(self._slave)
        if self._link is not None:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(name)
        self.url = f"serial://{self._link or name}"

    def serve(self, device: Answering | Line, stop: threading.Event | None = None) -> None:
        """Answer requests until `stop` is set."""
        line = _line(device)
        self._send(line.connect(), stop)
        while not _stopped(stop):
            if not select.select([self._master], [], [], 0.1)[0]:
                continue
            data = os.read(self._master, _READ_SIZE)
            line.device.tick()
            baud = line.device.baud
            try:
                for piece in line.exchange(heard_at(baud, line_baud(self._master), data)):
                    if _stopped(stop, piece.after_s):
                        return
                    self._send(heard_at(line_baud(self._master), baud, piece.data), stop)
                    if piece.hang_up:
                        raise _HungUp
            except _HungUp:
                self.unplug()
                self._plug_in()

    def _send(self, data: bytes, stop: threading.Event | None) -> None:
        """Write all of it, unless the host stops reading and this server is told to stop."""
        while data and not _stopped(stop):
            if select.select([], [self._master], [], 0.1)[1]:
                data = data[os.write(self._master, data) :]

    def unplug(self) -> None:
        """Take the port away."""
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)

    def close(self) -> None:
        """Take the port away, as unplugging does."""
        self.unplug()


class SocketServer:
    """A TCP port, one host at a time.

    Raises:
        UsageError: the address cannot be listened on.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise UsageError(f"cannot listen on {host}:{port} ({error.strerror}); choose another address") from error
        self._listener.settimeout(0.1)
        self.url = f"socket://{host}:{self._listener.getsockname()[1]}"

    def serve(self, device: Answering | Line, stop: threading.Event | None = None) -> None:
        """Answer requests until `stop` is set."""
        while not _stopped(stop):
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with connection:
                self._serve_host(connection, _line(device), stop)

    @staticmethod
    def _serve_host(connection: socket.socket, line: Line, stop: threading.Event | None) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(0.1)
        try:
            connection.sendall(line.connect())
            while not _stopped(stop):
                try:
                    data = connection.recv(_READ_SIZE)
                except TimeoutError:
                    continue
                if not data:
                    return
                for piece in line.exchange(data):
                    if _stopped(stop, piece.after_s):
                        return
                    connection.sendall(piece.data)
                    if piece.hang_up:
                        return
        except OSError:
            return

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


class BackgroundServer:
    """Serves a device in a thread of this process, as a context manager."""

    def __init__(self, server: Server, device: Answering | Line) -> None:
        self.url = server.url
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=server.serve, args=(device, self._stop), name="simulator", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and give the port back."""
        self._stop.set()
        self._thread.join()
        self._server.close()


class SimulatedInstrument:
    """An `Instrument` that brings its own simulator, puts under its probe what is to be scanned, and ends it when closed."""

    def __init__(self, instrument: Instrument, bench: Bench, server: BackgroundServer) -> None:
        self.statistics = instrument.statistics
        self.identify = instrument.identify
        self.configure = instrument.configure
        self.unacknowledged = instrument.unacknowledged
        self.acknowledge = instrument.acknowledge
        self._instrument, self._bench, self._server = instrument, bench, server

    def scan(self, kind: ScanKind) -> Scan:
        """Take one scan; the operator is simulated too."""
        self._bench.put(kind)
        return self._instrument.scan(kind)

    def close(self) -> None:
        """Give the port back and end the simulator."""
        self._instrument.close()
        self._server.close()

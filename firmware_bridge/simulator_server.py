"""Puts a simulated instrument behind a real pseudo-terminal or a TCP port."""

from __future__ import annotations

import os
import select
import socket
import threading
import tty
from types import TracebackType
from typing import Protocol, Self

from ccnvr.firmware_bridge.device import Device
from ccnvr.firmware_bridge.driver import LinkInstrument
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import Instrument
from ccnvr.firmware_bridge.line_baud import heard_at, line_baud
from ccnvr.firmware_bridge.simulator import SimulatedSpectrometer, new_boot, simulated_board, synthetic_soils
from ccnvr.firmware_bridge.transport import SerialTransport, split_url

_READ_SIZE = 1 << 16


class Server(Protocol):
    """Serves one device until closed."""

    url: str

    def serve(self, device: Device, stop: threading.Event | None = None) -> None:
        """Answer requests until `stop` is set."""
        ...

    def close(self) -> None:
        """Give the port back."""
        ...


class PtyServer:
    """A pseudo-terminal whose slave side is the instrument's serial port."""

    def __init__(self) -> None:
        # The slave stays open here too, so that a host may leave and come back without a hang-up.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.url = f"serial://{os.ttyname(self._slave)}"

    def serve(self, device: Device, stop: threading.Event | None = None) -> None:
        """Answer requests until `stop` is set."""
        while stop is None or not stop.is_set():
            if select.select([self._master], [], [], 0.1)[0]:
                heard = os.read(self._master, _READ_SIZE)
                device.tick()
                baud = device.baud
                reply = device.receive(heard_at(baud, line_baud(self._master), heard))
                self._send(heard_at(line_baud(self._master), baud, reply), stop)

    def _send(self, data: bytes, stop: threading.Event | None) -> None:
        """Write all of it, unless the host stops reading and this server is told to stop."""
        while data and (stop is None or not stop.is_set()):
            if select.select([], [self._master], [], 0.1)[1]:
                data = data[os.write(self._master, data) :]

    def close(self) -> None:
        """Take the port away, as unplugging does."""
        os.close(self._slave)
        os.close(self._master)


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

    def serve(self, device: Device, stop: threading.Event | None = None) -> None:
        """Answer requests until `stop` is set."""
        while stop is None or not stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with connection:
                self._serve_host(connection, device, stop)

    @staticmethod
    def _serve_host(connection: socket.socket, device: Device, stop: threading.Event | None) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(0.1)
        while stop is None or not stop.is_set():
            try:
                data = connection.recv(_READ_SIZE)
                if not data:
                    return
                connection.sendall(device.receive(data))
            except TimeoutError:
                continue
            except OSError:
                return

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


class BackgroundServer:
    """Serves a device in a thread of this process, as a context manager."""

    def __init__(self, server: Server, device: Device) -> None:
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


class _SimulatedInstrument(LinkInstrument):
    """An instrument that brings its own simulator, and ends it when closed."""

    def __init__(self, server: BackgroundServer) -> None:
        super().__init__(SerialTransport(server.url))
        self._server = server

    def close(self) -> None:
        super().close()
        self._server.close()


def open_simulated(url: str) -> Instrument:
    """Start a simulator in this process and open it: `sim://` with options `seed` and `pace`.

    Raises:
        UsageError: an option is unknown or no number.
    """
    parts, given = split_url(url)
    options = {"seed": "1", "pace": "1", **given}
    try:
        seed, pace = int(options.pop("seed")), float(options.pop("pace"))
    except ValueError:
        raise UsageError(f"seed and pace in {url!r} must be numbers, as in sim://?seed=1&pace=0") from None
    if options or parts.netloc or parts.path or seed < 0 or not 0.0 <= pace <= 100.0:
        raise UsageError(f"instrument {url!r} is not sim://?seed=N&pace=X with N from 0 and X from 0 to 100")
    detector = SimulatedSpectrometer(synthetic_soils(20, seed), seed=seed, boot=new_boot(), pace=pace)
    return _SimulatedInstrument(BackgroundServer(PtyServer(), Device(detector, simulated_board())))

"""Byte pipes between this process and the port of an instrument.

The URLs are `serial:///dev/ttyACM0?baud=921600` and `socket://host:port`. This is the only module
that imports pyserial.
"""

from __future__ import annotations

import select
import termios
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, urlsplit

import serial

from ccnvr.firmware_bridge.errors import InstrumentError, LinkLost, UsageError
from ccnvr.firmware_bridge.link_constants import DEFAULT_BAUD

# The most bytes of one read; bounds memory, not the length of a message.
_READ_SIZE = 1 << 16


MODEM_LINES = ("dtr", "rts", "hupcl")
"""The options of a serial port that are 0 or 1.

`dtr` and `rts` set these lines while the port is open. `hupcl=0` keeps DTR when the port is closed,
for boards that restart when it is raised.
"""


class PortError(InstrumentError):
    """A port that cannot be opened."""


class Transport(Protocol):
    """A byte pipe to one instrument."""

    url: str

    @property
    def baud(self) -> int | None:
        """The rate of the line; None if it has none, as over TCP."""
        ...

    def set_baud(self, rate: int) -> None:
        """Wait until everything is sent, then change the rate; only for a line that has one."""
        ...

    def read(self, timeout_s: float) -> bytes:
        """Return whatever has arrived, waiting at most `timeout_s` for the first byte.

        The result is empty if nothing arrived.
        """
        ...

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        ...

    def close(self) -> None:
        """Close the port."""
        ...


class SerialTransport:
    """A serial port or socket, opened by pyserial's `serial_for_url` for this process alone.

    Raises:
        UsageError: the URL is malformed, or names a file that is no device.
        PortError: the port does not exist, may not be opened or is busy, or nothing listens there.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        target, options, lines = _parse(url)
        path = Path(target) if options else None
        try:
            # Not below /dev: there a program that writes to an unplugged port leaves a file, and a
            # daemon must outlive that.
            misnamed = path is not None and path.exists() and not path.is_char_device()
            if misnamed and not target.startswith("/dev/"):
                raise UsageError(f"{path} in {url} is no serial port; name one, as in /dev/ttyACM0")
            # A port that takes no byte for two seconds is stuck, for example by flow control.
            self._port = serial.serial_for_url(
                target, timeout=0, write_timeout=2.0, do_not_open=True, **options
            )
            _open(self._port, lines)
        # pyserial lets termios.error through, which is no OSError, and raises ValueError for a rate
        # that the port lacks.
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            from ccnvr.firmware_bridge.port_advice import advice  # only for this message

            raise PortError(advice(url, path, error)) from error

    def read(self, timeout_s: float) -> bytes:
        """Return whatever has arrived; see `Transport`."""
        try:
            # Setting pyserial's own time-out for each read would reconfigure the port each time.
            if not select.select([self._port.fileno()], [], [], max(0.0, timeout_s))[0]:
                return b""
            data: bytes = self._port.read(_READ_SIZE)
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            raise self._lost() from error
        return data

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            self._port.write(data)
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            raise self._lost() from error

    @property
    def baud(self) -> int | None:
        """The rate of the line; see `Transport`."""
        # A socket:// port is of another class, which has a rate too, but one without meaning.
        return int(self._port.baudrate) if isinstance(self._port, serial.Serial) else None

    def set_baud(self, rate: int) -> None:
        """Change the rate; see `Transport`."""
        try:
            # Otherwise the end of the last command would leave at the new rate.
            self._port.flush()
            self._port.baudrate = rate
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            raise self._lost() from error

    def close(self) -> None:
        """Close the port."""
        # pyserial leaves a socket open if the peer has already hung up.
        socket = getattr(self._port, "_socket", None)
        self._port.close()
        if socket is not None:
            socket.close()

    def _lost(self) -> LinkLost:
        return LinkLost(f"the instrument on {self.url} went away; check its cable and power")


def split_url(url: str) -> tuple[SplitResult, dict[str, str]]:
    """Split the URL of an instrument into its parts and its options.

    Raises:
        UsageError: it is not a URL.
    """
    try:
        # It refuses little; an unclosed bracket, as of an IPv6 address, is the usual reason.
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(
            f"instrument {url!r} is not a URL ({error}); write serial:///dev/NAME or "
            "socket://HOST:PORT"
        ) from None
    return parts, dict(parse_qsl(parts.query, keep_blank_values=True))


def _open(port: Any, lines: dict[str, bool]) -> None:
    """Open a port of pyserial with its modem lines as stated."""
    # Before the port is opened, which sets them.
    for name in ("dtr", "rts"):
        if name in lines:
            setattr(port, name, lines[name])
    port.open()
    if not lines.get("hupcl", True):
        try:
            _keep_dtr(port.fileno())
        except termios.error:
            port.close()
            raise


def _keep_dtr(descriptor: int) -> None:
    """Leave DTR as it is when the port is closed.

    Many boards restart when DTR is raised, as opening a port does. If closing does not drop it, the
    next opening does not raise it again, and the board goes on with its references.
    """
    attributes = termios.tcgetattr(descriptor)
    attributes[2] &= ~termios.HUPCL
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


def _modem_lines(url: str, query: dict[str, str]) -> dict[str, bool]:
    """Take the options for the modem lines out of a query."""
    lines = {}
    for name in MODEM_LINES:
        if (value := query.pop(name, None)) is None:
            continue
        if value not in ("0", "1"):
            raise UsageError(f"{name} {value!r} in {url!r} is not 0 or 1; correct it")
        lines[name] = value == "1"
    return lines


def _parse(url: str) -> tuple[str, dict[str, Any], dict[str, bool]]:
    """Return pyserial's target and options for one of our URLs, and the state of modem lines."""
    parts, query = split_url(url)
    if parts.scheme == "serial" and parts.path and not parts.netloc:
        baud = query.pop("baud", str(DEFAULT_BAUD))
        # isascii, because isdigit accepts superscripts, which int refuses. 12 Mbit/s is the fastest
        # rate of common USB bridges.
        if not baud.isascii() or not baud.isdigit() or not 50 <= int(baud) <= 12_000_000:
            raise UsageError(
                f"baud {baud!r} in {url!r} is not a number from 50 to 12000000; correct it"
            )
        lines = _modem_lines(url, query)
        _refuse_rest(url, query)
        # Two hosts on one port would take each other's replies, so the port is locked.
        return parts.path, {"baudrate": int(baud), "exclusive": True}, lines
    if parts.scheme == "socket":
        _refuse_rest(url, query)
        try:
            # `port` raises for what is no number, or above 65535.
            usable = bool(parts.hostname) and bool(parts.port)
        except ValueError:
            usable = False
        if usable:
            return f"socket://{parts.netloc}", {}, {}
    raise UsageError(
        f"instrument {url!r} is not serial:///dev/NAME[?baud=N] or socket://HOST:PORT; correct it"
    )


def _refuse_rest(url: str, query: dict[str, str]) -> None:
    if query:
        raise UsageError(
            f"option {next(iter(query))!r} in {url!r} is unknown; serial:// has "
            f"{', '.join(('baud', *MODEM_LINES))}, and socket:// has no option"
        )

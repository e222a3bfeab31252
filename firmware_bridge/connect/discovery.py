"""Which serial ports there are, and what answers on them, without upsetting what is no
spectrometer.

A port is asked only while nobody else has it open, and after listening: whoever speaks unasked is
left alone. Opening a
port raises its modem lines, which restarts some boards; `ports` alone opens none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

from ccnvr.firmware_bridge.connect import registry as drivers
from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.transport import SerialTransport, split_url

LISTEN_S = 0.3
"""How long to listen before anything is sent."""

_BY_ID = Path("/dev/serial/by-id")


@dataclass(frozen=True)
class Port:
    """A serial port; the USB fields are None for one that is built in."""

    device: str
    description: str = ""
    vid: int | None = None
    pid: int | None = None
    usb_serial: str | None = None
    usb_path: str | None = None

    @property
    def url(self) -> str:
        """As `ccnvr run --instrument` takes it, by a name that stays where there is one."""
        return f"serial://{_stable_name(self.device)}"


@dataclass(frozen=True)
class Identification:
    """What a port said: the driver that recognised it and `instrument`, or in `problem` why nothing
    is known.
    """

    driver: str | None = None
    instrument: str | None = None
    problem: str | None = None


NOT_ASKED = Identification(problem="not asked")


@dataclass(frozen=True)
class Found:
    """A port, or another URL, and its answer."""

    url: str
    answer: Identification
    port: Port | None = None


def ports() -> list[Port]:
    """The machine's serial ports, USB ones first; opens none."""
    seen = [
        Port(
            info.device,
            _shown(info.description),
            info.vid,
            info.pid,
            _shown(info.serial_number) or None,
            info.location,
        )
        for info in sorted(list_ports.comports())
    ]
    return sorted(seen, key=lambda port: port.vid is None)


def _shown(text: str | None) -> str:
    """What a USB device says of itself, safe for a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text or "")


def ask(url: str) -> Identification:
    """Listen, then ask as each driver does, or only as the one that the URL names.

    Raises:
        UsageError: the URL is malformed.
    """
    named = "driver" in split_url(url)[1]
    driver, port, _ = drivers.resolve(url)
    try:
        if not named and (heard := _listen(port)):
            return Identification(
                problem=f"speaks unasked ({heard[:16].hex(' ')} ...), so nothing was sent; name "
                "its driver in a URL"
            )
        found = drivers.probe(port, [driver.name] if named else list(drivers.DRIVERS))
    except InstrumentError as error:
        return Identification(problem=str(error))
    if found is None:
        return Identification(
            problem="no driver knows what is there; check its power and baud rate, or name its "
            "driver in a URL"
        )
    return Identification(found[0].name, found[1])


def _listen(port: str) -> bytes:
    transport = SerialTransport(port)
    try:
        return transport.read(LISTEN_S)
    finally:
        transport.close()


def udev_rules(found: list[Found]) -> str:
    """Rules that give each USB port in `found` a name that stays, and keep modem software off it.

    The name is `/dev/ccnvr-` and the adapter's serial number.
    An adapter without one is known by the socket that it is plugged into.
    """
    lines = [
        "# Written by ccnvr instruments --udev. Copy to /etc/udev/rules.d/70-ccnvr.rules, then: "
        "udevadm control --reload"
    ]
    for one in found:
        if one.port is None or one.port.vid is None or one.port.pid is None:
            continue
        port = one.port
        rule = [
            'SUBSYSTEM=="tty"',
            f'ATTRS{{idVendor}}=="{port.vid:04x}"',
            f'ATTRS{{idProduct}}=="{port.pid:04x}"',
        ]
        if port.usb_serial:
            rule.append(f'ATTRS{{serial}}=="{_pattern(port.usb_serial)}"')
        elif port.usb_path:
            lines.append("# This adapter has no serial number: the name belongs to the USB socket.")
            rule.append(f'KERNELS=="{_pattern(port.usb_path)}"')
        name = _name(port.usb_serial or f"{port.vid:04x}-{port.pid:04x}")
        lines.append(
            ", ".join(
                [
                    *rule,
                    f'SYMLINK+="ccnvr-{name}"',
                    'GROUP="dialout"',
                    'ENV{ID_MM_DEVICE_IGNORE}="1"',
                ]
            )
        )
    return "\n".join(lines) + "\n"


def _pattern(text: str) -> str:
    """What a device says of itself, as a udev pattern: all that is not plainly text matches as any
    one character.
    """
    return re.sub(r"[^A-Za-z0-9 ._:/+#@=-]", "?", text)


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def _stable_name(device: str) -> str:
    """The link to `device` in /dev/serial/by-id, or itself."""
    try:
        return next(
            str(link)
            for link in sorted(_BY_ID.iterdir())
            if link.resolve() == Path(device).resolve()
        )
    except (OSError, StopIteration):
        return device

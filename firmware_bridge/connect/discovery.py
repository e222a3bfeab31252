"""Which serial ports there are, and what answers on them.

Devices that are not spectrometers must not be disturbed. So a port is asked only if nobody else has
it open, and only after listening: a device that speaks unasked is left alone. Opening a port raises
its modem lines, which restarts some boards; `ports` alone opens none.
"""

from __future__ import annotations

import re
from pathlib import Path

from serial.tools import list_ports

from ccnvr.firmware_bridge.connect.registry import DRIVERS, probe, resolve
from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.transport import SerialTransport, split_url

LISTEN_S = 0.3
"""How long to listen before anything is sent."""

_BY_ID = Path("/dev/serial/by-id")


@frozen
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
        """The URL for `ccnvr run --instrument`, with a name that stays the same if there is one."""
        return f"serial://{_stable_name(self.device)}"


@frozen
class Identification:
    """The result of asking a port.

    `driver` is the driver that recognised its `instrument`; otherwise `problem` says why nothing is
    known.
    """

    driver: str | None = None
    instrument: str | None = None
    problem: str | None = None


NOT_ASKED = Identification(problem="not asked")


@frozen
class Found:
    """A port, or another URL, and what was learnt of it."""

    url: str
    answer: Identification
    port: Port | None = None


def ports() -> list[Port]:
    """Return the machine's serial ports, USB ones first, without opening any."""
    # Texts come from the device, and anyone may plug in one that states escape sequences.
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
    # An instrument is usually plugged in, while most built-in ports lead nowhere.
    return sorted(seen, key=lambda port: port.vid is None)


def _shown(text: str | None) -> str:
    """Return what a USB device says of itself, made safe for a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text or "")


def ask(url: str) -> Identification:
    """Listen, then ask as each driver does, or only as the driver that the URL names.

    Raises:
        UsageError: the URL is malformed.
    """
    named = "driver" in split_url(url)[1]
    driver, port, _ = resolve(url)
    try:
        # A GPS receiver or another logger talks unasked, and whatever is sent to it may change its
        # state.
        if not named and (heard := _listen(port)):
            return Identification(
                problem=f"speaks unasked ({heard[:16].hex(' ')} ...), so nothing was sent to it; "
                "name its driver in a URL"
            )
        # A named driver is asked alone, even over a device that would be left alone otherwise.
        found = probe(port, [driver.name] if named else list(DRIVERS))
    except InstrumentError as error:
        return Identification(problem=str(error))
    if found is None:
        return Identification(
            problem="no driver recognises what is there; check its power and baud rate, or name "
            "its driver in a URL"
        )
    return Identification(found[0].name, found[1])


def _listen(port: str) -> bytes:
    transport = SerialTransport(port)
    try:
        return transport.read(LISTEN_S)
    finally:
        transport.close()


def udev_rules(found: list[Found]) -> str:
    """Return udev rules that give each USB port a permanent name and keep other software off it.

    ModemManager would send AT commands to the instrument as soon as it is plugged in, and brltty
    takes some adapters for Braille displays and unbinds their driver. The name is `/dev/ccnvr-` and
    the serial number of the adapter. An adapter without a serial number is known by the socket that
    it is plugged into.
    """
    lines = [
        # After the rules of brltty, 85, whose wish to be started is withdrawn here.
        "# Written by ccnvr instruments --udev. Copy to /etc/udev/rules.d/90-ccnvr.rules, then: "
        "udevadm control --reload && udevadm trigger"
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
        # Many adapters have the same vendor and product and no serial number; only the socket tells
        # them apart.
        elif port.usb_path:
            lines.append("# This adapter has no serial number: the name belongs to the USB socket.")
            rule.append(f'KERNELS=="{_pattern(port.usb_path)}"')
        # Slashes and blanks in a serial number would make another path of it.
        name = _name(port.usb_serial or f"{port.vid:04x}-{port.pid:04x}")
        lines.append(
            ", ".join(
                [
                    *rule,
                    f'SYMLINK+="ccnvr-{name}"',
                    'GROUP="dialout"',
                    'ENV{ID_MM_DEVICE_IGNORE}="1"',
                    'ENV{ID_MM_PORT_IGNORE}="1"',
                ]
            )
        )
        if (device := _device_rule(port)) not in lines:
            lines.append(device)
    return "\n".join(lines) + "\n"


def _device_rule(port: Port) -> str:
    """Return the rule for the USB device of a port; real Braille displays are left alone."""
    if port.usb_serial:
        which = [f'ATTR{{serial}}=="{_pattern(port.usb_serial)}"']
    else:
        which = [f'KERNEL=="{_pattern(port.usb_path)}"'] if port.usb_path else []
    return ", ".join(
        (
            'SUBSYSTEM=="usb"',
            'ENV{DEVTYPE}=="usb_device"',
            f'ATTR{{idVendor}}=="{port.vid:04x}"',
            f'ATTR{{idProduct}}=="{port.pid:04x}"',
            *which,
            'ENV{ID_MM_DEVICE_IGNORE}="1"',
            'ENV{BRLTTY_BRAILLE_DRIVER}=""',
            'ENV{SYSTEMD_WANTS}=""',
        )
    )


def _pattern(text: str) -> str:
    """Return what a device says of itself as a udev pattern.

    Characters that are not plain text match any one character, so that no device can write rules.
    """
    return re.sub(r"[^A-Za-z0-9 ._:/+#@=-]", "?", text)


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def _stable_name(device: str) -> str:
    """Return the link to `device` in /dev/serial/by-id, or `device` itself if there is none."""
    try:
        return next(
            str(link)
            for link in sorted(_BY_ID.iterdir())
            if link.resolve() == Path(device).resolve()
        )
    except (OSError, StopIteration):
        return device

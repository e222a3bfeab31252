"""List the serial ports, what answers on them, and which driver it needs.

Without URLs the command asks every USB port that is free and that does not speak unasked. Name a
built-in port or a TCP address to have it asked as well.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ccnvr.edge.atomic_files import check_writable, write_atomically
from ccnvr.edge.standard_error import tell
from ccnvr.firmware_bridge.connect.discovery import NOT_ASKED, Found, ask, ports, udev_rules
from ccnvr.firmware_bridge.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr instruments`."""
    parser.add_argument(
        "url",
        nargs="*",
        help="ask these instead: serial:///dev/NAME or socket://HOST:PORT, with ?driver=NAME to "
        "try that driver only",
    )
    parser.add_argument("--list", action="store_true", help="only list the ports; open none")
    parser.add_argument(
        "--udev",
        type=Path,
        metavar="FILE",
        help="write udev rules for the USB ports on which an instrument answered",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """List the ports and ask those that may be asked."""
    if arguments.list and arguments.url:
        raise UsageError("--list opens no port, so it cannot ask a URL; leave one of them out")
    # Each port may take seconds to answer, which would be in vain.
    if arguments.udev is not None:
        check_writable(arguments.udev)
    found = []
    for one in _candidates(arguments.url):
        # Opening a built-in port may disturb what is wired to it, so it is asked only by name.
        built_in = one.port is not None and one.port.vid is None
        asked = one if arguments.list or built_in else _ask(one)
        found.append(asked)
        # Printed at once, because each port may take seconds to answer.
        print(json.dumps(_as_json(asked)) if arguments.json else _as_text(asked), flush=True)
    if not found:
        tell("no serial ports; plug the instrument in, or name its URL")
    # With --list nothing was asked, so that every USB port gets a rule.
    if arguments.udev is not None:
        _write_rules(arguments.udev, [one for one in found if arguments.list or one.answer.driver])
    return 0


def _candidates(urls: list[str]) -> list[Found]:
    return [_named(url) for url in urls] or [Found(port.url, NOT_ASKED, port) for port in ports()]


def _named(url: str) -> Found:
    """Return a URL that the user gave, with its USB adapter if it has one.

    A built-in port comes without a port, so that it is asked.
    """
    # By what the links lead to, since /dev/serial/by-id and /dev/ttyUSB0 name one port.
    device = url.removeprefix("serial://").partition("?")[0]
    real = Path(device).resolve()
    port = next(
        (port for port in ports() if port.vid is not None and Path(port.device).resolve() == real),
        None,
    )
    return Found(url, NOT_ASKED, port)


def _ask(one: Found) -> Found:
    return Found(one.url, ask(one.url), one.port)


def _write_rules(path: Path, chosen: list[Found]) -> None:
    if not any(one.port is not None and one.port.vid is not None for one in chosen):
        raise UsageError(
            "no instrument answered on a USB port, so there is no rule to write; --list --udev "
            "takes all USB ports"
        )
    with write_atomically(path) as stream:
        stream.write(udev_rules(chosen).encode())


def _as_json(one: Found) -> dict[str, Any]:
    return {
        "url": one.url,
        **asdict(one.answer),
        "port": None if one.port is None else asdict(one.port),
    }


def _as_text(one: Found) -> str:
    port, answer = one.port, one.answer
    usb = (
        f"{port.vid:04x}:{port.pid:04x} {port.usb_serial or '-'}"
        if port is not None and port.vid is not None
        else "-"
    )
    said = f"{answer.driver}: {answer.instrument}" if answer.driver else answer.problem
    return f"{one.url}  {usb}  {said}"

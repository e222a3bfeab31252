"""Show the serial ports, what answers on them, and by which driver. Without URLs it asks every USB
port that is free and does not speak by itself; name a built-in port or a TCP address to have it
asked too.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ccnvr.edge.atomic_files import write_atomically
from ccnvr.firmware_bridge.connect.discovery import NOT_ASKED, Found, ask, ports, udev_rules
from ccnvr.firmware_bridge.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr instruments`."""
    parser.add_argument(
        "url",
        nargs="*",
        help="ask these instead: serial:///dev/NAME or socket://HOST:PORT, with ?driver=NAME as "
        "that driver only",
    )
    parser.add_argument("--list", action="store_true", help="only list the ports: open none")
    parser.add_argument(
        "--udev", type=Path, metavar="FILE", help="write udev rules for the USB ports that answered"
    )
    parser.add_argument("--json", action="store_true", help="a JSON object a line")


def run(arguments: argparse.Namespace) -> int:
    """Look, ask and show."""
    if arguments.list and arguments.url:
        raise UsageError(
            "--list opens no port, so it cannot ask the ones named; leave one of them out"
        )
    found = []
    for one in _candidates(arguments.url):
        asked = (
            one if arguments.list or (one.port is not None and one.port.vid is None) else _ask(one)
        )
        found.append(asked)
        print(json.dumps(_as_json(asked)) if arguments.json else _as_text(asked), flush=True)
    if not found:
        print("ccnvr: no serial ports; plug the instrument in, or name its URL", file=sys.stderr)
    if arguments.udev is not None:
        _write_rules(arguments.udev, [one for one in found if arguments.list or one.answer.driver])
    return 0


def _candidates(urls: list[str]) -> list[Found]:
    return [_named(url) for url in urls] or [Found(port.url, NOT_ASKED, port) for port in ports()]


def _named(url: str) -> Found:
    """A URL that the user gave; what is known of its USB adapter goes with it, and it is asked even
    if built in.
    """
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

"""Checks of the computer: its clock, and programs that take serial ports for their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ccnvr.edge.doctor.findings import Finding
from ccnvr.edge.storage import host_clock

_MEDDLERS = {
    "ModemManager": "sends AT commands to new serial ports",
    "brltty": "takes some USB adapters for Braille displays",
}

_UDEV_DATA = Path("/run/udev/data")


def examine_host(port: Path | None) -> Iterator[Finding]:
    """Yield what there is to say about the computer.

    Args:
        port: the device of the instrument's serial port; None if it has none.
    """
    synchronised = host_clock.clock_synchronised()
    if synchronised is None:
        yield Finding(True, "the computer does not say whether its clock is synchronised")
    elif synchronised:
        yield Finding(True, "the clock is synchronised")
    else:
        yield Finding(
            True,
            "the clock is not synchronised, so that times may be wrong and a reboot costs new "
            "references; connect a network once, or install a clock module or a GPS receiver",
            note=True,
        )
    if port is not None:
        yield from _of_meddlers(port)


def _of_meddlers(port: Path) -> Iterator[Finding]:
    ignored = _ignored_by_udev(port)
    for name in sorted(_running() & set(_MEDDLERS)):
        if ignored:
            yield Finding(True, f"{name} runs, and the udev rules keep it off {port}")
        else:
            yield Finding(
                False,
                f"{name} runs, which {_MEDDLERS[name]}; write rules with ccnvr instruments --udev "
                f"/etc/udev/rules.d/90-ccnvr.rules and plug the instrument in again, or remove "
                f"{name}",
            )


def _running() -> set[str]:
    """Return the names of all processes."""
    names = set()
    for folder in Path("/proc").iterdir():
        # "comm" and not the command line, which other users' processes may hide.
        if folder.name.isdigit():
            try:
                names.add((folder / "comm").read_text().strip())
            except (OSError, UnicodeDecodeError):
                continue  # it has ended
    return names


def _ignored_by_udev(port: Path) -> bool:
    """Return whether udev's database marks a port as none of ModemManager's business."""
    try:
        # Read here rather than by udevadm, which small systems lack.
        device = os.stat(port).st_rdev
        data = _UDEV_DATA / f"c{os.major(device)}:{os.minor(device)}"
        return "E:ID_MM_PORT_IGNORE=1" in data.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return False

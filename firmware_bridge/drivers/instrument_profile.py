"""Instrument profiles: TOML files that describe instruments which answer in lines of text.

The files are in `drivers/profiles`, and `drivers/lines.py` is the driver that follows them. This
module also reads a spectrum out of an answer. It does no I/O with the instrument.
"""

from __future__ import annotations

import json
import re
import tomllib
import zlib
from importlib import resources
from typing import Any

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import Quantity, Settings
from ccnvr.firmware_bridge.polled.exchange import Garbled

LONGEST_LINE = 1 << 16
"""The longest answer line in bytes; bounds what a malfunctioning instrument can make us keep."""

_NUMBERS = re.compile(rb"[0-9,\s]+")
# Some firmware writes its own words where JSON has null; they are then refused with the rest.
_NIL = re.compile(r"\b(?:nil|NAN|nan)\b")
_LARGEST_VALUE = 1e30


@frozen
class InstrumentProfile:
    """The particulars of one instrument that takes and gives lines of text.

    Commands are templates, in which `{us}`, `{seconds}` and `{averages}` stand for the settings.
    """

    model: str
    """The model's name, which is also its serial number where it states none."""

    terminator: str
    """What ends a command."""

    scan: dict[str, str]
    """The command for a scan, by kind (`dark`, `white`, `sample`) or for `any` other kind."""

    format: str
    """`numbers` (whole numbers separated by commas or blanks, on one or more lines) or `json`."""

    saturation: int
    """The largest count."""

    pixels: int = 0
    """The number of values of a spectrum."""

    path: tuple[str, ...] = ()
    """The names that lead to the spectrum in JSON; lists of one element on the way are unpacked."""

    crc32: bool = False
    """Whether the CRC-32 of the JSON follows it, as eight hexadecimal digits."""

    identify: str = ""
    """The command that the instrument answers with its identity; empty if it has none."""

    identity: str = ""
    """A pattern for that answer; its groups `serial` and `firmware` are used where present."""

    ping: str = ""
    """A command that the instrument repeats in its answer, even if it refuses it.

    `{nonce}` in it differs each time, so that whatever arrives before the answer is known to be
    left over from earlier commands.
    """

    setup: tuple[str, ...] = ()
    """Commands to send after the instrument was opened or restarted."""

    accepted: str = ""
    """The answer to an accepted setting; empty if the instrument accepts settings in silence."""

    refused: tuple[str, ...] = ()
    """How the answer to a refused command begins."""

    integration: str = ""
    """The command that sets the integration time; empty if it is fixed."""

    shortest_us: int = 1
    """The shortest integration time in microseconds."""

    longest_us: int = 1
    """The longest; equal to the shortest if the time is fixed."""

    averages_itself: bool = False
    """Whether the instrument averages; otherwise the host does."""

    most_averages: int = 1_000
    """The most scans to average."""

    again: str = ""
    """The command that returns the last spectrum again; empty if there is none."""

    tolerance: float = 0.02
    """How far two scans may differ, as a share of saturation, where each is taken twice."""

    first_pixel: int = 0
    """The number of the first pixel in the polynomial of the calibration sheet."""

    quantity: Quantity = Quantity.COUNTS
    """What the numbers are."""

    def command(self, template: str, settings: Settings) -> str:
        """Return a command with the settings filled in."""
        us, averages = settings.integration_us, settings.averages
        values = {"us": str(us), "seconds": f"{us / 1e6:.6f}", "averages": str(averages)}
        # Not str.format, because commands in JSON are full of braces.
        return re.sub(r"\{(us|seconds|averages)\}", lambda match: values[match[1]], template)


def read_instrument_profile(name: str) -> InstrumentProfile:
    """Read the instrument profile of this name, one of those that come with ccnvr."""
    text = (
        resources.files("ccnvr.firmware_bridge.drivers")
        .joinpath("profiles", f"{name}.toml")
        .read_text()
    )
    table: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in tomllib.loads(text).items()
    }
    table["quantity"] = Quantity(table.get("quantity", "counts"))
    return InstrumentProfile(**table)


def parse_numbers(line: bytes) -> list[int]:
    """Return the whole numbers on a line; an empty line has none.

    Raises:
        Garbled: the line holds anything else, or a number that no detector gives.
    """
    if line.strip() and not _NUMBERS.fullmatch(line):
        raise Garbled(f"{line[:40]!r} arrived among the numbers")
    fields = line.replace(b",", b" ").split()
    # Python limits the digits of an integer as well, but with a ValueError.
    if too_long := [digits for digits in fields if len(digits) > 10]:
        raise Garbled(f"the number {too_long[0][:40].decode()} has more than ten digits")
    return [int(digits) for digits in fields]


def parse_json(line: bytes, profile: InstrumentProfile) -> Array:
    """Return the spectrum in a line of JSON, `(values,)`.

    Raises:
        Garbled: the checksum does not match, or the line holds no such list of numbers.
    """
    text = _checked(line) if profile.crc32 else line
    try:
        found = _descend(json.loads(_NIL.sub("null", text.decode("ascii"))), profile.path)
        if not all(type(value) in (int, float) for value in found):
            raise TypeError
    # RecursionError: the JSON parser recurses on nested lists.
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise Garbled(f"{text[:40]!r} holds no spectrum") from None
    if not 2 <= len(found) <= (profile.pixels or LONGEST_LINE):
        raise Garbled(f"a spectrum of {len(found)} values arrived")
    # An integer in JSON may be too large for a float; PolledInstrument refuses infinity.
    with np.errstate(over="ignore"):
        return np.array(
            [float(value) if abs(value) < _LARGEST_VALUE else np.inf for value in found]
        )


def _checked(line: bytes) -> bytes:
    """Return the JSON without the CRC-32 that follows it."""
    text, checksum = line[:-8], line[-8:]
    if checksum.upper() != f"{zlib.crc32(text):08X}".encode():
        raise Garbled("the CRC-32 behind the JSON does not match")
    return text


def _descend(found: Any, path: tuple[str, ...]) -> list[Any]:
    for name in path:
        # Older firmware of the MultispeQ nests its answer in lists of one element.
        while isinstance(found, list) and len(found) == 1:
            found = found[0]
        found = found[name]
    if not isinstance(found, list):
        raise TypeError
    return found

"""Instruments that take lines of text and answer with numbers or JSON, by a profile: a small TOML
file (`profile_*.toml`).

What guards a spectrum depends on what the instrument offers, in this order: a CRC-32 behind the
JSON (`crc32`); asking
for the same data again (`again`); else the scan is taken twice and both must agree within
`tolerance` of saturation. What is not verified of an instrument stands in its profile.
"""

from __future__ import annotations

import json
import re
import secrets
import tomllib
import zlib
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Quantity, ScanKind, Settings
from ccnvr.firmware_bridge.polled.exchange import Denied, Garbled, Trouble
from ccnvr.firmware_bridge.polled.instrument import (
    BOOT,
    PolledInstrument,
    Reading,
    read_twice,
    scan_twice,
    wavelengths_nm,
)
from ccnvr.firmware_bridge.transport import Transport
from ccnvr.firmware_bridge.url_options import numbers

LONGEST_LINE = 1 << 16
_MOST_LATE = 100
_MOST_EMPTY = 4
_NUMBERS = re.compile(rb"[0-9,\s]+")
_NIL = re.compile(r"\b(?:nil|NAN|nan)\b")


@dataclass(frozen=True)
class Profile:
    """What is particular to one instrument.

    Commands are templates over `{us}`, `{seconds}`, `{averages}`. `scan` is by kind (`dark`,
    `white`, `sample`) or for `any`. `format` is `numbers` (whole numbers, with commas or blanks
    between them, on one or more lines) or `json`, where the names of `path` lead to the list, lists
    of one on the way included. `identity` is a pattern for the reply to `identify`, in which the
    groups serial and firmware count. `ping` is a command that the instrument repeats in its answer,
    be it one that it refuses: `{nonce}` in it is never the same, so that what comes before the
    answer is known to be late.
    """

    model: str
    terminator: str
    scan: dict[str, str]
    format: str
    saturation: int
    pixels: int = 0
    path: tuple[str, ...] = ()
    crc32: bool = False
    identify: str = ""
    identity: str = ""
    ping: str = ""
    setup: tuple[str, ...] = ()
    accepted: str = ""
    refused: tuple[str, ...] = ()
    integration: str = ""
    shortest_us: int = 1
    longest_us: int = 1
    averages_itself: bool = False
    most_averages: int = 1_000
    again: str = ""
    tolerance: float = 0.02
    first_pixel: int = 0
    quantity: Quantity = field(default=Quantity.COUNTS)

    def command(self, template: str, settings: Settings) -> str:
        """A command with the settings filled in."""
        us, averages = settings.integration_us, settings.averages
        values = {"us": str(us), "seconds": f"{us / 1e6:.6f}", "averages": str(averages)}
        return re.sub(r"\{(us|seconds|averages)\}", lambda match: values[match[1]], template)


def read_profile(name: str) -> Profile:
    """The profile that comes with ccnvr under this name."""
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
    return Profile(**table)


class LineInstrument(PolledInstrument):
    """An instrument after `profile`; `coefficients` turn pixels into wavelengths."""

    def __init__(
        self, transport: Transport, timeout_s: float, profile: Profile, coefficients: list[float]
    ) -> None:
        super().__init__(transport, timeout_s)
        self.profile = profile
        self.averages_itself = profile.averages_itself
        self._coefficients = coefficients

    def _identify(self) -> InstrumentInfo:
        stated = self.who() if self.profile.identify else {}
        pixels = self.profile.pixels
        return InstrumentInfo(
            model=self.profile.model,
            serial=stated.get("serial") or self.profile.model,
            firmware=stated.get("firmware") or "",
            boot=BOOT,
            wavelengths_nm=wavelengths_nm(pixels, self._coefficients, self.profile.first_pixel),
            saturation_counts=self.profile.saturation,
            shortest_integration_us=self.profile.shortest_us,
            longest_integration_us=self.profile.longest_us,
            most_averages=self.profile.most_averages,
            quantity=self.profile.quantity,
        )

    def who(self) -> dict[str, str | None]:
        """What its answer to `identify` states.

        Raises:
            Trouble: another instrument answers, or none.
        """
        self._say(self.profile.identify)
        line = self._line()
        match = re.search(self.profile.identity, line)
        if match is None:
            raise Garbled(f"{line[:60]!r} is not how a {self.profile.model} answers")
        return match.groupdict()

    def _apply(self, settings: Settings) -> Settings:
        settings = super()._apply(settings)
        if self.profile.integration:
            self._tell(self.profile.command(self.profile.integration, settings))
        return settings

    def _expose(self, kind: ScanKind, light_s: float) -> Reading:
        profile = self.profile

        def take() -> Array:
            self._say(self._scan_command(kind))
            return self._values(light_s)

        if profile.crc32:
            return Reading(take())
        if not profile.again:
            return Reading(scan_twice(take, profile.tolerance * profile.saturation))
        take()

        def ask_again() -> Array:
            self._say(profile.again)
            return self._values()

        return Reading(read_twice(ask_again))

    def _scan_command(self, kind: ScanKind) -> str:
        scan = self.profile.scan
        settings = self._settings or Settings(self.profile.shortest_us, 1)
        return self.profile.command(scan.get(kind.name.lower()) or scan["any"], settings)

    def _values(self, busy_s: float = 0.0) -> Array:
        if self.profile.format == "json":
            return parse_json(self._line(busy_s).encode(), self.profile)
        found: list[int] = []
        while len(found) < self.profile.pixels:
            line = self.exchange.read_until(b"\n", LONGEST_LINE, busy_s)
            self._refuse(line.decode("ascii", errors="replace").strip())
            found += parse_numbers(line)
        if len(found) != self.profile.pixels:
            raise Garbled(
                f"{len(found)} numbers came, more than the {self.profile.pixels} of a spectrum"
            )
        return np.array(found, dtype=np.float64)

    def _wake(self) -> None:
        # The terminator alone ends whatever half line the instrument holds.
        self.exchange.transport.write(self.profile.terminator.encode())
        self.exchange.settle()
        if self.profile.ping:
            self._ping()
        for command in self.profile.setup:
            self._tell(command)

    def _ping(self) -> None:
        """Pass over replies to commands of long ago: a line keeps their order."""
        nonce = secrets.token_hex(4)
        self._say(self.profile.ping.replace("{nonce}", nonce))
        for _ in range(_MOST_LATE):
            if nonce.encode() in self.exchange.read_until(b"\n", LONGEST_LINE):
                return
        raise Garbled(f"{_MOST_LATE} lines came, and none repeats {nonce}")

    def _tell(self, command: str) -> None:
        """A setting; some instruments accept it in so many words, some in silence."""
        self._say(command)
        if self.profile.accepted and (line := self._line()) != self.profile.accepted:
            raise Garbled(f"{line[:60]!r} came in answer to {command!r}")

    def _say(self, command: str) -> None:
        self.exchange.send((command + self.profile.terminator).encode())

    def _line(self, busy_s: float = 0.0) -> str:
        """The next line; an empty one belongs to the answer before, which some instruments end with
        two line ends.
        """
        for _ in range(_MOST_EMPTY):
            line = (
                self.exchange.read_until(b"\n", LONGEST_LINE, busy_s)
                .decode("ascii", errors="replace")
                .strip()
            )
            if line:
                break
        self._refuse(line)
        return line

    def _refuse(self, line: str) -> None:
        if any(line.startswith(word) for word in self.profile.refused):
            raise Denied(f"it answered {line[:80]!r}")


def parse_numbers(line: bytes) -> list[int]:
    """The whole numbers on a line; none on an empty one.

    Raises:
        Garbled: there is anything else, or a number no detector gives.
    """
    if line.strip() and not _NUMBERS.fullmatch(line):
        raise Garbled(f"{line[:40]!r} came among the numbers")
    fields = line.replace(b",", b" ").split()
    if any(len(digits) > 10 for digits in fields):
        raise Garbled("a number of more than ten digits came")
    return [int(digits) for digits in fields]


def parse_json(line: bytes, profile: Profile) -> Array:
    """The spectrum in a line of JSON.

    Raises:
        Garbled: the checksum does not match, or there is no such list of numbers in it.
    """
    if profile.crc32:
        line, checksum = line[:-8], line[-8:]
        if checksum.upper() != f"{zlib.crc32(line):08X}".encode():
            raise Garbled("the CRC-32 behind the JSON does not match")
    try:
        found: Any = json.loads(_NIL.sub("null", line.decode("ascii")))
        for name in profile.path:
            while isinstance(found, list) and len(found) == 1:
                found = found[0]
            found = found[name]
        if not isinstance(found, list) or not all(type(value) in (int, float) for value in found):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise Garbled(f"{line[:40]!r} holds no spectrum") from None
    if not 2 <= len(found) <= (profile.pixels or LONGEST_LINE):
        raise Garbled(f"a spectrum of {len(found)} values came")
    with np.errstate(over="ignore"):
        return np.array([float(value) if abs(value) < 1e30 else np.inf for value in found])


class _ProfileDriver:
    """The module-like face of a profile; see `drivers.DriverModule`."""

    def __init__(self, name: str) -> None:
        self._name, self._profile = name, read_profile(name)

    def create(
        self, transport: Transport, options: dict[str, str], timeout_s: float
    ) -> LineInstrument:
        """A driver over `transport`; option `coefficients`."""
        coefficients = numbers(options, "coefficients")
        if coefficients is None:
            raise UsageError(
                f"driver {self._name} needs coefficients=C0,C1,... in the URL, the polynomial "
                "from pixel (from "
                f"{self._profile.first_pixel}) to nm; it stands on the detector's calibration sheet"
            )
        return LineInstrument(transport, timeout_s, self._profile, coefficients)

    def probe(self, transport: Transport, timeout_s: float) -> str | None:
        """The model, if it answers as its profile says."""
        instrument = LineInstrument(transport, timeout_s, self._profile, [0.0, 1.0])
        try:
            transport.write(self._profile.terminator.encode())
            instrument.exchange.settle()
            if self._profile.identify:
                instrument.who()
            else:
                instrument._say(instrument._scan_command(ScanKind.SAMPLE))
                instrument._values(timeout_s)
        except Trouble:
            return None
        return self._profile.model


def for_profile(name: str) -> _ProfileDriver:
    """The driver after the profile of this name."""
    return _ProfileDriver(name)

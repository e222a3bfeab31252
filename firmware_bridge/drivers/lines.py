"""The driver for instruments that take lines of text and answer with numbers or JSON.

An instrument profile, a small TOML file in `drivers/profiles`, describes the instrument. What
guards a spectrum depends on what the instrument offers, in this order: a CRC-32 behind the JSON
(`crc32`); reading the same data again (`again`); otherwise the scan is taken twice, and the two
must agree within `tolerance` of saturation. Each file says what is not verified of its instrument.
"""

from __future__ import annotations

import re
import secrets

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.drivers.instrument_profile import (
    LONGEST_LINE,
    InstrumentProfile,
    parse_json,
    parse_numbers,
    read_instrument_profile,
)
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind, Settings
from ccnvr.firmware_bridge.polled.exchange import Denied, Garbled, Trouble
from ccnvr.firmware_bridge.polled.instrument import (
    PolledInstrument,
    Reading,
    boot,
    read_twice,
    scan_twice,
    wavelengths_nm,
)
from ccnvr.firmware_bridge.transport import Transport
from ccnvr.firmware_bridge.url_options import numbers

# Bounds for lines that nobody asked for, so that no instrument can keep a driver reading for ever.
_MOST_LATE = 100
_MOST_EMPTY = 4


class LineInstrument(PolledInstrument):
    """An instrument described by `profile`; `coefficients` turn pixels into wavelengths."""

    def __init__(
        self,
        transport: Transport,
        timeout_s: float,
        profile: InstrumentProfile,
        coefficients: list[float],
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
            boot=boot(),
            counts_starts=False,
            wavelengths_nm=wavelengths_nm(pixels, self._coefficients, self.profile.first_pixel),
            saturation_counts=self.profile.saturation,
            shortest_integration_us=self.profile.shortest_us,
            longest_integration_us=self.profile.longest_us,
            most_averages=self.profile.most_averages,
            quantity=self.profile.quantity,
        )

    def who(self) -> dict[str, str | None]:
        """Return what its answer to `identify` states: serial number and firmware, where given.

        Raises:
            Trouble: another instrument answers, or none.
        """
        self._say(self.profile.identify)
        line = self._line()
        match = re.search(self.profile.identity, line)
        if match is None:
            raise Garbled(f"{line[:60]!r} is not the answer of a {self.profile.model}")
        return match.groupdict()

    def _apply(self, settings: Settings) -> Settings:
        # If the instrument decides its integration time, its own takes the place of the one asked
        # for.
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
        # The first answer to the scan itself is not used: two readings of the same data are
        # compared.
        take()

        def ask_again() -> Array:
            self._say(profile.again)
            return self._values()

        return Reading(read_twice(ask_again))

    def _scan_command(self, kind: ScanKind) -> str:
        scan = self.profile.scan
        settings = self._settings or Settings(self.profile.shortest_us, 1)
        # Most instruments have one command for every kind, and leave the light to the operator.
        return self.profile.command(scan.get(kind.name.lower()) or scan["any"], settings)

    def _values(self, busy_s: float = 0.0) -> Array:
        if self.profile.format == "json":
            return parse_json(self._line(busy_s).encode(), self.profile)
        found: list[int] = []
        # Instruments break the numbers into lines as they like, so the count decides where they
        # end.
        while len(found) < self.profile.pixels:
            line = self.exchange.read_until(b"\n", LONGEST_LINE, busy_s)
            self._refuse(line.decode("ascii", errors="replace").strip())
            found += parse_numbers(line)
        if len(found) != self.profile.pixels:
            raise Garbled(f"{len(found)} numbers arrived for a spectrum of {self.profile.pixels}")
        return np.array(found, dtype=np.float64)

    def _wake(self) -> None:
        # The terminator alone ends a line that may have arrived only in part.
        self.exchange.transport.write(self.profile.terminator.encode())
        self.exchange.settle()
        if self.profile.ping:
            self._ping()
        for command in self.profile.setup:
            self._tell(command)

    def _ping(self) -> None:
        """Skip answers to earlier commands, by a command that the instrument echoes.

        Answers keep the order of their commands, so that all before the echo are old.
        """
        nonce = secrets.token_hex(4)
        self._say(self.profile.ping.replace("{nonce}", nonce))
        for _ in range(_MOST_LATE):
            # Whatever precedes the echo answers an earlier command.
            if nonce.encode() in self.exchange.read_until(b"\n", LONGEST_LINE):
                return
        raise Garbled(f"{_MOST_LATE} lines arrived, and none repeats {nonce}")

    def _tell(self, command: str) -> None:
        """Send a setting; some instruments accept it in words, some in silence."""
        self._say(command)
        if self.profile.accepted and (line := self._line()) != self.profile.accepted:
            raise Garbled(f"unexpected answer {line[:60]!r} to {command!r}")

    def _say(self, command: str) -> None:
        self.exchange.send((command + self.profile.terminator).encode())

    def _line(self, busy_s: float = 0.0) -> str:
        """Return the next line.

        An empty line belongs to the answer before it: some instruments end one with two line ends.
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


class _ProfileDriver:
    """A driver made from an instrument profile.

    It has the functions that the module of a driver has; see `registry.DriverModule`.
    """

    def __init__(self, name: str) -> None:
        self._name, self._profile = name, read_instrument_profile(name)

    def create(
        self, transport: Transport, options: dict[str, str], timeout_s: float
    ) -> LineInstrument:
        """Return a driver over `transport`; the option is `coefficients`."""
        coefficients = numbers(options, "coefficients")
        if coefficients is None:
            raise UsageError(
                f"driver {self._name} needs coefficients=C0,C1,... in the URL, the polynomial "
                f"from pixel (counted from {self._profile.first_pixel}) to nm; copy it from the "
                "detector's calibration sheet"
            )
        return LineInstrument(transport, timeout_s, self._profile, coefficients)

    def probe(self, transport: Transport, timeout_s: float) -> str | None:
        """Return the model if the instrument answers as its profile says; None otherwise."""
        instrument = LineInstrument(transport, timeout_s, self._profile, [0.0, 1.0])
        try:
            transport.write(self._profile.terminator.encode())
            instrument.exchange.settle()
            # An instrument without an identity is recognised by the shape of its spectrum.
            if self._profile.identify:
                instrument.who()
            else:
                instrument._say(instrument._scan_command(ScanKind.SAMPLE))
                instrument._values(timeout_s)
        except Trouble:
            return None
        return self._profile.model


def for_profile(name: str) -> _ProfileDriver:
    """Return the driver made from the instrument profile of this name."""
    return _ProfileDriver(name)

"""ams AS7265x over AT commands on UART: 18 separate bands, 410-940 nm, each 20 nm wide.

Nothing is measured between the bands, so no model that needs a continuous spectrum accepts this
instrument: binding one is refused, with the distance of the bands. The bands arrive in the order of
the letters of the three chips, and are put in the order of their wavelengths here. AT lines have no
checksum, so the data of one exposure are read twice and must be equal.

Not verified on an instrument: that ATLED1 switches the lamp beside the sensor (data sheet v1-04
names only the drivers), and that the data stay until the next exposure in one-shot mode. The chip
has no serial number.
"""

from __future__ import annotations

import time

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind, Settings
from ccnvr.firmware_bridge.polled.exchange import Denied, Garbled, Trouble
from ccnvr.firmware_bridge.polled.instrument import PolledInstrument, Reading, boot, read_twice
from ccnvr.firmware_bridge.transport import Transport

# The letters of the bands in the order in which ATDATA sends them.
ON_THE_WIRE = "RSTUVWJIGHKLABCDEF"
BANDS_NM = dict(
    zip(
        "ABCDEFGHRISJTUVWKL",
        (410, 435, 460, 485, 510, 535, 560, 585, 610, 645, 680, 705, 730, 760, 810, 860, 900, 940),
        strict=True,
    )
)
# The integration time is set in steps of 2.8 ms.
STEP_US = 2_800
# The letters follow the three chips, whose bands interleave.
_BY_WAVELENGTH = np.argsort([BANDS_NM[letter] for letter in ON_THE_WIRE])
_LINE = 400


class As7265x(PolledInstrument):
    """An AS7265x over `transport`."""

    settle_s = 0.5
    """The time from the start of an exposure to its data, in addition to the exposure itself.

    The value is that of other open drivers.
    """

    def _identify(self) -> InstrumentInfo:
        hardware, firmware = self._ask("ATVERHW"), self._ask("ATVERSW")
        return InstrumentInfo(
            model=f"AS7265x {hardware}",
            serial="AS7265x",
            firmware=firmware,
            boot=boot(),
            counts_starts=False,
            wavelengths_nm=np.sort(np.array(list(BANDS_NM.values()), dtype=np.float64)),
            saturation_counts=65_535,
            shortest_integration_us=STEP_US,
            longest_integration_us=255 * STEP_US,
            most_averages=100,
        )

    def _apply(self, settings: Settings) -> Settings:
        # Rounded down, so that the exposure stays within the limits that were checked.
        steps = settings.integration_us // STEP_US
        self._ask(f"ATINTTIME={steps}")
        # OK says that a command arrived, but not whether its digits arrived undamaged.
        if self._ask("ATINTTIME") != str(steps):
            raise Garbled("the integration time was not accepted")
        return Settings(steps * STEP_US, settings.averages)

    def _holds_settings(self) -> bool:
        if self._settings is None:
            return True
        return self._ask("ATINTTIME") == str(self._settings.integration_us // STEP_US)

    def _expose(self, kind: ScanKind, light_s: float) -> Reading:
        self._ask(f"ATLED1={0 if kind is ScanKind.DARK else 100}")
        # One shot of all bands; the data then stay until the next exposure.
        self._ask("ATTCSMD=3")
        time.sleep(light_s + self.settle_s)
        values = read_twice(lambda: parse_data(self._ask("ATDATA")))[_BY_WAVELENGTH]
        temperatures = self._ask("ATTEMP").split(",")
        try:
            return Reading(values, float(temperatures[0]))
        except ValueError:
            raise Garbled(f"{temperatures[0][:40]!r} is not a temperature") from None

    def _wake(self) -> None:
        # An empty line ends a command that may have arrived only in part.
        self.exchange.transport.write(b"\r\n")
        self.exchange.settle()

    def _ask(self, command: str) -> str:
        """Return what precedes OK in the answer."""
        self.exchange.send(command.encode() + b"\r\n")
        line = self.exchange.read_until(b"\n", _LINE).decode("ascii", errors="replace").strip()
        if line == "ERROR":
            raise Denied(f"it answered {command} with ERROR")
        if not line.isprintable() or (line != "OK" and not line.endswith(" OK")):
            raise Garbled(f"unexpected answer {line[:40]!r} to {command}")
        return line.removesuffix("OK").strip()


def parse_data(text: str) -> Array:
    """Return the 18 counts `(18,)` in the order in which they arrived.

    Raises:
        Garbled: they are not 18 whole numbers of 16 bits.
    """
    fields = [field.strip() for field in text.split(",")]
    # isascii, because isdigit accepts the digits of every script.
    if len(fields) != len(ON_THE_WIRE) or not all(
        field.isascii() and field.isdigit() and len(field) <= 5 for field in fields
    ):
        raise Garbled(f"{text[:40]!r} is not {len(ON_THE_WIRE)} counts")
    counts = np.array([int(field) for field in fields], dtype=np.float64)
    if np.any(counts > 65_535):
        raise Garbled("counts beyond 16 bits arrived")
    return counts


def create(transport: Transport, options: dict[str, str], timeout_s: float) -> As7265x:
    """Return a driver over `transport`; it has no options."""
    return As7265x(transport, timeout_s)


def probe(transport: Transport, timeout_s: float) -> str | None:
    """Return the hardware version of an AS7265x that answers AT commands; None if none does."""
    chip = As7265x(transport, timeout_s)
    try:
        chip._wake()
        return f"AS7265x, hardware {chip._ask('ATVERHW')}"
    except Trouble:
        return None

"""The protocol that every spectrometer's driver satisfies, and the values that it returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum, IntEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.errors import InstrumentError
from ccnvr.firmware_bridge.frozen import frozen


class ScanKind(IntEnum):
    """The object that the instrument looks at during a scan."""

    DARK = 0
    WHITE = 1
    SAMPLE = 2


class Quantity(Enum):
    """The quantity that an instrument measures.

    Raw counts need dark and white references; reflectance and absorbance already contain them.
    """

    COUNTS = "counts"
    REFLECTANCE = "reflectance"
    ABSORBANCE = "absorbance"


@frozen
class InstrumentInfo:
    """What an instrument states about itself.

    `wavelengths_nm` is `(pixels,)`. `saturation_counts` is the largest value of one scan.
    Integration times are in microseconds; the shortest equals the longest if the instrument alone
    decides. `boot` counts the starts of the instrument. If `counts_starts` is false it keeps no
    count: `boot` is drawn for this process, and anew after a restart that the driver notices.
    `joins_nm` has the last wavelength of each detector but the last one, in nm; empty if there is
    one detector, or if the driver does not know.
    """

    model: str
    serial: str
    firmware: str
    boot: int
    wavelengths_nm: NDArray[np.float64]
    saturation_counts: int
    shortest_integration_us: int
    longest_integration_us: int
    most_averages: int
    quantity: Quantity = Quantity.COUNTS
    counts_starts: bool = True
    joins_nm: tuple[float, ...] = ()

    @property
    def fixed_integration(self) -> bool:
        """Whether the instrument alone decides its integration time."""
        return self.shortest_integration_us == self.longest_integration_us

    def check(self, settings: Settings) -> None:
        """Check settings against the instrument's limits.

        Raises:
            InstrumentError: the limits do not allow the settings.
        """
        low, high, most = (
            self.shortest_integration_us,
            self.longest_integration_us,
            self.most_averages,
        )
        # If the instrument decides the time, any is accepted and the real one is reported.
        if not self.fixed_integration and not low <= settings.integration_us <= high:
            raise InstrumentError(
                f"integration time {settings.integration_us} us is outside this instrument's "
                f"{low}-{high} us; change integration_us"
            )
        if not 1 <= settings.averages <= most:
            raise InstrumentError(
                f"{settings.averages} averages are outside this instrument's 1-{most}; change "
                "averages"
            )

    def scan_id(self, number: int) -> str:
        """Return an identifier that no other scan of any instrument has."""
        # Numbers begin anew with each start of the instrument; the boot tells the starts apart.
        return f"{self.serial}-{self.boot}-{number}"


@frozen
class Settings:
    """The settings of a scan: integration time in microseconds, number of scans to average."""

    integration_us: int
    averages: int


@frozen
class Scan:
    """One scan as the instrument gave it.

    `counts` is `(pixels,)`, the mean of `settings.averages` scans, in the instrument's `Quantity`.
    `temperature_c` is NaN if the instrument has no thermometer.
    """

    number: int
    kind: ScanKind
    counts: NDArray[np.float64]
    settings: Settings
    saturated: bool
    temperature_c: float


@dataclass
class LinkStatistics:
    """Counters of what passed over a link since it was opened."""

    bytes_read: int = 0
    frames_damaged: int = 0
    frames_missing: int = 0
    frames_stale: int = 0
    retries: int = 0

    @property
    def frames_lost(self) -> int:
        """The number of replies that did not arrive whole; each was asked for again."""
        return self.frames_damaged + self.frames_missing

    def add(self, other: LinkStatistics) -> None:
        """Add the counts of another link to these."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def __str__(self) -> str:
        return (
            f"{self.bytes_read} bytes read, {self.frames_lost} frames lost, "
            f"{self.frames_stale} late, {self.retries} repeats"
        )


class Instrument(Protocol):
    """A connected spectrometer.

    Every method raises `InstrumentError`, or `LinkLost` if opening the port again may help. To
    support an instrument of your own, write a class with these methods;
    docs/adding-an-instrument.md shows how.
    """

    statistics: LinkStatistics

    def identify(self) -> InstrumentInfo:
        """Return what the instrument states about itself; call this first."""
        ...

    def configure(self, settings: Settings) -> Settings:
        """Use these settings from the next scan on, and return those in force.

        They differ from `settings` where the instrument cannot do exactly what was asked.
        """
        ...

    def scan(self, kind: ScanKind) -> Scan:
        """Take one scan and return it.

        An instrument that keeps scans keeps this one until it is acknowledged.
        """
        ...

    def unacknowledged(self) -> Iterator[Scan]:
        """Yield the scans that no host has acknowledged, oldest first.

        Some may have been taken before this host started. Instruments that keep no scans yield
        none.
        """
        ...

    def acknowledge(self, scan: Scan) -> None:
        """Tell the instrument that the scan is stored and may be forgotten."""
        ...

    def close(self) -> None:
        """Close the port."""
        ...


@runtime_checkable
class ButtonInstrument(Protocol):
    """An instrument whose button a host can read, beside what every `Instrument` does."""

    def presses(self) -> int:
        """Return how often the button was pressed since the instrument's start.

        Raises:
            InstrumentError: this instrument has no button, or does not answer.
        """
        ...


@runtime_checkable
class LampInstrument(Protocol):
    """An instrument that can scan with its own lamp off, beside what every `Instrument` does."""

    def scan_without_lamp(self) -> Scan | None:
        """Scan what is under the probe with the lamp off, and return it; None if it cannot.

        The scan shows the light that falls in from outside. It is to be acknowledged as any other.
        """
        ...

    def release_lamp(self) -> None:
        """Leave lamp and shutter to the scans again, should `scan_without_lamp` have been cut off.

        A lamp that is held on stays on.
        """
        ...

"""What ccnvr asks of every spectrometer, and the values that travel from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum, IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.errors import InstrumentError


class ScanKind(IntEnum):
    """What the instrument looks at."""

    DARK = 0
    WHITE = 1
    SAMPLE = 2


class Quantity(Enum):
    """What an instrument's numbers are: raw counts need dark and white references, the others hold
    them already.
    """

    COUNTS = "counts"
    REFLECTANCE = "reflectance"
    ABSORBANCE = "absorbance"


@dataclass(frozen=True)
class InstrumentInfo:
    """What an instrument states about itself.

    `wavelengths_nm` is `(pixels,)`; `saturation_counts` is the largest value of one scan;
    integration times are in microseconds, and shortest = longest where the instrument alone
    decides; `boot` counts the instrument's starts, or is drawn for this process where the
    instrument keeps no count.
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

    @property
    def fixed_integration(self) -> bool:
        """Whether the integration time is the instrument's own affair."""
        return self.shortest_integration_us == self.longest_integration_us

    def check(self, settings: Settings) -> None:
        """Raises InstrumentError where the instrument's limits do not allow the settings."""
        low, high, most = (
            self.shortest_integration_us,
            self.longest_integration_us,
            self.most_averages,
        )
        if not self.fixed_integration and not low <= settings.integration_us <= high:
            raise InstrumentError(
                f"integration time {settings.integration_us} us is outside this instrument's "
                f"{low}-{high} us; "
                "change integration_us"
            )
        if not 1 <= settings.averages <= most:
            raise InstrumentError(
                f"{settings.averages} averages are outside this instrument's 1-{most}; change "
                "averages"
            )

    def scan_id(self, number: int) -> str:
        """An id that no other scan of any instrument carries."""
        return f"{self.serial}-{self.boot}-{number}"


@dataclass(frozen=True)
class Settings:
    """How to take a scan: integration time in microseconds, and how many scans to average."""

    integration_us: int
    averages: int


@dataclass(frozen=True)
class Scan:
    """One scan as the instrument gave it.

    `counts` is `(pixels,)`, the mean of `averages` scans, in the instrument's `Quantity`;
    `temperature_c` is NaN where the instrument has no thermometer.
    """

    number: int
    kind: ScanKind
    counts: NDArray[np.float64]
    settings: Settings
    saturated: bool
    temperature_c: float


@dataclass
class LinkStatistics:
    """What passed over a link since it was opened."""

    bytes_read: int = 0
    frames_damaged: int = 0
    frames_missing: int = 0
    frames_stale: int = 0
    retries: int = 0

    @property
    def frames_lost(self) -> int:
        """Replies that did not arrive whole; each was asked for again."""
        return self.frames_damaged + self.frames_missing

    def add(self, other: LinkStatistics) -> None:
        """Count what passed over another link as well."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def __str__(self) -> str:
        return (
            f"{self.bytes_read} bytes read, {self.frames_lost} frames lost, "
            f"{self.frames_stale} late, {self.retries} repeats"
        )


class Instrument(Protocol):
    """A connected spectrometer. Every method raises `InstrumentError`, or `LinkLost` when reopening
    may help.
    """

    statistics: LinkStatistics

    def identify(self) -> InstrumentInfo:
        """Ask the instrument who it is; the link's handshake."""
        ...

    def configure(self, settings: Settings) -> Settings:
        """Use these settings from the next scan on; gives those in force, as near as the instrument
        can.
        """
        ...

    def scan(self, kind: ScanKind) -> Scan:
        """Take one scan; an instrument that can keeps it until it is acknowledged."""
        ...

    def unacknowledged(self) -> Iterator[Scan]:
        """The scans that no host has acknowledged, oldest first; taken perhaps before this host
        started.

        None, of an instrument that keeps no scans.
        """
        ...

    def acknowledge(self, scan: Scan) -> None:
        """Tell the instrument that the scan is stored and may be forgotten."""
        ...

    def close(self) -> None:
        """Give the port back."""
        ...

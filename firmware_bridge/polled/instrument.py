"""The base of drivers for instruments that keep no scans.

The host numbers the scans, and none waits to be acknowledged. A driver supplies `_identify`,
`_apply` and `_expose`; each may raise `exchange.Trouble`, upon which it is called again.
"""

from __future__ import annotations

import itertools
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import InstrumentError, InstrumentRestarted
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import (
    InstrumentInfo,
    LinkStatistics,
    Scan,
    ScanKind,
    Settings,
)
from ccnvr.firmware_bridge.polled.exchange import Exchange, Garbled
from ccnvr.firmware_bridge.transport import Transport

TIMEOUT_S = 1.0

MOST_PIXELS = 16_384
"""More pixels than any instrument has; bounds what a malformed reply can make the host allocate."""

# A process stands for one start of the instrument: the numbers of scans go on when a cable is
# pulled and put back, and a later process draws another boot, except once in four thousand million
# times. So identifiers of scans do not repeat. A restart that is noticed draws another as well.
_BOOT = [secrets.randbits(32)]
_NUMBERS = itertools.count(1)


def boot() -> int:
    """Return the number that stands for the present start of the instrument."""
    return _BOOT[0]


def restarted(model: str, evidence: str) -> InstrumentRestarted:
    """Draw another boot, and return the error for an instrument that has restarted."""
    _BOOT[0] = secrets.randbits(32)
    return InstrumentRestarted(
        f"{model} has restarted since it was identified ({evidence}); check its power supply and "
        "take new references"
    )


def next_number() -> int:
    """Return the number of the next scan of this process, whichever instrument takes it."""
    return next(_NUMBERS)


@frozen
class Reading:
    """One acquisition: `values` is `(pixels,)`, the temperature is in degrees Celsius."""

    values: Array
    temperature_c: float = float("nan")
    saturated: bool = False


class PolledInstrument(ABC):
    """An `instrument.Instrument` that answers when asked and remembers nothing.

    Call `identify` first.
    """

    averages_itself = False
    """Whether the instrument averages; otherwise the host does."""

    identify_busy_s: ClassVar[float] = 0.0
    """How long the instrument itself may need to identify itself."""

    def __init__(self, transport: Transport, timeout_s: float = TIMEOUT_S) -> None:
        self.statistics = LinkStatistics()
        self.exchange = Exchange(transport, self.statistics, timeout_s, self._resynchronise)
        self._settings: Settings | None = None
        self._info: InstrumentInfo | None = None

    def identify(self) -> InstrumentInfo:
        """Return what the instrument states about itself.

        Raises:
            InstrumentError: it does not answer, or its wavelengths do not increase.
        """
        info = self.exchange.insist(
            "identifying the instrument", self._identify, self.identify_busy_s
        )
        # The preprocessing interpolates between bands, so they must increase.
        sizes = 2 <= info.wavelengths_nm.size <= MOST_PIXELS
        if (
            not sizes
            or not np.all(np.isfinite(info.wavelengths_nm))
            or np.any(np.diff(info.wavelengths_nm) <= 0)
        ):
            raise InstrumentError(
                f"{info.model} states {info.wavelengths_nm.size} wavelengths, which are not 2 to "
                f"{MOST_PIXELS} increasing numbers; check its calibration"
            )
        self._info = info
        return info

    def configure(self, settings: Settings) -> Settings:
        """Use these settings from the next scan on, and return those in force."""
        self.info.check(settings)
        self._settings = self.exchange.insist(
            "setting the integration time", lambda: self._apply(settings)
        )
        return self._settings

    def scan(self, kind: ScanKind) -> Scan:
        """Take one scan.

        If the instrument has no lamp of its own, the operator sees to darkness and to the white
        panel.

        Raises:
            InstrumentRestarted: the instrument shows that it has restarted.
        """
        info, settings = self.info, self._settings
        if settings is None:
            raise InstrumentError("the instrument has no settings yet; call configure() first")
        repeats = 1 if self.averages_itself else settings.averages
        # Twice the time of the light allows for read-out and the instrument's own pauses.
        light_s = (
            2.0 * settings.integration_us * (settings.averages if self.averages_itself else 1) / 1e6
        )
        # Asked twice before it is believed: some answers have nothing that guards them.
        if not any(
            self.exchange.insist("reading the settings back", self._holds_settings)
            for _ in range(2)
        ):
            raise restarted(info.model, "its settings are no longer those that were set")
        what = f"taking a {kind.name.lower()} scan"
        readings = [
            self.exchange.insist(what, lambda: self._checked(kind, light_s), light_s)
            for _ in range(repeats)
        ]
        values = np.mean([reading.values for reading in readings], axis=0)
        # Looked at before averaging, which would hide a scan that saturated.
        saturated = any(
            reading.saturated or bool(np.any(reading.values >= info.saturation_counts))
            for reading in readings
        )
        return Scan(next_number(), kind, values, settings, saturated, readings[-1].temperature_c)

    def unacknowledged(self) -> Iterator[Scan]:
        """Yield nothing, because the instrument keeps no scans."""
        return iter(())

    def acknowledge(self, scan: Scan) -> None:  # noqa: B027 - there is nothing to do
        """Do nothing, because the instrument has already forgotten the scan."""

    def close(self) -> None:
        """Close the port."""
        self.exchange.transport.close()

    @abstractmethod
    def _identify(self) -> InstrumentInfo: ...

    def _apply(self, settings: Settings) -> Settings:
        """Make the instrument use the settings, and return those really in force."""
        own = self.info.shortest_integration_us
        return Settings(own, settings.averages) if self.info.fixed_integration else settings

    def _holds_settings(self) -> bool:
        """Return whether the instrument still has the settings in force, as far as it tells.

        One that has lost them has restarted. The question must change nothing.
        """
        return True

    @abstractmethod
    def _expose(self, kind: ScanKind, light_s: float) -> Reading: ...

    def _wake(self) -> None:  # noqa: B027 - not every instrument needs it
        """Bring an instrument that may have been restarted into step.

        What was under way has been dropped before.
        """

    def _resynchronise(self) -> None:
        self._wake()
        # The instrument may have lost power in between, and its settings with it.
        if self._settings is not None:
            self._apply(self._settings)

    @property
    def info(self) -> InstrumentInfo:
        """What `identify` found.

        Raises:
            InstrumentError: the instrument is not identified yet.
        """
        if self._info is None:
            raise InstrumentError("the instrument is not identified yet; call identify() first")
        return self._info

    def _checked(self, kind: ScanKind, light_s: float) -> Reading:
        reading = self._expose(kind, light_s)
        if reading.values.shape != self.info.wavelengths_nm.shape:
            raise Garbled(
                f"{reading.values.size} values arrived for {self.info.wavelengths_nm.size} "
                "wavelengths"
            )
        if not np.all(np.isfinite(reading.values)):
            raise Garbled("values arrived that are not finite")
        return reading


def wavelengths_nm(pixels: int, coefficients: Sequence[float], first: int = 0) -> Array:
    """Return the wavelengths `(pixels,)` in nm, by the polynomial of a calibration sheet.

    Its variable is the number of the pixel, counted from `first`; `coefficients` begin with the
    lowest power.
    """
    numbers = np.arange(first, first + pixels, dtype=np.float64)
    return np.asarray(
        np.polynomial.polynomial.polyval(numbers, np.asarray(coefficients, dtype=np.float64)),
        dtype=np.float64,
    )


def floats(data: bytes, layout: str, offset: int = 0) -> Array:
    """Return `data` from `offset` on as numbers of a NumPy layout.

    NaN is let through, for `PolledInstrument` to refuse.

    Raises:
        Garbled: the last number is cut.
    """
    if (len(data) - offset) % np.dtype(layout).itemsize:
        raise Garbled(f"{len(data) - offset} bytes are not a whole number of {layout} values")
    # NumPy warns of signalling NaNs, and tests turn warnings into errors.
    with np.errstate(invalid="ignore"):
        return np.frombuffer(data, layout, offset=offset).astype(np.float64)


def read_twice(read: Callable[[], Array]) -> Array:
    """Read the same data twice, and return them if both are equal to the last bit.

    This guards a reply without a checksum that can be asked for again.

    Raises:
        Garbled: they differ.
    """
    first, second = read(), read()
    if not np.array_equal(first, second):
        raise Garbled(
            f"two readings of the same data differ in {np.count_nonzero(first != second)} of "
            f"{first.size} values"
        )
    return second


def scan_twice(expose: Callable[[], Array], tolerance: float) -> Array:
    """Take two scans, and return their mean if they agree within `tolerance`.

    This guards a reply without a checksum that cannot be asked for again. A value that arrived
    damaged is then off by at most half of `tolerance`.

    Raises:
        Garbled: they differ by more.
    """
    first, second = expose(), expose()
    if first.shape != second.shape:
        raise Garbled(f"two scans have {first.size} and {second.size} values")
    worst = float(np.max(np.abs(first - second)))
    # Not `worst > tolerance`, which a NaN would pass.
    if not worst <= tolerance:
        raise Garbled(f"two successive scans differ by {worst:.6g}, more than {tolerance:.6g}")
    mean: Array = (first + second) / 2.0
    return mean

"""Ocean spectrometers over USB, by the library python-seabreeze (extra `seabreeze`).

The URL is `seabreeze://` or `seabreeze://SERIAL`. The library speaks to the instrument; this module
turns its spectra into scans. Over RS-232 use `driver=obp` or `driver=ooi`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ccnvr.firmware_bridge.errors import InstrumentError, LinkLost, UsageError
from ccnvr.firmware_bridge.installation import extra_command
from ccnvr.firmware_bridge.instrument import (
    InstrumentInfo,
    LinkStatistics,
    Scan,
    ScanKind,
    Settings,
)
from ccnvr.firmware_bridge.polled.instrument import boot, next_number
from ccnvr.firmware_bridge.transport import PortError, split_url


class SeaBreezeInstrument:
    """A spectrometer that `seabreeze.spectrometers.Spectrometer` has opened; the host averages."""

    def __init__(self, spectrometer: Any, error: type[Exception]) -> None:
        self.statistics = LinkStatistics()
        self._spectrometer, self._error = spectrometer, error
        self._settings: Settings | None = None

    def identify(self) -> InstrumentInfo:
        """Return the model, serial number, wavelengths and limits that the library states."""
        try:
            shortest, longest = self._spectrometer.integration_time_micros_limits
            return InstrumentInfo(
                model=f"Ocean {self._spectrometer.model}",
                serial=str(self._spectrometer.serial_number),
                firmware="python-seabreeze",
                boot=boot(),
                counts_starts=False,
                wavelengths_nm=np.asarray(self._spectrometer.wavelengths(), dtype=np.float64),
                saturation_counts=int(self._spectrometer.max_intensity),
                shortest_integration_us=int(shortest),
                longest_integration_us=int(longest),
                most_averages=1_000,
            )
        except self._error as error:
            raise LinkLost(
                f"the USB spectrometer did not identify itself ({error}); check its cable"
            ) from error

    def configure(self, settings: Settings) -> Settings:
        """Set the integration time."""
        self.identify().check(settings)
        try:
            self._spectrometer.integration_time_micros(settings.integration_us)
        except self._error as error:
            raise InstrumentError(
                f"integration time {settings.integration_us} us was refused ({error}); choose "
                "another"
            ) from error
        self._settings = settings
        return settings

    def scan(self, kind: ScanKind) -> Scan:
        """Take one scan; the operator sees to darkness and to the white panel."""
        if self._settings is None:
            raise InstrumentError("the instrument has no settings yet; call configure() first")
        try:
            taken = [
                np.asarray(self._spectrometer.intensities(), np.float64)
                for _ in range(self._settings.averages)
            ]
            saturation = float(self._spectrometer.max_intensity)
        except self._error as error:
            raise LinkLost(
                f"the USB spectrometer gave no spectrum ({error}); check its cable"
            ) from error
        self.statistics.bytes_read += sum(values.nbytes for values in taken)
        # Looked at before averaging, which would hide a scan that saturated.
        saturated = any(bool(np.any(values >= saturation)) for values in taken)
        return Scan(
            next_number(), kind, np.mean(taken, axis=0), self._settings, saturated, math.nan
        )

    def unacknowledged(self) -> Iterator[Scan]:
        """Yield nothing, because the instrument keeps no scans."""
        return iter(())

    def acknowledge(self, scan: Scan) -> None:
        """Do nothing, because the instrument keeps no scans."""

    def close(self) -> None:
        """Close the device."""
        self._spectrometer.close()


def open_usb(url: str) -> SeaBreezeInstrument:
    """Open the spectrometer that `seabreeze://[SERIAL]` names.

    Raises:
        UsageError: the extra is missing, or the URL is malformed.
        PortError: there is no such spectrometer.
    """
    parts, options = split_url(url)
    if options or parts.path:
        raise UsageError(
            f"instrument {url!r} is not seabreeze:// or seabreeze://SERIAL; correct it"
        )
    try:
        # The library is an optional extra, so it is imported only when a URL asks for it.
        from seabreeze.spectrometers import SeaBreezeError, Spectrometer
    except ImportError:
        raise UsageError(
            f"seabreeze:// needs python-seabreeze; run: {extra_command('seabreeze')}"
        ) from None
    serial = parts.netloc
    try:
        opened = (
            Spectrometer.from_serial_number(serial)
            if serial
            else Spectrometer.from_first_available()
        )
    except SeaBreezeError as error:
        raise PortError(
            f"no spectrometer could be opened for {url} ({error}); plug it in, and stop other "
            "programs that use it"
        ) from error
    return SeaBreezeInstrument(opened, SeaBreezeError)

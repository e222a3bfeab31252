"""The driver for instruments that speak the ccnvr link."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Iterator

import numpy as np

from ccnvr.firmware_bridge.errors import InstrumentError, InstrumentRestarted
from ccnvr.firmware_bridge.instrument import (
    InstrumentInfo,
    LinkStatistics,
    Scan,
    ScanKind,
    Settings,
)
from ccnvr.firmware_bridge.link.controls import LinkControls
from ccnvr.firmware_bridge.link.messages import (
    Capabilities,
    ErrorCode,
    Feature,
    Held,
    Hello,
    Scanned,
    ScanNumber,
    ScanRequest,
    Type,
)
from ccnvr.firmware_bridge.link.session import Link, Refused
from ccnvr.firmware_bridge.link_constants import MOST_PIXELS, REPLY_MS, WHITE_MS
from ccnvr.firmware_bridge.transport import Transport
from ccnvr.firmware_bridge.url_options import number

REPLY_TIMEOUT_S = REPLY_MS / 1000.0

WHITE_TIMEOUT_S = WHITE_MS / 1000.0
"""For one try of a white reference, since the operator may have to bring the panel first."""


class LinkInstrument:
    """An instrument that speaks the ccnvr link over `transport`; call `identify` first.

    `fast_baud` is the rate to which the line is raised if instrument and port can do so; 0 leaves
    the rate as it is. `controls` is what the instrument offers beside scans.
    """

    def __init__(
        self, transport: Transport, reply_timeout_s: float = REPLY_TIMEOUT_S, fast_baud: int = 0
    ) -> None:
        self.statistics = LinkStatistics()
        self._transport = transport
        self._link = Link(transport, self.statistics)
        self._timeout_s = reply_timeout_s
        self._fast_baud = fast_baud
        self._info: InstrumentInfo | None = None
        self._controls: LinkControls | None = None
        self._newest = 0  # the highest scan number since the handshake
        # So that a host which only reads what an earlier one left need not configure anything.
        self._settings = Settings(integration_us=10_000, averages=1)

    @property
    def controls(self) -> LinkControls:
        """Lamp, shutter, button, temperature, user memory and coefficients.

        Raises:
            InstrumentError: the instrument is not identified yet.
        """
        self._identified()
        assert self._controls is not None
        return self._controls

    def identify(self) -> InstrumentInfo:
        """Shake hands, raise the rate of the line if asked for, and read the wavelengths."""
        capabilities = self._handshake()
        self._newest = 0
        self._controls = LinkControls(self._link, self._transport, capabilities, self._timeout_s)
        # Before the wavelengths are read, because they are a long reply.
        if self._fast_baud and capabilities.fastest_baud:
            self._controls.change_baud(
                min(self._fast_baud, capabilities.fastest_baud), self._handshake
            )
        data = self._link.pull(Type.WAVELENGTHS, b"", 4 * capabilities.pixels, self._timeout_s)
        # NumPy warns of a signalling NaN; no model takes bands with it.
        with np.errstate(invalid="ignore"):
            wavelengths = np.frombuffer(data, dtype="<f4").astype(np.float64)
        self._info = InstrumentInfo(
            model=capabilities.model,
            serial=capabilities.serial,
            firmware=capabilities.firmware,
            boot=capabilities.boot,
            # Four bytes resolve 0.0002 nm at 2500 nm, and halve the reply.
            wavelengths_nm=wavelengths,
            saturation_counts=capabilities.saturation_counts,
            shortest_integration_us=capabilities.shortest_integration_us,
            longest_integration_us=capabilities.longest_integration_us,
            most_averages=capabilities.most_averages,
        )
        return self._info

    def _handshake(self) -> Capabilities:
        # Zero bytes end a frame that an earlier host may have left unfinished in the instrument's
        # decoder. The nonce tells the reply from one that was meant for that host.
        self._transport.write(b"\0\0")
        hello = Hello(secrets.randbits(32))
        capabilities = Capabilities.unpack(self._call(Type.HELLO, hello.pack()))
        if capabilities.nonce != hello.nonce:
            raise InstrumentError(
                "the instrument answered another host's handshake; let one program use the port"
            )
        if not 2 <= capabilities.pixels <= MOST_PIXELS:
            raise InstrumentError(
                f"the instrument states {capabilities.pixels} pixels, but only 2 to {MOST_PIXELS} "
                "are possible; update its firmware"
            )
        # Sums over the averages travel as 32-bit integers, which must not overflow.
        most = capabilities.saturation_counts * capabilities.most_averages
        if not capabilities.serial or not 0 < most < 2**32:
            raise InstrumentError(
                f"the instrument states serial number {capabilities.serial!r}, saturation at "
                f"{capabilities.saturation_counts} counts and {capabilities.most_averages} "
                "averages, but it needs a serial number and sums below 2**32; update its firmware"
            )
        return capabilities

    def configure(self, settings: Settings) -> Settings:
        """Use these settings from the next scan on.

        Raises:
            InstrumentError: the instrument's limits do not allow them.
        """
        self._identified().check(settings)
        self._settings = settings
        return settings

    def scan(self, kind: ScanKind) -> Scan:
        """Take one scan and read it.

        Raises:
            InstrumentRestarted: the instrument has restarted since it was identified.
        """
        request = ScanRequest(kind, self._settings.integration_us, self._settings.averages)
        light_s = request.integration_us * request.averages / 1e6
        answer_s = WHITE_TIMEOUT_S if kind is ScanKind.WHITE else self._timeout_s
        scanned = Scanned.unpack(self._call(Type.SCAN, request.pack(), answer_s + 2.0 * light_s))
        # Numbers rise until a restart. The boot, which is compared once the data have arrived,
        # would tell it as well, but not of an instrument whose boot does not change.
        if scanned.number <= self._newest:
            raise InstrumentRestarted(
                f"instrument {self._identified().serial} gave scan {scanned.number} after scan "
                f"{self._newest}, so it has restarted; check its power supply and take new "
                "references"
            )
        stated = ScanRequest(scanned.kind, scanned.integration_us, scanned.averages)
        # Counts are sums over the averages; with another number of these they would be those of a
        # darker or brighter sample, which nothing else shows.
        if stated != request:
            raise InstrumentError(
                f"the instrument took scan {scanned.number} as {_described(stated)} when "
                f"{_described(request)} was asked for; update its firmware"
            )
        return self._read(scanned)

    def unacknowledged(self) -> Iterator[Scan]:
        """Yield the scans that no host has acknowledged, oldest first."""
        number = 0
        while True:
            try:
                scanned = Scanned.unpack(self._call(Type.OLDEST, ScanNumber(number).pack()))
            except Refused as refused:
                if refused.code == ErrorCode.NO_SUCH_SCAN:
                    return
                raise
            # Otherwise an instrument that repeats a scan would keep the host in this loop for ever.
            if scanned.number <= number:
                raise InstrumentError(
                    f"the instrument gave scan {scanned.number} when one above {number} was asked "
                    "for; restart it"
                )
            number = scanned.number
            yield self._read(scanned)

    def acknowledge(self, scan: Scan) -> None:
        """Tell the instrument that the scan is stored."""
        self._call(Type.ACKNOWLEDGE, ScanNumber(scan.number).pack())

    def presses(self) -> int:
        """Return how often the button was pressed since the instrument's start.

        Raises:
            InstrumentRestarted: the instrument has restarted since it was identified.
        """
        return self.controls.presses()

    def scan_without_lamp(self) -> Scan | None:
        """Scan with the lamp off and the shutter open; None if that is not possible.

        It is not if the instrument cannot switch its lamp, or if the lamp is held on to stay warm.

        Raises:
            InstrumentRestarted: the instrument has restarted since it was identified.
        """
        features = self.controls.features
        if Feature.LAMP not in features or self.controls.state().lamp_on:
            return None
        # With a shutter, a dark scan would otherwise close it and see nothing.
        shutter = Held.ON if Feature.SHUTTER in features else Held.AUTOMATIC
        self.controls.hold(Held.OFF, shutter)
        scan = self.scan(ScanKind.DARK)
        self.controls.hold()
        return scan

    def release_lamp(self) -> None:
        """Leave lamp and shutter to the scans, unless the lamp is held on."""
        if Feature.LAMP in self.controls.features and not self.controls.state().lamp_on:
            self.controls.hold()

    def close(self) -> None:
        """Close the port."""
        self._transport.close()

    def _identified(self) -> InstrumentInfo:
        if self._info is None:
            raise InstrumentError("the instrument is not identified yet; call identify() first")
        return self._info

    def _call(self, request: Type, payload: bytes = b"", timeout_s: float | None = None) -> bytes:
        return self._link.call(request, payload, timeout_s=timeout_s or self._timeout_s).payload

    def _read(self, scanned: Scanned) -> Scan:
        info = self._identified()
        if scanned.pixels != info.wavelengths_nm.size or scanned.averages < 1:
            raise InstrumentError(
                f"scan {scanned.number} has {scanned.pixels} pixels and {scanned.averages} "
                f"averages, but the instrument stated {info.wavelengths_nm.size} pixels, and at "
                "least 1 average is needed; restart the instrument"
            )
        try:
            data = self._link.pull(
                Type.READ, ScanNumber(scanned.number).pack(), 4 * scanned.pixels, self._timeout_s
            )
        except Refused:
            # A scan that was kept a moment ago is gone after a restart, which explains more.
            self.controls.check_running()
            raise
        # Each chunk has a CRC of its own; this one also notices chunks of different scans.
        if zlib.crc32(data) != scanned.checksum:
            raise InstrumentError(
                f"the data of scan {scanned.number} do not match their checksum; scan again"
            )
        # Sums travel, so that the mean is computed here without loss.
        counts = np.frombuffer(data, dtype="<u4") / scanned.averages
        if counts.max() > info.saturation_counts:
            raise InstrumentError(
                f"scan {scanned.number} has {counts.max():.0f} counts where the instrument stated "
                f"at most {info.saturation_counts}; update its firmware"
            )
        # After the data, so that they and the scan itself belong to this boot; and at each scan,
        # because a USB bridge keeps the port open while the instrument behind it loses its power.
        self.controls.check_running()
        self._newest = max(self._newest, scanned.number)
        return Scan(
            number=scanned.number,
            kind=scanned.kind,
            counts=counts,
            settings=Settings(scanned.integration_us, scanned.averages),
            saturated=scanned.saturated,
            temperature_c=self.controls.celsius(scanned.temperature_centi_c),
        )


def _described(request: ScanRequest) -> str:
    kind = request.kind.name.lower()
    return f"{kind} of {request.integration_us} us and {request.averages} averages"


def create(transport: Transport, options: dict[str, str], timeout_s: float) -> LinkInstrument:
    """Return a driver over `transport`; the option is `fast_baud` (0 leaves the rate as it is)."""
    return LinkInstrument(transport, timeout_s, int(number(options, "fast_baud", 0, 0, 12_000_000)))


def probe(transport: Transport, timeout_s: float) -> str | None:
    """Return model and serial number of the instrument that answers HELLO; None if none does."""
    try:
        # The session repeats a request ATTEMPTS times, so that all tries take `timeout_s`.
        info = LinkInstrument(transport, timeout_s / 4.0).identify()
    except InstrumentError:
        return None
    return f"{info.model}, serial number {info.serial}"

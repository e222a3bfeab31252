"""ASD FieldSpec 3 and 4 (350-2500 nm) over TCP port 8080.

Commands are ASCII without an end mark, replies are big-endian and of fixed length. Replies have no
checksum of their own and a spectrum cannot be asked for again, so each scan is taken twice: the two
must agree within 2 % of saturation, or the scan is repeated. TCP guards the bytes on their way. The
instrument's integration time is used as it is; with `optimise=1` in the URL it is optimised during
identification, with the white panel under the probe. Dark scans need the operator, because the
codes of the shutter were not at hand.

Not verified on an instrument: the meaning of the header's first number and the unit of its
temperature (neither is used), and whether RESTORE's table names the serial number. The layout is
that of an open driver of a goniospectrometer.
"""

from __future__ import annotations

import struct

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind
from ccnvr.firmware_bridge.polled.exchange import Denied, Garbled, Trouble
from ccnvr.firmware_bridge.polled.instrument import (
    PolledInstrument,
    Reading,
    boot,
    floats,
    scan_twice,
)
from ccnvr.firmware_bridge.transport import Transport
from ccnvr.firmware_bridge.url_options import number

WAVELENGTHS = np.arange(350.0, 2_501.0)
JOINS_NM = (1_000.0, 1_830.0)
"""Where VNIR, SWIR1 and SWIR2 meet in most instruments; the real ones are not asked for."""

# A spectrum is preceded by a header of 64 words of four bytes.
HEADER_INTS = 64
SPECTRUM_BYTES = 4 * (HEADER_INTS + WAVELENGTHS.size)
# Header, error, 200 names, 200 values, their number, and a word that is not used here.
RESTORE = struct.Struct(">ii" + "30s" * 200 + "200d" + "ii")
# Header, error, integration time, and gains and offsets of the two SWIR detectors.
OPTIMISED = struct.Struct(">7i")
SATURATION = 65_535
_TWICE_TOLERANCE = 0.02
_ERRORS = {
    -1: "not ready",
    -2: "no index marks",
    -3: "too many zeros",
    -4: "scan size",
    -8: "missing parameter",
    -10: "VNIR time-out",
    -11: "SWIR time-out",
    -18: "abort",
}
_VNIR_INTEGRATION, _VNIR_SCANS = 16, 17
# The header's words for the saturation of the three detectors: VNIR, SWIR1 and SWIR2.
_SATURATED = (20, 36, 52)


@frozen
class Spectrum:
    """The reply to an acquisition.

    `values` is `(2151,)`; the integration time is in microseconds.
    """

    values: Array
    integration_us: int
    averages: int
    saturated: bool


class FieldSpec(PolledInstrument):
    """A FieldSpec over `transport`."""

    averages_itself = True
    identify_busy_s = 10.0

    def __init__(self, transport: Transport, timeout_s: float, optimise: bool = False) -> None:
        super().__init__(transport, timeout_s)
        self._optimise = optimise

    def _identify(self) -> InstrumentInfo:
        # The instrument greets with a banner, whose length depends on the address; `settle` has
        # dropped it by now.
        names = parse_restore(self._ask("RESTORE,1", RESTORE.size))
        if self._optimise:
            _refuse_error(
                *OPTIMISED.unpack(self._ask("OPT,7", OPTIMISED.size, self.identify_busy_s))[:2]
            )
        # The integration time in force is stated only with a spectrum.
        integration_us = self._acquire(1, self.identify_busy_s).integration_us
        serial = next((value for name, value in names.items() if "serial" in name.lower()), None)
        return InstrumentInfo(
            model="ASD FieldSpec",
            serial="ASD" if serial is None else f"{serial:.0f}",
            firmware="",
            boot=boot(),
            counts_starts=False,
            wavelengths_nm=WAVELENGTHS,
            saturation_counts=SATURATION,
            shortest_integration_us=integration_us,
            longest_integration_us=integration_us,
            most_averages=1_000,
            joins_nm=JOINS_NM,
        )

    def _expose(self, kind: ScanKind, light_s: float) -> Reading:
        assert self._settings is not None
        averages, saturated = self._settings.averages, []

        def values() -> Array:
            spectrum = self._acquire(averages, light_s)
            if spectrum.integration_us != self.info.shortest_integration_us:
                raise Denied(
                    f"its integration time is {spectrum.integration_us} us now and was "
                    f"{self.info.shortest_integration_us}; start again with new references"
                )
            saturated.append(spectrum.saturated)
            return spectrum.values

        mean = scan_twice(values, _TWICE_TOLERANCE * SATURATION)
        # Only the last two entries belong to the scans that agreed.
        return Reading(mean, saturated=any(saturated[-2:]))

    def _acquire(self, averages: int, busy_s: float) -> Spectrum:
        spectrum = parse_spectrum(self._ask(f"A,1,{averages}", SPECTRUM_BYTES, busy_s))
        if spectrum.averages != averages:
            raise Garbled(f"{spectrum.averages} scans were averaged, but {averages} were asked for")
        return spectrum

    def _ask(self, command: str, size: int, busy_s: float = 0.0) -> bytes:
        self.exchange.send(command.encode())
        return self.exchange.read_exactly(size, busy_s)


def parse_restore(reply: bytes) -> dict[str, float]:
    """Return the names and values of the instrument's table.

    Raises:
        Denied: the instrument reports an error.
        Garbled: the number of entries is impossible.
    """
    header, error, *rest = RESTORE.unpack(reply)
    _refuse_error(header, error)
    names, values, (count, _) = rest[:200], rest[200:400], rest[400:]
    if not 0 <= count <= 200:
        raise Garbled(f"a table of {count} entries arrived")
    return {
        name.partition(b"\0")[0].decode("ascii", errors="replace"): value
        for name, value in zip(names[:count], values[:count], strict=True)
    }


def parse_spectrum(reply: bytes) -> Spectrum:
    """Return the spectrum in the reply to an acquisition.

    Raises:
        Denied: the instrument reports an error.
        Garbled: it is not a spectrum.
    """
    if len(reply) != SPECTRUM_BYTES:
        raise Garbled(f"{len(reply)} bytes are not a spectrum")
    header = np.frombuffer(reply, ">i4", HEADER_INTS)
    _refuse_error(int(header[0]), int(header[1]))
    values = floats(reply, ">f4", 4 * HEADER_INTS)
    step = int(header[_VNIR_INTEGRATION])
    # Written so that a NaN fails the comparison and is refused with the rest.
    if not -1 <= step <= 15 or not np.all(np.abs(values) <= 2 * SATURATION):
        raise Garbled(
            f"a spectrum with integration step {step} or values beyond {2 * SATURATION} arrived"
        )
    saturated = bool(np.any(header[list(_SATURATED)] != 0))
    # The VNIR detector integrates for 17 ms times a power of two.
    return Spectrum(values, round(17_000 * 2.0**step), int(header[_VNIR_SCANS]), saturated)


def _refuse_error(header: int, error: int) -> None:
    if error:
        raise Denied(f"the instrument reports error {error} ({_ERRORS.get(error, 'unknown')})")


def create(transport: Transport, options: dict[str, str], timeout_s: float) -> FieldSpec:
    """Return a driver over `transport`.

    The only option is `optimise`; with 1, the instrument optimises its integration time first.
    """
    return FieldSpec(transport, timeout_s, bool(number(options, "optimise", 0, 0, 1)))


def probe(transport: Transport, timeout_s: float) -> str | None:
    """Return the size of the parameter table if it is that of a FieldSpec; None otherwise."""
    spectrometer = FieldSpec(transport, timeout_s)
    try:
        spectrometer.exchange.settle()
        names = parse_restore(spectrometer._ask("RESTORE,1", RESTORE.size))
    except Trouble:
        return None
    return f"ASD FieldSpec with {len(names)} parameters"

"""The registry of drivers, and how a URL becomes an open instrument.

URLs are, for example, `serial:///dev/ttyUSB0?driver=obp&baud=9600`,
`socket://10.1.1.11:8080?driver=asd` and `sim://?driver=obp&faults=flip@10%`. Without `driver=` the
instrument speaks the ccnvr link.

Drivers are named, and not imported before one is asked for. The module of a driver has the
functions of `DriverModule`; that of its simulator has `make(seed, pace) -> SimulatedDevice`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Protocol, cast
from urllib.parse import urlencode

from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import Instrument
from ccnvr.firmware_bridge.link_constants import DEFAULT_BAUD, REPLY_MS
from ccnvr.firmware_bridge.transport import MODEM_LINES, SerialTransport, Transport, split_url

PROBE_S = 0.3
"""How long to wait for the answer to a probe."""


class DriverModule(Protocol):
    """The functions that the module of a driver offers."""

    def create(self, transport: Transport, options: dict[str, str], timeout_s: float) -> Instrument:
        """Return a driver over `transport`.

        `options` are those in the URL, of the names that the registry lists.
        """
        ...

    def probe(self, transport: Transport, timeout_s: float) -> str | None:
        """Ask one harmless question, once, and say what answers if it belongs to this driver."""
        ...


@frozen
class Driver:
    """An entry of the registry.

    `module` and `simulator` are names of modules below `ccnvr.firmware_bridge`. `baud` is the rate
    that the instrument starts with, None if it is reached over TCP only. `profile` names the
    instrument profile of a driver that has one.
    """

    name: str
    summary: str
    module: str
    simulator: str
    baud: int | None
    timeout_s: float = 1.0
    options: tuple[str, ...] = ()
    profile: str | None = None

    def load(self) -> DriverModule:
        """Return the module of the driver, or what it makes of the instrument profile."""
        module = importlib.import_module(f"ccnvr.firmware_bridge.{self.module}")
        return cast(
            DriverModule, module if self.profile is None else module.for_profile(self.profile)
        )


DRIVERS = {
    driver.name: driver
    for driver in (
        # Frames with checksums, which other instruments hardly take for commands.
        Driver(
            "ccnvr",
            "instruments that speak the ccnvr link",
            "link.driver",
            "simulators.handheld",
            DEFAULT_BAUD,
            timeout_s=REPLY_MS / 1000.0,
            options=("fast_baud",),
        ),
        Driver(
            "obp",
            "Ocean Binary Protocol: STS, Flame, HDX, SR, ST",
            "drivers.obp",
            "simulators.obp",
            9_600,
            options=("fast_baud", "saturation"),
        ),
        Driver(
            "nirscan",
            "TI DLP NIRscan Nano and its relatives",
            "drivers.nirscan",
            "simulators.nirscan",
            115_200,
        ),
        # Single letters and bytes, which instruments with lines of text ignore or refuse.
        Driver(
            "ooi",
            "Ocean's older letter commands: USB2000+, USB4000",
            "drivers.ooi",
            "simulators.ooi",
            9_600,
            options=("coefficients", "serial", "pixels"),
        ),
        Driver(
            "chromation",
            "Chromation dev-kit",
            "drivers.chromation",
            "simulators.chromation",
            115_200,
            options=("coefficients",),
        ),
        # Lines of text, after whose end a device does not wait for more.
        Driver(
            "as7265x",
            "ams AS7265x over AT commands: 18 bands",
            "drivers.as7265x",
            "simulators.as7265x",
            115_200,
        ),
        Driver(
            "nirone",
            "Spectral Engines NIRONE Sensor S and X",
            "drivers.nirone",
            "simulators.nirone",
            115_200,
            options=("saturation", "byteorder", "points"),
        ),
        *(
            Driver(
                name,
                summary,
                "drivers.lines",
                "simulators.lines",
                115_200,
                options=("coefficients",),
                profile=name,
            )
            for name, summary in (
                ("multispeq", "PhotosynQ MultispeQ: LED bands, JSON lines with CRC-32"),
                ("minispec", "UFZ MiniSpec with Hamamatsu C12880MA"),
                ("luxnode", "LuxNode boards: JSON lines"),
                ("c12880ma", "Arduino boards with Hamamatsu C12880MA: CSV lines"),
            )
        ),
        # Reached over TCP only, so that no serial port is asked for it.
        Driver(
            "asd",
            "ASD FieldSpec 3 and 4, over TCP",
            "drivers.asd",
            "simulators.asd",
            None,
            options=("optimise",),
        ),
    )
}
"""The drivers by name, in the order in which an unknown instrument is asked.

The drivers whose question is least likely to upset another instrument come first.
"""


def open_instrument(url: str) -> Instrument:
    """Open the port that `url` names, with the driver that it names.

    Call `identify` on the instrument next, then `configure` and `scan`.

    Raises:
        UsageError: the URL is malformed.
        PortError: the port cannot be opened.
    """
    parts, _ = split_url(url)
    if parts.scheme == "sim":
        # Here and not above: simulators are imported only if a URL asks for one, and sim_url needs
        # this module.
        from ccnvr.firmware_bridge.connect.sim_url import open_simulated

        return open_simulated(url)
    if parts.scheme == "seabreeze":
        from ccnvr.firmware_bridge.drivers.seabreeze import open_usb

        return open_usb(url)
    driver, port, options = resolve(url)
    transport = SerialTransport(port)
    try:
        return driver.load().create(transport, options, driver.timeout_s)
    except CcnvrError:
        transport.close()
        raise


def find(name: str) -> Driver:
    """Return the driver of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in DRIVERS:
        raise UsageError(f"driver {name!r} is unknown; the drivers are {', '.join(DRIVERS)}")
    return DRIVERS[name]


def resolve(url: str) -> tuple[Driver, str, dict[str, str]]:
    """Return the driver of a URL, the URL of the port alone, and the options for the driver.

    Raises:
        UsageError: the driver is unknown, or cannot be reached in this way.
    """
    parts, options = split_url(url)
    driver = find(options.pop("driver", "ccnvr"))
    port, baud = url.partition("?")[0], options.pop("baud", None)
    of_port = {}
    if parts.scheme == "serial":
        of_port = {name: options.pop(name) for name in MODEM_LINES if name in options}
    if driver.baud is None and parts.scheme == "serial":
        raise UsageError(
            f"driver {driver.name} speaks over TCP only; write "
            f"socket://HOST:PORT?driver={driver.name}"
        )
    for name in options:
        if name not in driver.options:
            known = ", ".join(
                ("driver", "baud", *MODEM_LINES, *driver.options)
                if parts.scheme == "serial"
                else ("driver", *driver.options)
            )
            raise UsageError(
                f"option {name!r} in {url!r} is unknown; this instrument's options are {known}"
            )
    if parts.scheme == "serial":
        # SerialTransport opens ports at the link's rate if the URL names none.
        if baud is not None or driver.baud != DEFAULT_BAUD:
            of_port["baud"] = str(baud or driver.baud)
        if of_port:
            port += f"?{urlencode(of_port)}"
    elif baud is not None:
        raise UsageError(f"option 'baud' in {url!r} means nothing over TCP; leave it out")
    return driver, port, options


def with_options_of(url: str, port: str) -> str:
    """Return the URL of another port with the driver and the driver's options that `url` names."""
    # The rate and the modem lines are those of the port in `url`, and not of the one that takes its
    # place.
    options = {
        name: value
        for name, value in split_url(url)[1].items()
        if name not in ("baud", *MODEM_LINES)
    }
    return port + ("?" + urlencode(options, safe=",") if options else "")


def probe(
    url: str, names: Iterable[str] = tuple(DRIVERS), timeout_s: float = PROBE_S
) -> tuple[Driver, str] | None:
    """Ask the port of `url` for each driver in turn.

    Return the first driver that recognises its instrument, and what it says; None if there is none.

    Raises:
        PortError: the port cannot be opened.
    """
    parts, options = split_url(url)
    port = url.partition("?")[0]
    lines = {name: options[name] for name in MODEM_LINES if name in options}
    for name in names:
        driver = find(name)
        if parts.scheme == "serial" and driver.baud is None:
            continue
        # Opened again for each driver, because each instrument starts at a rate of its own.
        transport = SerialTransport(
            f"{port}?{urlencode({'baud': driver.baud, **lines})}"
            if parts.scheme == "serial"
            else port
        )
        try:
            found = driver.load().probe(transport, timeout_s)
        finally:
            transport.close()
        if found is not None:
            return driver, found
    return None

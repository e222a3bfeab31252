"""`sim://`: an instrument and its simulator in one process, on a real pseudo-terminal or socket.

This is the only module outside `simulators` and `serving` that imports a simulator.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from ccnvr.firmware_bridge.connect.registry import Driver, find
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import Instrument
from ccnvr.firmware_bridge.serving import faults
from ccnvr.firmware_bridge.serving.port import PtyPort, TcpPort
from ccnvr.firmware_bridge.serving.server import BackgroundServer, SimulatedInstrument
from ccnvr.firmware_bridge.simulators.bench import SimulatedDevice
from ccnvr.firmware_bridge.transport import SerialTransport, split_url


def open_simulated(url: str) -> Instrument:
    """Start a simulator in this process and open it.

    The options are `driver`, `seed`, `pace`, `faults` and those of the driver.

    Raises:
        UsageError: an option is unknown or malformed.
    """
    parts, given = split_url(url)
    driver = find(given.pop("driver", "ccnvr"))
    script = given.pop("faults", "")
    try:
        seed, pace = int(given.pop("seed", "1")), float(given.pop("pace", "1"))
    except ValueError:
        raise UsageError(
            f"seed and pace in {url!r} must be numbers, as in sim://?seed=1&pace=0; correct them"
        ) from None
    # Options left over are the driver's own, or misspelt.
    rest = [name for name in given if name not in driver.options]
    if rest or parts.netloc or parts.path or seed < 0 or not 0.0 <= pace <= 100.0:
        raise UsageError(
            f"instrument {url!r} is not sim://?driver=NAME&seed=N&pace=X&faults=SCRIPT with N "
            "from 0 and X from 0 to 100"
        )
    device = simulate(driver, seed, pace)
    line = faults.Line(device, faults.parse(script), seed)
    # A real port, so that what works here also works with an instrument: time-outs, hang-ups,
    # rates.
    server = BackgroundServer(TcpPort("127.0.0.1", 0) if driver.baud is None else PtyPort(), line)
    try:
        port = server.url if driver.baud is None else f"{server.url}?baud={driver.baud}"
        instrument = driver.load().create(SerialTransport(port), given, driver.timeout_s)
    # If the driver refuses its options, nobody else would end the thread of the server.
    except BaseException:
        server.close()
        raise
    return SimulatedInstrument(instrument, device.bench, server)


def simulate(driver: Driver, seed: int = 1, pace: float = 0.0) -> SimulatedDevice:
    """Return a simulated instrument of the kind that `driver` speaks to.

    `seed` determines its noise; `pace` scales the time of an acquisition: 1 is real time, 0 none.
    """
    module = importlib.import_module(f"ccnvr.firmware_bridge.{driver.simulator}")
    make: Callable[[int, float], SimulatedDevice] = (
        module.make if driver.profile is None else module.maker(driver.profile)
    )
    return make(seed, pace)

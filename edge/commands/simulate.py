"""Be a virtual instrument: print the URL of a pseudo-terminal or TCP port and answer there until
interrupted.

Simulated: counts with photon and read noise from the reflectance of --spectra, or of made-up soils.
SIGUSR1 presses the
instrument's button. With --replay: the answers of a real session that ccnvr record wrote down, to a
host that asks as it was asked then.
"""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES
from ccnvr.edge.spectrum_files.tables.text_table import read_spectra
from ccnvr.firmware_bridge.connect import registry as drivers
from ccnvr.firmware_bridge.connect.sim_url import simulate
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.serving import faults, replay
from ccnvr.firmware_bridge.serving.port import serve_at
from ccnvr.firmware_bridge.serving.recording import read_recording
from ccnvr.firmware_bridge.serving.server import serve
from ccnvr.firmware_bridge.simulators.bench import SimulatedDevice
from ccnvr.firmware_bridge.simulators.handheld import (
    SimulatedHandheld,
    SimulatedSpectrometer,
    new_boot,
    onto_pixels,
    synthetic_soils,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr simulate`."""
    names = ", ".join(drivers.DRIVERS)
    parser.add_argument(
        "--driver", default="ccnvr", metavar="NAME", help=f"which instrument to be: {names} (ccnvr)"
    )
    parser.add_argument(
        "--faults",
        default="",
        metavar="SCRIPT",
        help="faults of line and instrument, as flip@10%%,hangup@50",
    )
    parser.add_argument(
        "--link",
        type=Path,
        metavar="PATH",
        help="a name for the port that stays when it is unplugged",
    )
    parser.add_argument(
        "--acquisitions",
        type=int,
        default=1,
        metavar="N",
        help="acquisitions after which the operator moves on (1)",
    )
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="play back what ccnvr record wrote (--listen, --pace)",
    )
    parser.add_argument(
        "--spectra",
        type=Path,
        metavar="FILE",
        help="CSV of spectra that the instrument sees in turn",
    )
    parser.add_argument(
        "--quantity",
        choices=QUANTITIES,
        default="reflectance",
        help="what the file holds (reflectance)",
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="serve TCP here instead of a pseudo-terminal; port 0 takes any",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the noise (1)")
    parser.add_argument(
        "--boot", type=int, help="the boot counter that it states (another at each start)"
    )
    parser.add_argument(
        "--pace",
        type=float,
        default=1.0,
        help="duration of a scan, 1 = as long as a real one, 0 = none (1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    if arguments.boot is None:
        arguments.boot = new_boot()
    for name, value, high in (
        ("seed", arguments.seed, 2**63),
        ("boot", arguments.boot, 2**32),
        ("pace", arguments.pace, 100),
        ("acquisitions", arguments.acquisitions, 100_000),
    ):
        if not 0 <= value < high:
            raise UsageError(f"--{name} {value} is not from 0 to below {high}; choose another")
    if arguments.replay is not None:
        return _replay(arguments)
    device = _device(arguments)
    device.bench.acquisitions = arguments.acquisitions
    line = faults.Line(device, faults.parse(arguments.faults), arguments.seed)
    signal.signal(signal.SIGUSR1, lambda *_: device.press())
    stop = _stopped_by_signals()
    port = serve_at(arguments.listen, arguments.link)
    try:
        # The first line is for scripts: they read it and know that the instrument answers.
        print(port.url, flush=True)
        serve(port, line, stop)
    finally:
        port.close()
    return 0


def _device(arguments: argparse.Namespace) -> SimulatedDevice:
    driver = drivers.find(arguments.driver)
    if driver.baud is None and arguments.listen is None:
        raise UsageError(f"driver {driver.name} speaks over TCP only; add --listen 127.0.0.1:0")
    if driver.name != "ccnvr":
        if arguments.spectra is not None:
            raise UsageError(
                f"--spectra is for the ccnvr link's instrument, not for {driver.name}, which sees "
                "made-up soils"
            )
        return simulate(driver, arguments.seed, arguments.pace)
    if arguments.spectra is None:
        soils = synthetic_soils(20, arguments.seed)
    else:
        table = read_spectra(arguments.spectra)
        soils = onto_pixels(table.wavelengths_nm, table.reflectance(arguments.quantity))
    detector = SimulatedSpectrometer(
        soils, seed=arguments.seed, boot=arguments.boot, pace=arguments.pace
    )
    return SimulatedHandheld(detector)


def _replay(arguments: argparse.Namespace) -> int:
    if arguments.spectra is not None:
        raise UsageError(
            "--replay answers what was recorded and cannot look at --spectra; give one of them"
        )
    recording = read_recording(arguments.replay)
    player, stop = replay.replay_of(recording), _stopped_by_signals()
    port = serve_at(arguments.listen, arguments.link)
    try:
        print(drivers.with_options_of(recording.url, port.url), flush=True)
        replay.serve(port, player, arguments.pace, stop)
    finally:
        port.close()
    return 0


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop

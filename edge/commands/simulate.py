"""Simulate an instrument: print the URL of a pseudo-terminal or TCP port, and answer there.

The simulation computes counts with photon and read noise from the reflectance of --spectra, or of
synthetic soils; SIGUSR1 presses the instrument's button. With --replay, the command instead gives
the recorded answers of a session that ccnvr record wrote, to a host that asks as it was asked then.
It runs until it is interrupted.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from ccnvr.edge.commands.arguments import whole_number
from ccnvr.edge.commands.signals import stop_on_signals
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
    """Add the options of `ccnvr simulate`."""
    _add_instrument(parser)
    _add_line(parser)


def _add_instrument(parser: argparse.ArgumentParser) -> None:
    """Add what is simulated, and what it sees."""
    names = ", ".join(drivers.DRIVERS)
    parser.add_argument(
        "--driver",
        default="ccnvr",
        metavar="NAME",
        help=f"the instrument to simulate: {names} (ccnvr)",
    )
    parser.add_argument(
        "--spectra",
        type=Path,
        metavar="FILE",
        help="CSV file of the spectra that the instrument sees in turn",
    )
    parser.add_argument(
        "--quantity",
        choices=QUANTITIES,
        default="reflectance",
        help="what the file of --spectra holds (reflectance)",
    )
    parser.add_argument(
        "--acquisitions",
        type=whole_number(1, 100_000),
        default=1,
        metavar="N",
        help="scans of each soil before the operator goes on to the next (1)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the noise (1)")
    parser.add_argument(
        "--boot",
        type=int,
        help="the boot counter that the instrument states (another one at each start)",
    )


def _add_line(parser: argparse.ArgumentParser) -> None:
    """Add where the instrument is served, and how its line behaves."""
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="serve over TCP here instead of on a pseudo-terminal; port 0 takes any free port",
    )
    parser.add_argument(
        "--link",
        type=Path,
        metavar="PATH",
        help="a symbolic link to the port that stays when the instrument is unplugged",
    )
    parser.add_argument(
        "--faults",
        default="",
        metavar="SCRIPT",
        help="faults of the line and the instrument, such as flip@10%%,hangup@50",
    )
    parser.add_argument(
        "--pace",
        type=float,
        default=1.0,
        help="duration of a scan: 1 is that of a real one, 0 is none (1)",
    )
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="play back a file of ccnvr record; with --listen and --pace only",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    # Random unless stated: a host takes scans of an equal boot and number for the same scan.
    if arguments.boot is None:
        arguments.boot = new_boot()
    for name, value, limit in (
        ("seed", arguments.seed, 2**63),
        ("boot", arguments.boot, 2**32),
        ("pace", arguments.pace, 100),
    ):
        if not 0 <= value < limit:
            raise UsageError(
                f"--{name} {value} is out of range; give a value from 0 to below {limit}"
            )
    return _serve_recording(arguments) if arguments.replay else _serve_simulation(arguments)


def _serve_simulation(arguments: argparse.Namespace) -> int:
    device = _device(arguments)
    device.bench.acquisitions = arguments.acquisitions
    line = faults.Line(device, faults.parse(arguments.faults), arguments.seed)
    # A signal, because standard input is not free where a service manager runs the simulator.
    signal.signal(signal.SIGUSR1, lambda *_: device.press())
    stop = stop_on_signals()
    port = serve_at(arguments.listen, arguments.link)
    try:
        # Scripts wait for this line: from here on, the instrument answers.
        print(port.url, flush=True)
        serve(port, line, stop)
    finally:
        port.close()
    return 0


def _device(arguments: argparse.Namespace) -> SimulatedDevice:
    driver = drivers.find(arguments.driver)
    if driver.baud is None and arguments.listen is None:
        raise UsageError(f"driver {driver.name} speaks TCP only; add --listen 127.0.0.1:0")
    table = None if arguments.spectra is None else read_spectra(arguments.spectra)
    if driver.name != "ccnvr":
        device = simulate(driver, arguments.seed, arguments.pace)
        if table is not None:
            device.bench.see(table.wavelengths_nm, table.reflectance(arguments.quantity))
        return device
    if table is None:
        soils = synthetic_soils(20, arguments.seed)
    else:
        soils = onto_pixels(table.wavelengths_nm, table.reflectance(arguments.quantity))
    detector = SimulatedSpectrometer(
        soils, seed=arguments.seed, boot=arguments.boot, pace=arguments.pace
    )
    return SimulatedHandheld(detector)


def _serve_recording(arguments: argparse.Namespace) -> int:
    if arguments.spectra is not None:
        raise UsageError(
            "--replay gives recorded answers and cannot look at --spectra; leave one of them out"
        )
    recording = read_recording(arguments.replay)
    player, stop = replay.replay_of(recording), stop_on_signals()
    port = serve_at(arguments.listen, arguments.link)
    try:
        # The options of the recorded URL, such as the driver, hold for the replay as well.
        print(drivers.with_options_of(recording.url, port.url), flush=True)
        replay.serve(port, player, arguments.pace, stop)
    finally:
        port.close()
    return 0

"""Predict real soils through a simulated handheld spectrometer on a real pseudo-terminal.

The demo takes the whole way from serial bytes to predictions, and prints each prediction beside
the laboratory's value. The soils come from a part of LimeSoDa that the default bundle was not
trained on; the instrument and its noise are simulated.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from ccnvr.edge.atomic_files import check_absent, check_writable, write_atomically
from ccnvr.edge.chemometrics.grid import check_wavelengths, naming_source
from ccnvr.edge.commands.arguments import BUNDLE_HELP, add_model_choice, whole_number
from ccnvr.edge.daemon import config as configuration
from ccnvr.edge.daemon import main_loop
from ccnvr.edge.demo.reports import JsonReport, TextReport
from ccnvr.edge.demo.simulator_process import simulator_process
from ccnvr.edge.demo.soils import choose_soils, to_csv
from ccnvr.edge.inference.models import load_bundle
from ccnvr.firmware_bridge.simulators.handheld import pixel_wavelengths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr demo`."""
    parser.add_argument(
        "--spectra",
        type=whole_number(1, 89),
        default=20,
        metavar="N",
        help="how many soils to predict, 1 to 89 (20)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**31),
        default=1,
        help="seed of the choice of soils and of the noise (1)",
    )
    parser.add_argument("--bundle", default="default", metavar="FILE", help=BUNDLE_HELP)
    add_model_choice(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per line, with a summary last"
    )
    parser.add_argument(
        "--save-soils",
        type=Path,
        metavar="FILE",
        help="only write the soils' reflectance to a new CSV file",
    )


def run(arguments: argparse.Namespace) -> int:
    """Start the simulator and the daemon, print the predictions and a summary."""
    if arguments.save_soils is not None:
        check_absent(arguments.save_soils, "--save-soils")
        check_writable(arguments.save_soils)
    soils = choose_soils(arguments.spectra, arguments.seed)
    if arguments.save_soils is not None:
        with write_atomically(arguments.save_soils) as stream:
            stream.write(to_csv(soils).encode())
        return 0
    # Opened here as well as by the daemon: the report needs the targets before the first record.
    named = load_bundle(arguments.bundle, arguments.engine, arguments.profile)
    with naming_source(f"--bundle {arguments.bundle}"):
        model = named.for_wavelengths(pixel_wavelengths())
        check_wavelengths(pixel_wavelengths(), model.bundle.manifest.preprocessing.grid)
    report = (JsonReport if arguments.json else TextReport)(soils, model.bundle.manifest.targets)
    with tempfile.TemporaryDirectory(prefix="ccnvr-demo-") as folder:
        table = Path(folder) / "soils.csv"
        table.write_text(to_csv(soils))
        with simulator_process(table, arguments.seed) as url:
            settings = configuration.load(
                None,
                {
                    "instrument": {"url": url},
                    "model": {
                        "bundle": model.bundle.source,
                        "engine": arguments.engine,
                        "profile": arguments.profile,
                    },
                    "store": {"path": f"{folder}/demo.sqlite"},
                },
            )
            report.begin(url, model.choice)
            result = main_loop.run(settings, len(soils), report.record)
    report.end(result)
    return 0 if result.predicted == len(soils) else 1

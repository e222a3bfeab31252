"""Quantize a finished training run to int8: ranges by the percentile of the activations, and with
--epochs further training with int8 weights and activations. Fitted to training soils, chosen on a
fold of them; the tests stay untouched.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ccnvr.edge.commands.arguments import number, whole_number
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.libraries.soils import Split
from ccnvr.train.quantization import run as quantized_run
from ccnvr.train.quantization.run import PERCENTILES, Quantized, Report, Settings
from ccnvr.train.quantization.sensitivity import Cost, costs
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import folder as run_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr quantize`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished ccnvr train")
    parser.add_argument(
        "--percentile",
        type=number(50.0, 100.0),
        action="append",
        metavar="P",
        help="range of the activations to try, may be given again "
        f"({', '.join(f'{p:g}' for p in PERCENTILES)})",
    )
    parser.add_argument(
        "--epochs",
        type=whole_number(0, 1000),
        default=0,
        help="of quantization-aware training (0: none)",
    )
    parser.add_argument(
        "--learning-rate",
        type=number(1e-7, 1.0),
        default=Settings.learning_rate,
        help=f"its ({Settings.learning_rate:g})",
    )
    parser.add_argument("--sensitivity", action="store_true", help="print what each tensor costs")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Quantize, keep the networks in the run's folder and print the figures."""
    torch.set_num_threads(1)
    recipe, calibration, report = run_folder.load(arguments.run)
    soils = quantized_run.calibration_split(
        recipe, run_folder.training_soils(arguments.run, recipe, report)
    )
    settings = Settings(
        tuple(arguments.percentile or PERCENTILES), arguments.epochs, arguments.learning_rate
    )
    try:
        quantized = with_progress(arguments.run, recipe, calibration, soils, settings)
    except KeyboardInterrupt:
        again = "goes on after the last finished epoch" if settings.epochs else "begins anew"
        raise CcnvrError(f"interrupted; the same command {again}") from None
    found = costs(recipe, calibration, quantized, soils) if arguments.sensitivity else []
    if arguments.json:
        print(
            json.dumps({**asdict(quantized.report), "sensitivity": [asdict(one) for one in found]})
        )
        return 0
    _print(quantized.report)
    if found:
        _print_costs(found)
    print(f"\nnext: {run_folder.export_command(arguments.run)}")
    return 0


def with_progress(
    folder: Path, recipe: TrainingRecipe, calibration: Calibration, soils: Split, settings: Settings
) -> Quantized:
    """`quantized_run.quantize` with a progress bar on standard error."""
    # In a log file, a line a minute.
    pause = 0.1 if sys.stderr.isatty() else 60.0
    spectra = len(soils.train.spectra) * (1 + settings.epochs)
    with tqdm(total=spectra, unit="spectra", desc="quantizing", mininterval=pause) as bar:
        return quantized_run.quantize(
            folder, recipe, calibration, soils, settings, lambda count: _advance(bar, count)
        )


def _advance(bar: tqdm[Any], count: int) -> None:
    bar.update(count)


def _print(report: Report) -> None:
    print(
        f"ranges and rounding from {report.calibration_soils} training soils, chosen on "
        f"{report.validation_soils} others"
    )
    print("\nprofile  percentile  epochs  difference from fp32, rms in sd")
    print(f"weights           -       -  {report.weights_difference:.5f}")
    for number_, candidate in enumerate(report.candidates):
        kept = "  kept" if number_ == report.chosen else ""
        print(
            f"int8     {candidate.percentile:>10g}  {candidate.epochs:>6}  "
            f"{candidate.difference:.5f}{kept}"
        )


def _print_costs(found: list[Cost]) -> None:
    properties = list(found[0].rmse_increase)
    print(
        "\nthis tensor alone as int8: rms difference from fp32, and increase of the RMSE, in sd, "
        "on the soils it was chosen on"
    )
    print(
        f"{'tensor':<24}{'numbers':>9}{'difference':>12}"
        + "".join(f"{name:>10}" for name in properties)
    )
    for cost in found:
        increases = "".join(f"{cost.rmse_increase[name]:>+10.5f}" for name in properties)
        print(f"{cost.tensor:<24}{cost.numbers:>9}{cost.difference:>12.5f}{increases}")

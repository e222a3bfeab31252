"""Quantize the network of a finished training run to int8.

The ranges of the activations are taken from their percentiles; with --epochs the network is trained
further with int8 weights and activations. Training soils are used for the fit and, in a fold of
their own, for the choice; the run's tests stay untouched.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from ccnvr.edge.commands.arguments import number, whole_number
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.quantization.aware import check_has_network
from ccnvr.train.quantization.kept import QuantizationReport
from ccnvr.train.quantization.run import (
    PERCENTILES,
    QuantizationSettings,
    calibration_split,
    quantize_with_progress,
)
from ccnvr.train.quantization.sensitivity import Cost, costs
from ccnvr.train.runs import folder as run_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr quantize`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished ccnvr train")
    parser.add_argument(
        "--percentile",
        type=number(50.0, 100.0),
        action="append",
        metavar="P",
        help="percentile of the activations to try as their range, may be repeated "
        f"({', '.join(f'{p:g}' for p in PERCENTILES)})",
    )
    parser.add_argument(
        "--epochs",
        type=whole_number(0, 1000),
        default=0,
        help="epochs of quantization-aware training (0: none)",
    )
    parser.add_argument(
        "--learning-rate",
        type=number(1e-7, 1.0),
        default=QuantizationSettings.learning_rate,
        help=f"learning rate of that training ({QuantizationSettings.learning_rate:g})",
    )
    parser.add_argument(
        "--sensitivity", action="store_true", help="print the cost of quantizing each tensor"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Quantize, keep the networks in the run's folder and print the figures."""
    # More threads would change the order of sums, and the networks with it.
    torch.set_num_threads(1)
    recipe, calibration, report = run_folder.load(arguments.run)
    if arguments.epochs:
        check_has_network(calibration.network.config)
    soils = calibration_split(recipe, run_folder.training_soils(arguments.run, recipe, report))
    settings = QuantizationSettings(
        tuple(arguments.percentile or PERCENTILES), arguments.epochs, arguments.learning_rate
    )
    try:
        quantized = quantize_with_progress(arguments.run, recipe, calibration, soils, settings)
    except KeyboardInterrupt:
        # Only training keeps a checkpoint; ranges and rounding take seconds.
        again = "continues after the last finished epoch" if settings.epochs else "starts again"
        raise CcnvrError(f"interrupted; the same command {again}") from None
    # Only on request: each tensor alone takes a pass over the validation soils.
    found = costs(recipe, calibration, quantized, soils) if arguments.sensitivity else []
    if arguments.json:
        sensitivity = [asdict(cost) for cost in found]
        print(json.dumps({**asdict(quantized.report), "sensitivity": sensitivity}))
        return 0
    _print_report(quantized.report)
    if found:
        _print_costs(found)
    print(f"\nnext: {run_folder.export_command(arguments.run)}")
    return 0


def _print_report(report: QuantizationReport) -> None:
    print(
        f"ranges and rounding from {report.calibration_soils} training soils, chosen on "
        f"{report.validation_soils} others"
    )
    print("\nprofile  percentile  epochs  difference from fp32, rms in sd")
    print(f"weights           -       -  {report.weights_difference:.5f}")
    for index, candidate in enumerate(report.candidates):
        kept = "  kept" if index == report.chosen else ""
        print(
            f"int8     {candidate.percentile:>10g}  {candidate.epochs:>6}  "
            f"{candidate.difference:.5f}{kept}"
        )


def _print_costs(found: Sequence[Cost]) -> None:
    properties = list(found[0].rmse_increase)
    print(
        "\neach tensor alone as int8: rms difference from fp32, and increase of the RMSE, in sd, "
        "on the soils that the choice was made on"
    )
    columns = "".join(f"{name:>10}" for name in properties)
    print(f"{'tensor':<24}{'numbers':>9}{'difference':>12}{columns}")
    for cost in found:
        increases = "".join(f"{cost.rmse_increase[name]:>+10.5f}" for name in properties)
        print(f"{cost.tensor:<24}{cost.numbers:>9}{cost.difference:>12.5f}{increases}")

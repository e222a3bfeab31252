"""Fine-tune a model on 10 to 100 soils of your own with laboratory values.

A Gaussian process of your soils is fitted around the predictions of the model, beside members that
know your soils alone. The command prints what each of them gains on your soils, predicted without
them, keeps what cross-validation prefers, and leaves a run for ccnvr export.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from ccnvr.edge.chemometrics.metrics import AccuracyTable, accuracy_table
from ccnvr.edge.commands.arguments import BUNDLE_HELP, number, whole_number
from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES
from ccnvr.edge.standard_error import tell
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.calibration.domain import FEWEST_SOILS
from ccnvr.train.calibration.finetuning import LAYERS
from ccnvr.train.recipe.settings import FEWEST_FOR_NETWORK
from ccnvr.train.runs import finetune, member_report
from ccnvr.train.runs.folder import export_command
from ccnvr.train.runs.outcome import NETWORK, FinetuningOutcome, FinetuningSettings

WARNING = "warning: "
"""How a line begins that goes to standard error."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr finetune`."""
    parser.add_argument(
        "base",
        metavar="BASE",
        help=f"{BUNDLE_HELP}, or the folder of a finished ccnvr train",
    )
    parser.add_argument(
        "soils",
        type=Path,
        metavar="SOILS",
        help="your soils: CSV or Parquet, with columns of values such as OC and pH",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="RUN", help="folder for the fine-tuned run"
    )
    parser.add_argument(
        "--quantity",
        choices=QUANTITIES,
        default="reflectance",
        help="what the file holds (reflectance, 0 to 1)",
    )
    parser.add_argument(
        "--network",
        choices=NETWORK,
        default=FinetuningSettings.network,
        help="tune the model's network too, and keep it if it is of use; auto: from "
        f"{FEWEST_FOR_NETWORK} soils on ({FinetuningSettings.network})",
    )
    parser.add_argument(
        "--layers",
        choices=LAYERS,
        default=FinetuningSettings.layers,
        help=f"layers of the network to tune ({FinetuningSettings.layers})",
    )
    parser.add_argument(
        "--epochs",
        type=whole_number(1, 10_000),
        default=FinetuningSettings.epochs,
        help=f"epochs of each tuned network ({FinetuningSettings.epochs})",
    )
    parser.add_argument(
        "--learning-rate",
        type=number(1e-7, 1.0),
        default=FinetuningSettings.learning_rate,
        help=f"highest learning rate ({FinetuningSettings.learning_rate:g})",
    )
    parser.add_argument(
        "--folds",
        type=whole_number(2, 20),
        default=FinetuningSettings.folds,
        help=f"most folds, each of at least 4 soils ({FinetuningSettings.folds})",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**31 - 1),
        default=FinetuningSettings.seed,
        help=f"seed ({FinetuningSettings.seed})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune, and print the accuracy before and after, with notes."""
    # Networks are small: more threads gain nothing, and change sums in their last bits.
    torch.set_num_threads(1)
    settings = FinetuningSettings(
        arguments.layers,
        arguments.epochs,
        arguments.learning_rate,
        arguments.folds,
        arguments.seed,
        arguments.network,
    )
    try:
        outcome = finetune.finetune(
            arguments.base, arguments.soils, arguments.out, settings, quantity=arguments.quantity
        )
    # It takes about a minute and keeps no checkpoint, unlike a training.
    except KeyboardInterrupt:
        raise CcnvrError("interrupted; the same command starts again") from None
    lines = [*_text(outcome), "", *_notes(outcome), _advice(outcome, arguments.base)]
    print("\n".join(line for line in lines if not line.startswith(WARNING)), flush=True)
    # Apart from the figures, which may go into a file.
    for line in lines:
        if line.startswith(WARNING):
            tell(line, logging.WARNING)
    print(f"next, to use the fine-tuned model: {export_command(arguments.out)}")
    return 0


def _advice(outcome: FinetuningOutcome, base: str) -> str:
    """Return which model to use, by the RMSE on the user's soils."""
    worse = outcome.no_better()
    better = [name for name in outcome.soils.properties if name not in worse]
    if not worse:
        return f"use the fine-tuned model: its RMSE is lower than that of {base} as it is"
    if not better:
        return (
            f"go on using {base}: fine-tuning did not help, since the RMSE of "
            f"{', '.join(worse)} is not lower than that of the model as it is"
        )
    return (
        f"use the fine-tuned model for {', '.join(better)}, and {base} for {', '.join(worse)}: "
        "there fine-tuning did not help, since the RMSE is not lower than that of the model as it "
        "is"
    )


def _text(outcome: FinetuningOutcome) -> list[str]:
    tuned = ", ".join(outcome.soils.properties)
    lines = [f"{outcome.count} soils, {outcome.folds} folds; fine-tuned for {tuned}"]
    for reason in dict.fromkeys(outcome.left_out.values()):
        names = [name for name, why in outcome.left_out.items() if why == reason]
        lines.append(f"left out: {', '.join(names)} ({reason})")
    lines += [
        "",
        "accuracy on your soils, each predicted by a model that was fitted without it",
        accuracy_table(_rows(outcome), "model"),
        "",
    ]
    return [*lines, *member_report.table(outcome.report.training["members"])]


def _notes(outcome: FinetuningOutcome) -> list[str]:
    """Return what a user has to know of the figures and of the model."""
    notes, seen = [], outcome.seen_before
    if seen:
        notes.append(
            f"warning: the model was trained on {len(seen)} of these spectra before, {seen[0]} "
            "among them, so all of these figures are too good"
        )
    if outcome.not_compared:
        notes.append(
            f"not checked whether your soils are also in {', '.join(outcome.not_compared)} (not "
            "at hand, or too large to read now)"
        )
    if useless := outcome.useless():
        notes.append(
            f"warning: for {', '.join(useless)} the mean of your soils would predict better (R2 "
            "below 0); check the unit of the values, or leave the column out"
        )
    if outcome.report.domain is None:
        notes.append(
            f"no domain, which needs {FEWEST_SOILS} soils: spectra unlike those of your soils "
            "will not be flagged"
        )
    if outcome.substitutes:
        notes.append(
            "few of the model's soils are at hand, so an export is proved on "
            f"{', '.join(outcome.substitutes)} too"
        )
    return notes


def _rows(outcome: FinetuningOutcome) -> AccuracyTable:
    # The user's file is a single library, so each table has one row.
    (before,), (after,) = outcome.as_it_is.values(), outcome.fine_tuned.values()
    return {"as it is": before, "fine-tuned": after}

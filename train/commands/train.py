"""Train CCNVR by a recipe: cross-validation first, then one network on all training soils.

The training may be interrupted at any time; the same command continues it after the last finished
epoch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ccnvr.edge.chemometrics.metrics import accuracy_table
from ccnvr.edge.commands.arguments import whole_number
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.network.team import join
from ccnvr.train.runs import member_report
from ccnvr.train.runs import run as runs
from ccnvr.train.runs.folder import export_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr train`."""
    parser.add_argument("recipe", type=Path, help="training recipe (TOML)")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for the run")
    parser.add_argument(
        "--instrument",
        type=Path,
        metavar="FILE",
        help="train for this sensor: a TOML file with centres_nm = [...] and fwhm_nm, as in the "
        "table [instrument] of a recipe",
    )
    parser.add_argument(
        "--threads",
        type=whole_number(1, 256),
        default=1,
        help="threads of torch (1; small networks gain nothing from more)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, and print the accuracy."""
    torch.set_num_threads(arguments.threads)
    try:
        # Before anything is read: with torchrun every process comes here, on a device of its own.
        with join() as team:
            report = runs.train(
                arguments.recipe, arguments.out, sensor=arguments.instrument, team=team
            )
    except KeyboardInterrupt:
        raise CcnvrError(
            "interrupted; the same command continues after the last finished epoch"
        ) from None
    # Of the processes that train together only one prints.
    if not team.first:
        return 0
    for title, table in report.accuracy.items():
        print(f"\n{title}\n{accuracy_table(table)}")
    if "members" in report.training:
        print("\n" + "\n".join(member_report.table(report.training["members"])))
    print(f"\nnext: {export_command(arguments.out)}")
    return 0

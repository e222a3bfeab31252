"""Carry out the paper's experiments, with the same soils, folds and budget for each method.

An experiment may be interrupted at any time; the same command continues it. Results are written to
OUT/EXPERIMENT-WHAT.json, with figures beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from ccnvr.edge.atomic_files import check_folder
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.commands import experiment_comparisons as comparisons
from ccnvr.train.commands import experiment_studies as studies

# The alias marks a name that this module offers, as every module of a command must.
from ccnvr.train.commands.experiment_options import add_arguments as add_arguments


def run(arguments: argparse.Namespace) -> int:
    """Carry out one experiment and print its tables."""
    # Before hours of work.
    if "out" in arguments:
        check_folder(arguments.out, "--out")
    # Results must not depend on the number of cores.
    torch.set_num_threads(1)
    try:
        return _EXPERIMENTS[arguments.experiment](arguments)
    except KeyboardInterrupt:
        raise CcnvrError("interrupted; the same command continues where it was") from None


_EXPERIMENTS: dict[str, Callable[[argparse.Namespace], int]] = {
    "accuracy": comparisons.run_accuracy,
    "noise": comparisons.run_noise,
    "transfer": comparisons.run_transfer,
    "places": studies.run_places,
    "search": studies.run_search,
    "check": comparisons.run_check,
    "intervals": studies.run_intervals,
    "domain": studies.run_domain,
    "moisture": studies.run_moisture,
    "scale": studies.run_scale,
}

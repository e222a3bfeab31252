"""The search of CCNVR's own configuration inside the training part of nirsoil."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ccnvr.edge.typed import to_data
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.calibration.splits import official_splits
from ccnvr.train.rivals.ccnvr import StackedNetwork
from ccnvr.train.rivals.tuning import Budget, TuningSoils, tune


def run(folder: Path, trials: int, folds: int, on_step: Callable[[str], None]) -> dict[str, Any]:
    """Search as rivals are tuned, and return the best configuration with its recipe.

    Args:
        folder: holds the storage `tuning.db`, which several processes may share.
        trials: the configurations to try, those in the storage included.
        folds: the folds in which they are tried.
        on_step: called with a line on the trials spent and the best R2.
    """
    (split,) = official_splits("nirsoil")
    soils = split.train
    # SQLite makes the file but not the folder.
    folder.mkdir(parents=True, exist_ok=True)
    method = StackedNetwork(dict.fromkeys(soils.properties, "identity"))
    tuned = tune(
        method,
        TuningSoils(soils.grid, soils.spectra, soils.values, soil_of(soils)),
        # Without a limit of time, which would make the result depend on the machine.
        Budget(trials, folds, seconds=float("inf")),
        storage=f"sqlite:///{folder / 'tuning.db'}",
        on_trial=lambda done, best: on_step(
            f"trial {done}, best mean R2 {best or float('nan'):.3f}"
        ),
    )
    recipe = method.recipe(tuned.configuration, soils.grid)
    return {
        "experiment": "search",
        "library": "nirsoil",
        **dataclasses.asdict(tuned),
        "recipe": to_data(recipe),
    }

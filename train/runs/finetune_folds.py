"""The fits of a fine-tuning: one on all soils, and one without each fold."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.calibration import finetuning
from ccnvr.train.calibration.fit import Calibration, predict
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.runs.base import Base
from ccnvr.train.runs.outcome import FinetuningSettings


def fit_folds(
    base: Base, soils: Soils, folds: Integers, settings: FinetuningSettings
) -> tuple[Calibration, Array]:
    """Fine-tune on all soils and, for each fold, on the others.

    Returns:
        The calibration of all soils, and out-of-fold predictions `(n, targets)`.
    """
    chosen = {
        **finetuning.FINETUNING,
        "epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "seed": settings.seed,
    }
    recipe = replace(base.recipe, fit=replace(base.recipe.fit, **chosen))
    # On a terminal the bar moves at once; in a log file each refresh is a line, so one a minute.
    pause = 0.1 if sys.stderr.isatty() else 60.0
    total = (settings.folds + 1) * settings.epochs
    with tqdm(total=total, unit="epoch", desc="folds", mininterval=pause) as bar:

        def advance(loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()

        def tuned(rows: NDArray[np.bool_], offset: int) -> Calibration:
            # Another seed for each fold, and none that another seed of the user's gives.
            context = Fitting(recipe, settings.seed * 1000 + offset, on_epoch=advance)
            spectra, values, groups = soils.spectra[rows], soils.values[rows], soil_of(soils)[rows]
            return finetuning.finetune(
                context, base.calibration, spectra, values, settings.layers, groups
            )

        out_of_fold = np.empty_like(soils.values)
        for number in range(settings.folds):
            held_out = folds == number
            out_of_fold[held_out] = predict(
                recipe, tuned(~held_out, number + 1), soils.spectra[held_out]
            )
        bar.set_description("all soils")
        # Every fold number is at least 0, so this mask is all soils.
        calibration = tuned(folds >= 0, 0)
    targets = tuple(
        _reaching(target, column)
        for target, column in zip(calibration.targets, soils.values.T, strict=True)
    )
    return replace(calibration, targets=targets), out_of_fold


def _reaching(target: Target, values: Array) -> Target:
    """Return a target whose range seen in training includes these values."""
    lowest = min(target.lowest, float(np.nanmin(values)))
    highest = max(target.highest, float(np.nanmax(values)))
    return replace(target, lowest=lowest, highest=highest)

"""Training and fine-tuning as functions of paths, for programs that use ccnvr as a library."""

from __future__ import annotations

from pathlib import Path

from ccnvr.train.runs import base as bases
from ccnvr.train.runs import finetune as finetuning
from ccnvr.train.runs import run as runs
from ccnvr.train.runs.finetune import FinetuningOutcome, FinetuningSettings
from ccnvr.train.runs.folder import RunReport


def train(recipe: str | Path, run: str | Path, *, sensor: str | Path | None = None) -> RunReport:
    """Train by a recipe, as `ccnvr train` does, and return the report of the run.

    A training that was interrupted goes on where it ended if it is called again.

    Args:
        recipe: the training recipe (TOML).
        run: the folder of the run.
        sensor: a TOML file with `centres_nm` and `fwhm_nm`, to train for that sensor.

    Raises:
        UsageError: the recipe cannot be used, the folder holds another run, or soils are both
            trained on and tested.
    """
    return runs.train(Path(recipe), Path(run), None if sensor is None else Path(sensor))


def finetune(
    base: str | Path,
    soils: str | Path,
    run: str | Path,
    *,
    quantity: str = "reflectance",
    settings: FinetuningSettings | None = None,
) -> FinetuningOutcome:
    """Adapt a model to 10 to 100 soils, as `ccnvr finetune` does, and return what that gained.

    Args:
        base: `default`, a `.ccnvr` file, or the folder of a finished run.
        soils: a CSV or Parquet file with spectra and laboratory values.
        run: the folder of the new run; it must not exist.
        quantity: what the file holds: `reflectance`, `percent` or `absorbance`.
        settings: layers, epochs, learning rate, folds and seed; None for those of `ccnvr finetune`.

    Raises:
        UsageError: the file cannot be used or holds too few soils, or the folder exists.
        WavelengthError: the spectra do not cover the grid of the base.
    """
    return finetuning.finetune(
        bases.read(str(base)), Path(soils), quantity, Path(run), settings or FinetuningSettings()
    )

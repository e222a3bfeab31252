"""Fine-tune a trained model on a few soils of the user's own, judged by cross-validation on them.

In: a `Base` and a file of soils. Out: the folder of a run, which `ccnvr export` and `ccnvr
quantize` take as any other: `recipe.toml`, `inputs.sha256`, `correction.npz` if the base has one,
`final/checkpoint.pt`, `domain.f32` and, written last, `report.json`.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ccnvr.edge.atomic_files import check_absent, make_folder, write_atomically
from ccnvr.edge.chemometrics.metrics import AccuracyTable
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.calibration import finetuning
from ccnvr.train.calibration.fit import Calibration, predict
from ccnvr.train.calibration.folds import fold_of, soil_of
from ccnvr.train.calibration.recipe_soils import doubts
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Finetuned
from ccnvr.train.runs import base as bases
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs.base import Base
from ccnvr.train.runs.own_soils import overlap, read_soils
from ccnvr.train.runs.report import RunReport, accuracy_by_library, conclude

SOILS_PER_FOLD = 4
"""The least number of soils in a fold, so that a fold is more than single soils."""

_HEADER = (
    "# Written by ccnvr finetune: the recipe of the model that it started from, and what came "
    "after in [[finetuned]]."
)


@dataclass(frozen=True)
class FinetuningSettings:
    """The settings of a fine-tuning."""

    layers: str = "all"
    """What is tuned, one of `LAYERS`: `all` layers, or only the `head`."""

    epochs: int = finetuning.FINETUNING["epochs"]
    """Passes over the soils."""

    learning_rate: float = finetuning.FINETUNING["learning_rate"]
    """The highest learning rate of the one-cycle schedule."""

    folds: int = 5
    """The number of cross-validation folds; fewer if a fold would have under `SOILS_PER_FOLD`."""

    seed: int = 1
    """The seed of folds, batches and augmentation."""


@dataclass(frozen=True)
class FinetuningOutcome:
    """The result of a fine-tuning: what it did to the accuracy on the user's soils."""

    report: RunReport
    """The report of the run."""

    soils: Soils
    """The user's soils that were learnt."""

    left_out: dict[str, str]
    """By property: why it was not learnt."""

    folds: int
    """The number of cross-validation folds."""

    as_it_is: AccuracyTable
    """The accuracy of the base on these soils."""

    fine_tuned: AccuracyTable
    """The accuracy on soils that were left out of the fine-tuning."""

    seen_before: tuple[str, ...]
    """The sample ids that the base was trained on, so that its accuracy is overstated."""

    not_compared: tuple[str, ...]
    """Libraries that may hold more such soils, but are not at hand or take minutes to read."""

    substitutes: tuple[str, ...]
    """Libraries that an export is proved on because too few of the base's soils are at hand."""

    @property
    def count(self) -> int:
        """The number of soils, however often each was scanned."""
        return int(np.unique(soil_of(self.soils)).size)

    def no_better(self) -> list[str]:
        """Return the properties whose RMSE is not lower than that of the base."""
        (before,), (after,) = self.as_it_is.values(), self.fine_tuned.values()
        return [
            name
            for name in after
            if not (after[name]["rmse"] or 0.0) < (before[name]["rmse"] or 0.0)
        ]

    def useless(self) -> list[str]:
        """Return the properties that the mean of the soils would predict better."""
        (after,) = self.fine_tuned.values()
        return [name for name, merit in after.items() if (merit["r2"] or 0.0) < 0.0]


def finetune(
    base: Base | Path | str,
    soils: Path | str,
    out: Path | str,
    settings: FinetuningSettings = FinetuningSettings(),
    *,
    quantity: str = "reflectance",
) -> FinetuningOutcome:
    """Fine-tune a model on the soils of a file, and keep the run in the folder `out`.

    Args:
        base: `"default"`, a .ccnvr file, the folder of a finished run, or one of these as read.
        soils: a CSV or Parquet file, see `own_files`.
        out: the folder of the run, which must not exist, or be empty.
        settings: what is tuned, and for how long.
        quantity: what the file holds: reflectance (0 to 1), percent or absorbance.

    Raises:
        UsageError: the base or the file cannot be used, the file holds too few soils, or the folder
            exists already.
        BundleError: the bundle is damaged, or does not hold what fine-tuning needs.
        WavelengthError: the file does not cover the base's grid.
        CcnvrError: the folder cannot be written.
    """
    path, folder = Path(soils), Path(out)
    if not isinstance(base, Base):
        base = bases.read(str(base))
    if not (folder.is_dir() and not any(folder.iterdir())):
        check_absent(folder, "--out")
    own, left_out = read_soils(base, path, quantity)
    for words in doubts(own):
        print(f"warning: {words}", file=sys.stderr)
    known = overlap(base, own)
    base = base.only(own.properties)
    count = np.unique(soil_of(own)).size
    settings = replace(settings, folds=min(settings.folds, count // SOILS_PER_FOLD))
    done = Finetuned(
        base=f"{base.recipe.name} {base.digest[:16]}",
        data=str(path),
        quantity=quantity,
        **asdict(settings),
    )
    recipe = _recipe(base, path, (*known.kept, *known.substitutes), done)
    # A folder that cannot be made is reported before a minute's work, not after it.
    make_folder(folder)
    folds = fold_of(own, settings.folds, settings.seed)
    calibration, out_of_fold = _fit(base, own, folds, settings)
    as_it_is = accuracy_by_library(own, predict(recipe, base.calibration, own.spectra))
    fine_tuned = accuracy_by_library(own, out_of_fold)
    accuracy = {
        f"{settings.folds}-fold cross-validation on the soils of the fine-tuning": fine_tuned,
        f"{base.recipe.name}, before the fine-tuning, on the same soils": as_it_is,
    }
    report, domain = conclude(recipe, calibration, own, out_of_fold, folds, accuracy)
    report.soils.update({"parts": [str(path)], "seen_before": len(known.seen)})
    report.training["base"] = {"name": base.recipe.name, "sha256": base.digest, **base.history}
    text = f"{_HEADER}\n{recipe_file.write(recipe)}"
    run_folder.claim(folder, text.encode(), own, calibration.correction)
    _keep_checkpoint(folder, calibration)
    run_folder.keep_report(folder, report, domain)
    return FinetuningOutcome(
        report,
        own,
        left_out,
        settings.folds,
        as_it_is,
        fine_tuned,
        known.seen,
        known.not_compared,
        known.substitutes,
    )


def _recipe(base: Base, path: Path, others: tuple[str, ...], done: Finetuned) -> TrainingRecipe:
    """Return the base's recipe with this round at its end.

    The user's file comes first in `libraries`, so that no export is proved without it.
    """
    return replace(
        base.recipe,
        name=f"{base.recipe.name}+{path.stem}",
        libraries=tuple(dict.fromkeys((done.data, *others))),
        tests=(),
        finetuned=(*base.recipe.finetuned, done),
    )


def _fit(
    base: Base, soils: Soils, folds: Integers, settings: FinetuningSettings
) -> tuple[Calibration, Array]:
    """Fine-tune on all soils, and on all but each fold; return the first and the others'
    predictions `(n, targets)` of the soils left out.
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


def _keep_checkpoint(folder: Path, calibration: Calibration) -> None:
    (folder / run_folder.CHECKPOINT).parent.mkdir()
    with write_atomically(folder / run_folder.CHECKPOINT) as stream:
        torch.save({"network": calibration.network.state_dict()}, stream)

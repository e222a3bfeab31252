"""Fine-tune a trained model on a few soils of the user's own, judged by cross-validation on them.

In: a `Base` and a file of soils. Out: the folder of a run, which `ccnvr export` and `ccnvr
quantize` take as any other: `recipe.toml`, `inputs.sha256`, `correction.npz` if the base has one,
`final/checkpoint.pt`, `domain.f32` and, written last, `report.json`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from ccnvr.edge.atomic_files import check_absent, check_folder, make_folder
from ccnvr.train.calibration.fit import Calibration, predict
from ccnvr.train.calibration.recipe_soils import doubts
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Finetuned
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs.base import Base, read_base
from ccnvr.train.runs.finetune_folds import fit_folds
from ccnvr.train.runs.outcome import FinetuningOutcome, FinetuningSettings, report_of
from ccnvr.train.runs.own_soils import overlap, read_soils
from ccnvr.train.runs.report import accuracy_by_library

_HEADER = (
    "# Written by ccnvr finetune: the recipe of the model that it started from, and what came "
    "after in [[finetuned]]."
)


def finetune(
    base: Base | Path | str,
    soils: Path | str,
    out: Path | str,
    settings: FinetuningSettings | None = None,
    *,
    quantity: str = "reflectance",
) -> FinetuningOutcome:
    """Fine-tune a model on the soils of a file, and keep the run in the folder `out`.

    Args:
        base: `"default"`, a .ccnvr file, the folder of a finished run, or one of these as read.
        soils: a CSV, Excel or Parquet file, see `libraries.own.files`.
        out: the folder of the run, which must not exist, or be empty.
        settings: what is tuned, and for how long; None for those of `ccnvr finetune`.
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
        base = read_base(str(base), path)
    settings = settings or FinetuningSettings()
    if settings.network == "yes":
        base.check_tunable()
    _check_free(folder)
    own, left_out = read_soils(base, path, quantity)
    for words in doubts(own):
        print(f"warning: {words}", file=sys.stderr)
    known = overlap(base, own)
    # Outputs without soils are dropped: nothing shows what the tuning does to them (decision 0046).
    base, settings = base.only(own.properties), settings.for_soils(own)
    # A folder that cannot be made is reported before a minute's work, not after it.
    make_folder(folder)
    kept = fit_folds(base, own, settings)
    libraries = (*known.kept, *known.substitutes)
    recipe = _recipe(base, path, libraries, quantity, settings, kept.chosen)
    # On the same soils, so that the two rows of the table can be compared.
    as_it_is = accuracy_by_library(own, predict(recipe, base.calibration, own.spectra))
    fine_tuned = accuracy_by_library(own, kept.out_of_fold)
    report, domain = report_of(base, recipe, own, kept, (fine_tuned, as_it_is))
    report.soils.update({"parts": [str(path)], "seen_before": len(known.seen)})
    _keep(folder, recipe, kept.calibration, own)
    # Last, because the report marks the run as finished.
    run_folder.keep_report(folder, report, domain)
    return FinetuningOutcome(
        report=report,
        soils=own,
        left_out=left_out,
        folds=settings.folds,
        as_it_is=as_it_is,
        fine_tuned=fine_tuned,
        seen_before=known.seen,
        not_compared=known.not_compared,
        substitutes=known.substitutes,
    )


def _check_free(folder: Path) -> None:
    """Check that the run's folder can be made, and that no other run would be lost."""
    # An empty folder is as good as none: people make one before they start.
    if not (os.path.isdir(folder) and not any(folder.iterdir())):
        check_absent(folder, "--out")
    check_folder(folder, "--out")


def _recipe(
    base: Base,
    path: Path,
    others: tuple[str, ...],
    quantity: str,
    settings: FinetuningSettings,
    kept: str,
) -> TrainingRecipe:
    """Return the base's recipe with this round at its end.

    The user's file comes first in `libraries`, so that no export is proved without it.
    """
    done = Finetuned(
        base=f"{base.recipe.name} {base.digest[:16]}",
        data=str(path),
        quantity=quantity,
        layers=settings.layers,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        folds=settings.folds,
        seed=settings.seed,
        kept=kept,
    )
    return replace(
        base.recipe,
        name=f"{base.recipe.name}+{path.stem}",
        libraries=tuple(dict.fromkeys((done.data, *others))),
        # The tests of the base say nothing about the user's soils.
        tests=(),
        finetuned=(*base.recipe.finetuned, done),
    )


def _keep(folder: Path, recipe: TrainingRecipe, calibration: Calibration, soils: Soils) -> None:
    """Write all files of the run but its report."""
    text = f"{_HEADER}\n{recipe_file.write(recipe)}"
    run_folder.claim(folder, text.encode(), soils, calibration.correction)
    run_folder.keep_network(folder, calibration.network)

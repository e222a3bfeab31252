"""A training run: cross-validation, then one network on all training soils, in a folder that can be
resumed (run_folder.py).
"""

from __future__ import annotations

import dataclasses
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ccnvr.edge.atomic_files import remove_leftovers
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.edge.chemometrics.metrics import AccuracyTable, accuracy
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import domain as domains
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration import intervals
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.folds import check_folds, fold_of, grouped, twins_of
from ccnvr.train.calibration.recipe_soils import doubts, load_before, load_soils, shared
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.ccnvr import parameters
from ccnvr.train.network.team import ALONE, Team
from ccnvr.train.recipe import recipe as recipes
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs.folder import CHECKPOINT, RunReport, claim, keep_report, soils_of


def train(
    recipe_path: Path, folder: Path, instrument_path: Path | None = None, team: Team = ALONE
) -> RunReport:
    """Carry out a recipe in `folder`, or go on where an earlier try ended; `instrument_path` stands
    for its [instrument].

    Raises:
        UsageError: the folder holds a run of another recipe or other data, a soil is both trained
            on and tested, or a fold leaves too little to train on.
    """
    text = recipes.read(recipe_path, instrument_path)
    recipe = recipes.parse(text, recipe_path)
    if recipe.finetuned:
        raise UsageError(
            f"recipe {recipe_path} has [[finetuned]], which ccnvr finetune writes "
            "into its runs; take it out"
        )
    for name in (
        *recipe.libraries,
        *recipe.tests,
        *(recipe.pretraining.libraries if recipe.pretraining else ()),
    ):
        libraries.check(name)
    pool = grouped(load_soils(recipe.libraries, recipe))
    held_out = load_soils(recipe.tests, recipe)
    folds = fold_of(pool, recipe.folds, recipe.fit.seed)
    # What would end the work is refused before the folder is made.
    _check_held_out(pool, held_out)
    before = load_before(recipe)
    if before is not None:
        _check_unlearnt(before, pool, held_out)
    check_folds(recipe, pool, folds)
    correction = recipe.correction()
    if team.first:
        for words in (
            twins_of(pool),
            *doubts(pool),
            *doubts(held_out),
        ):
            if words:
                print(f"warning: {words}", file=sys.stderr)
        claim(folder, text.encode(), pool, correction, before)
    team.wait()
    # In a log file, a line a minute.
    pause = 0.1 if sys.stderr.isatty() else 60.0
    epochs = recipe.folds * _untaught(recipe).all_epochs + recipe.all_epochs
    with tqdm(
        total=epochs,
        unit="epoch",
        desc="folds",
        smoothing=0.02,
        mininterval=pause,
        disable=not team.first,
    ) as bar:
        fits = _Fits(pool, before, correction, folder, bar, team)
        out_of_fold = _cross_validate(recipe, fits, folds)
        bar.set_description("all soils")
        calibration = fits.fit(recipe, np.arange(len(pool.spectra)), str(CHECKPOINT.parent), 0)
    accuracy = {
        f"{recipe.folds}-fold cross-validation": accuracy_by_library(recipe, pool, out_of_fold),
        "soils held out from training": _test(recipe, calibration, held_out),
    }
    report, domain = conclude(recipe, calibration, pool, out_of_fold, folds, accuracy, before)
    report.training["processes"] = team.size
    if team.first:
        keep_report(folder, report, domain)
    return report


def conclude(
    recipe: TrainingRecipe,
    calibration: Calibration,
    pool: Soils,
    out_of_fold: Array,
    folds: NDArray[np.int64],
    accuracy: dict[str, AccuracyTable],
    before: Soils | None = None,
) -> tuple[RunReport, Domain | None]:
    """The report of a calibration on the soils of a pool, with the domain and the intervals that
    these soils ask for.

    `out_of_fold` `(n, targets)` are their predictions by networks that were trained without their
    `folds` `(n,)`; the soils `before` were learnt first.
    """
    fitted = domains.fit(recipe.grid, pool.spectra, pool.origin, folds, calibration.correction)
    report = RunReport(
        finished=datetime.now(UTC).date().isoformat(),
        targets=intervals.with_intervals(
            calibration.targets, pool.values, out_of_fold, folds, fitted
        ),
        domain=None if fitted is None else fitted.domain.shape,
        accuracy=accuracy,
        soils=soils_of(recipe, pool, before),
        training={
            "recipe": dataclasses.asdict(recipe),
            "parameters": parameters(calibration.network),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
        },
    )
    return report, None if fitted is None else fitted.domain


def accuracy_by_library(recipe: TrainingRecipe, pool: Soils, predicted: Array) -> AccuracyTable:
    """Figures for each library and property that was measured in it."""
    origin = np.array(pool.origin)
    table: AccuracyTable = {}
    for library in dict.fromkeys(pool.origin):
        rows = origin == library
        figures = {
            name: accuracy(pool.values[rows, column], predicted[rows, column])
            for column, name in enumerate(recipe.properties)
        }
        table[library] = {name: figure.as_dict() for name, figure in figures.items() if figure.n}
    return table


def _check_held_out(pool: Soils, held_out: Soils) -> None:
    if both := set(pool.sample_ids) & set(held_out.sample_ids):
        raise UsageError(
            f"{len(both)} soils, {min(both)} among them, are both in libraries and in tests; "
            "test on soils that are not trained on"
        )


def _check_unlearnt(before: Soils, *scored: Soils) -> None:
    """By the spectra too, since a file may hold another library's soils under names of its own."""
    if both := [sample_id for pool in scored for sample_id in shared(pool, before)]:
        raise UsageError(
            f"{len(both)} spectra that are scored, {min(both)}'s among them, are in [pretraining] "
            "too; take them out there, "
            "for what is scored must not be learnt before"
        )


@dataclass(frozen=True)
class _Fits:
    """What all fits of a run share: soils, correction, folder, progress and team."""

    pool: Soils
    before: Soils | None
    correction: Correction | None
    folder: Path
    bar: tqdm[Any]
    team: Team

    def fit(
        self, recipe: TrainingRecipe, rows: NDArray[np.int64], part: str, offset: int
    ) -> Calibration:
        """Train on some soils, from the checkpoint in the folder's `part` if there is one."""
        folder = self.folder / part
        folder.mkdir(exist_ok=True)
        if self.team.first:
            remove_leftovers(folder)
        done = 0

        def on_epoch(loss: float) -> None:
            nonlocal done
            done += 1
            self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            self.bar.update()

        calibration = fitting.fit(
            recipe,
            self.pool.spectra[rows],
            self.pool.values[rows],
            recipe.fit.seed * 1000 + offset,
            folder / CHECKPOINT.name,
            on_epoch,
            self.team,
            correction=self.correction,
            before=self.before,
        )
        self.bar.update(recipe.all_epochs - done)
        return calibration


def _untaught(recipe: TrainingRecipe) -> TrainingRecipe:
    return dataclasses.replace(recipe, fit=dataclasses.replace(recipe.fit, teachers=0))


def _cross_validate(recipe: TrainingRecipe, fits: _Fits, folds: NDArray[np.int64]) -> Array:
    """`(n, targets)` predictions of each soil by the network that was trained without its fold.

    These networks are taught by no others, which would multiply the time; a taught one's errors
    are, if anything, smaller.
    """
    recipe = _untaught(recipe)
    predicted = np.empty_like(fits.pool.values)
    for number in range(recipe.folds):
        held_out = folds == number
        calibration = fits.fit(recipe, np.flatnonzero(~held_out), f"fold-{number}", number + 1)
        predicted[held_out] = fitting.predict(recipe, calibration, fits.pool.spectra[held_out])
    return predicted


def _test(recipe: TrainingRecipe, calibration: Calibration, held_out: Soils) -> AccuracyTable:
    if not held_out.sample_ids:
        return {}
    return accuracy_by_library(
        recipe, held_out, fitting.predict(recipe, calibration, held_out.spectra)
    )

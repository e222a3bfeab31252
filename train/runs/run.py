"""Train by a recipe: cross-validation, then one network on all training soils.

In: a recipe and the libraries that it names. Out: the folder of a run (`folder.py`), which can be
resumed after an interruption.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from ccnvr.edge.atomic_files import remove_leftovers
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.places import ByPlace, place_folds, predict_by_place
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.network.team import ALONE, Team
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import own_recipe
from ccnvr.train.runs.folder import CHECKPOINT, claim, keep_network, keep_report
from ccnvr.train.runs.member_folds import fit_mean, predict_left_out
from ccnvr.train.runs.report import LeftOut, RunReport, accuracy_by_library, accuracy_of, conclude
from ccnvr.train.runs.run_data import RunData, load_data

HELD_OUT = "soils held out from training"
"""The title of the table of the recipe's tests, in reports and model cards."""


def train(
    recipe: TrainingRecipe | Path | str,
    out: Path | str,
    *,
    sensor: Path | str | None = None,
    team: Team = ALONE,
) -> RunReport:
    """Train by a recipe, and keep the run in the folder `out`.

    An interrupted run goes on after its last finished epoch when it is called again.

    Args:
        recipe: a recipe, or the path of its TOML file.
        out: the folder of the run; it is made if it does not exist.
        sensor: a TOML file with `centres_nm` and `fwhm_nm` that stands for the recipe's
            [instrument]; only with a recipe's path.
        team: the processes that train together.

    Returns:
        The report, which `report.json` in the folder holds too.

    Raises:
        UsageError: the recipe is not valid, the folder holds a run of another recipe or of other
            data, a soil is both trained on and tested, or a fold leaves too little to train on.
        CcnvrError: a library cannot be fetched, or the folder cannot be written.
    """
    made, text = own_recipe.read(recipe, sensor)
    if made.finetuned:
        name = made.name if isinstance(recipe, TrainingRecipe) else recipe
        raise UsageError(
            f"recipe {name} has [[finetuned]], which ccnvr finetune writes into its runs; take it "
            "out"
        )
    # All that would end the work is refused before the folder is made.
    data = load_data(made)
    if team.first:
        for words in data.warnings():
            print(f"warning: {words}", file=sys.stderr)
        claim(Path(out), text.encode(), data.soils, data.correction, data.before)
    team.wait()
    return _carry_out(made, data, Path(out), team)


def _carry_out(recipe: TrainingRecipe, data: RunData, folder: Path, team: Team) -> RunReport:
    # On a terminal the bar moves at once; in a log file each refresh is a line, so one a minute.
    pause = 0.1 if sys.stderr.isatty() else 60.0
    means = recipe.members is not None
    with tqdm(
        total=_fits_of(recipe) if means else _epochs(recipe, data),
        unit="fit" if means else "epoch",
        desc="folds",
        # Networks of different sizes follow one another: a short memory would make the forecast
        # jump.
        smoothing=0.02,
        mininterval=pause,
        disable=not team.first,
    ) as bar:
        fits = _Fits(data, folder, bar, team)
        mean = fit_mean(recipe, data, partial(fits.fit, recipe), bar.update) if means else None
        if mean is None:
            out_of_fold = _cross_validate(recipe, fits)
            bar.set_description("all soils")
            calibration = fits.fit(recipe, np.arange(len(data.soils)), str(CHECKPOINT.parent), 0)
        else:
            calibration, out_of_fold = mean.calibration, mean.out_of_fold
        by_place = _cross_validate_places(recipe, fits)
    accuracy = {
        f"{recipe.folds}-fold cross-validation": accuracy_by_library(data.soils, out_of_fold),
    }
    # Without tests there is nothing to show a table of.
    if len(data.held_out):
        accuracy[HELD_OUT] = accuracy_of(recipe, calibration, data.held_out)
    left_out = LeftOut(out_of_fold, data.folds, by_place)
    report, domain = conclude(recipe, calibration, data.soils, left_out, accuracy, data.before)
    report.training["processes"] = team.size
    if mean is not None:
        report.training["members"] = mean.compared(data.soils, report.targets)
    if team.first:
        if mean is not None:
            keep_network(folder, calibration.network)
        keep_report(folder, report, domain)
    return report


def _epochs(recipe: TrainingRecipe, data: RunData) -> int:
    """Return the number of epochs of all fits of a run without members."""
    folds = [int(np.sum(data.folds != fold)) for fold in range(recipe.folds)]
    every = recipe.for_soils(len(data.soils)).all_epochs
    if recipe.places is not None:
        of_places = place_folds(data.soils, recipe.places.folds)
        folds += [int(np.sum(of_places != fold)) for fold in np.unique(of_places)]
    return every + sum(_untaught(recipe).for_soils(count).all_epochs for count in folds)


def _fits_of(recipe: TrainingRecipe) -> int:
    """Return the number of fits of a run with members."""
    if recipe.members is None:
        return 0
    of_places = recipe.places.folds if recipe.places else 0
    return 1 + recipe.folds * recipe.members.repeats + of_places


@dataclass(frozen=True)
class _Fits:
    """The data, folder, progress bar and team that all fits of a run share."""

    data: RunData
    folder: Path
    bar: tqdm[Any]
    team: Team

    def fit(
        self,
        recipe: TrainingRecipe,
        rows: Integers,
        part: str,
        offset: int,
        teachers: tuple[nn.Module, ...] = (),
    ) -> fitting.Calibration:
        """Train on some soils, from the checkpoint in the folder's `part` if there is one.

        `teachers` teach beside those that the recipe names.
        """
        folder = self.folder / part
        folder.mkdir(exist_ok=True)
        # An interrupted write leaves a temporary file behind.
        if self.team.first:
            remove_leftovers(folder)
        done = 0

        def on_epoch(loss: float) -> None:
            nonlocal done
            done += 1
            self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if recipe.members is None:
                self.bar.update()

        # So that no fold of this run has the seed of another run's fold.
        seed = recipe.fit.seed * 1000 + offset
        calibration = fitting.fit(
            Fitting(recipe, seed, folder / CHECKPOINT.name, on_epoch, self.team, teachers),
            self.data.soils.spectra[rows],
            self.data.soils.values[rows],
            correction=self.data.correction,
            before=self.data.before,
        )
        # Epochs that the checkpoint had behind it were not counted.
        if recipe.members is None:
            self.bar.update(recipe.for_soils(len(rows)).all_epochs - done)
        return calibration


def _cross_validate_places(recipe: TrainingRecipe, fits: _Fits) -> ByPlace | None:
    """Return predictions of each soil by models that were trained without its place.

    Of a model with members they are by the members alone, because a network takes most of the time.
    """
    if recipe.places is None:
        return None
    data = fits.data
    fits.bar.set_description("places")

    def predict(part: TrainingRecipe, rows: Integers, held_out: Integers, fold: int) -> Array:
        # Beyond the offsets of the other folds.
        offset = 500 + fold
        only = replace(data, soils=data.soils.of(part.properties))
        if part.members is not None:
            found = predict_left_out(part, only, rows, held_out, offset)
            fits.bar.update()
            return found
        untaught = _untaught(part)
        calibration = replace(fits, data=only).fit(untaught, rows, f"places-{fold}", offset)
        return fitting.predict(untaught, calibration, data.soils.spectra[held_out])

    return predict_by_place(recipe, data.soils, data.folds, data.correction, predict)


def _untaught(recipe: TrainingRecipe) -> TrainingRecipe:
    return replace(recipe, fit=replace(recipe.fit, teachers=0))


def _cross_validate(recipe: TrainingRecipe, fits: _Fits) -> Array:
    """Return predictions `(n, targets)` of each soil by the network trained without its fold.

    These networks have no network as a teacher, which would multiply the time; the errors of a
    taught one are smaller, if anything.
    """
    recipe, data = _untaught(recipe), fits.data
    predicted = np.empty_like(data.soils.values)
    for number in range(recipe.folds):
        held_out = data.folds == number
        calibration = fits.fit(recipe, np.flatnonzero(~held_out), f"fold-{number}", number + 1)
        predicted[held_out] = fitting.predict(recipe, calibration, data.soils.spectra[held_out])
    return predicted

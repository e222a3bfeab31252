"""Load and check the soils of a training before anything is written or computed."""

from __future__ import annotations

from dataclasses import dataclass

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.firmware_bridge.arrays import Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.folds import check_folds, fold_of, grouped, soil_of, twins_of
from ccnvr.train.calibration.places import place_folds
from ccnvr.train.calibration.recipe_soils import doubts, load_before, load_soils, shared
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe.recipe import TrainingRecipe


@dataclass(frozen=True)
class RunData:
    """The soils of a run, and what is determined from them before the training."""

    soils: Soils
    """The soils that are trained on, with their groups."""

    folds: Integers
    """The fold of each of these spectra, `(n,)`."""

    held_out: Soils
    """The soils that are only scored."""

    before: Soils | None
    """The soils of the pretraining, if the recipe has one."""

    correction: Correction | None
    """The projection of the recipe's [epo], if it has one."""

    @property
    def groups(self) -> Integers:
        """The number of the soil that each spectrum shows, `(n,)`."""
        return soil_of(self.soils)

    def preprocessor(self, recipe: TrainingRecipe) -> Preprocessor:
        """Return what turns these spectra into model inputs."""
        return Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), self.correction)

    def warnings(self) -> list[str]:
        """Return what may be wrong with the soils, as sentences for the user."""
        found = [twins_of(self.soils), *doubts(self.soils), *doubts(self.held_out)]
        return [words for words in found if words]


def load_data(recipe: TrainingRecipe) -> RunData:
    """Load all soils of a recipe, and check that it can be carried out with them.

    Raises:
        UsageError: a library is unknown or not at hand, a soil is both trained on and scored, or a
            fold leaves too little to train on.
    """
    first = recipe.pretraining.libraries if recipe.pretraining else ()
    for name in (*recipe.libraries, *recipe.tests, *first):
        libraries.check(name)
    soils = grouped(load_soils(recipe.libraries, recipe))
    held_out = load_soils(recipe.tests, recipe)
    # From the recipe's seed, so that a run that goes on has the same folds.
    folds = fold_of(soils, recipe.folds, recipe.fit.seed)
    _check_held_out(soils, held_out)
    before = load_before(recipe)
    if before is not None:
        _check_unlearnt(before, soils, held_out)
    check_folds(recipe, soils, folds)
    if recipe.places is not None:
        place_folds(soils, recipe.places.folds)  # raises UsageError if there is one place
    return RunData(soils, folds, held_out, before, recipe.correction())


def _check_held_out(soils: Soils, held_out: Soils) -> None:
    if both := set(soils.sample_ids) & set(held_out.sample_ids):
        raise UsageError(
            f"{len(both)} soils, {min(both)} among them, are both in libraries and in tests; test "
            "on soils that are not trained on"
        )


def _check_unlearnt(before: Soils, *scored: Soils) -> None:
    # By the spectra too, since a file may hold a library's soils under names of its own.
    if both := [sample_id for soils in scored for sample_id in shared(soils, before)]:
        raise UsageError(
            f"{len(both)} spectra that are scored, {min(both)}'s among them, are in [pretraining] "
            "too; take them out there, for what is scored must not be learnt before"
        )

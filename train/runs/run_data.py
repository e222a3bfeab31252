"""Load and check the soils of a training before anything is written or computed."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

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

# 17 MB at the most bands, in place of a second copy of a large library.
_SPECTRA_AT_ONCE = 512

_BESIDE = np.pi * 1e-5
"""A shift of absorbance away from the midpoints between half-precision numbers."""


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


def soils_of(recipe: TrainingRecipe, soils: Soils, before: Soils | None = None) -> dict[str, Any]:
    """Return the description of training soils for a report and a model card.

    It holds their counts, checksums and licences. The soils `before` were learnt first.
    """
    notes = soils.notes if before is None else {**before.notes, **soils.notes}
    counts, first = Counter(soils.origin), Counter(before.origin if before is not None else [])
    return {
        "trained_on": dict(counts),
        "parts": list(recipe.libraries),
        "not_trained_on": list(recipe.tests),
        # The order counts: folds and batches depend on it.
        "sample_ids_sha256": hashlib.sha256("\n".join(soils.sample_ids).encode()).hexdigest(),
        "data_sha256": data_digest(soils).hex(),
        "measured": {
            name: int(np.sum(~np.isnan(soils.values[:, column])))
            for column, name in enumerate(recipe.properties)
        },
        "sources": {
            name: libraries.source(name, notes.get(name, "")) for name in {**counts, **first}
        },
        **({"learnt_before": dict(first)} if first else {}),
    }


def data_digest(soils: Soils) -> bytes:
    """Return the sha256 of the values and spectra, the same on every computer."""
    data = hashlib.sha256(soils.values.tobytes())
    for start in range(0, len(soils.spectra), _SPECTRA_AT_ONCE):
        block = soils.spectra[start : start + _SPECTRA_AT_ONCE]
        # Half precision hides what another computer, or another number of threads, rounds
        # otherwise in logarithms and sums. Files in single precision often lie exactly halfway
        # between two half-precision numbers, where the last bit would decide; the shift avoids it.
        data.update((block + _BESIDE).astype(np.float16).tobytes())
    return data.digest()

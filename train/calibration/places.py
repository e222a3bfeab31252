"""Predictions of soils by models that were trained without the places that the soils come from.

A place is a country of a library that states countries, or else a library. Soils of a new place
differ from those that a model knows in more than chance, so their errors are larger than those of a
cross-validation that deals out single soils. Intervals for new places come from these errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import domain as domains
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.scales import unlearnable
from ccnvr.train.recipe.recipe import TrainingRecipe

HELD_OUT = "places held out"
"""The title of the accuracy of these predictions."""

ALL = "all places"

PredictPlaces = Callable[[TrainingRecipe, Integers, Integers, int], Array]
"""Fit the properties of a recipe to some rows and predict others, `(n, properties)`.

The last number is that of the fold, from 0.
"""


@dataclass(frozen=True, eq=False)
class ByPlace:
    """Predictions of all soils, each by a model that was trained without the soil's place."""

    predicted: Array
    """`(n, properties)`, NaN where the other places do not teach the property."""

    sure: NDArray[np.bool_]
    """Which soils a strict domain of the other places takes for known ones, `(n,)`."""

    places: Integers
    """The number of the place of each soil, `(n,)`."""

    def summary(self, soils: Soils, targets: tuple[Target, ...]) -> dict[str, Any]:
        """Return figures for a report, by property.

        `r2` is that of the values as they are learnt, on a logarithm where the target has one, and
        `sure` the share of soils that were taken for known ones.
        """
        figures: dict[str, Any] = {"places": int(np.unique(self.places).size)}
        r2: dict[str, float | None] = {}
        for target, values, predicted in zip(
            targets, soils.values.T, self.predicted.T, strict=True
        ):
            found = accuracy(target.standardise(values), target.standardise(predicted)).r2
            r2[target.name] = None if found is None else round(found, 4)
        return {**figures, "r2": r2, "sure": round(float(self.sure.mean()), 4)}


def place_names(soils: Soils) -> list[str]:
    """Return the name of the place that each spectrum comes from."""
    # A site is `COUNTRY/PROFILE`; where none is known, the sample id stands for it.
    return [
        library if soils.sites is None or site == sample else site.partition("/")[0]
        for library, sample, site in zip(
            soils.origin, soils.sample_ids, soils.sites or soils.sample_ids, strict=True
        )
    ]


def place_of(soils: Soils) -> Integers:
    """Return the number of the place that each spectrum comes from, `(n,)`."""
    numbers: Integers = np.unique(place_names(soils), return_inverse=True)[1]
    return numbers


def place_folds(soils: Soils, folds: int) -> Integers:
    """Return a fold for each spectrum `(n,)`; all soils of a place share one.

    Places are dealt out from the largest to the smallest, each to the fold that has the fewest
    soils, so that folds are of about one size.

    Raises:
        UsageError: there is only one place.
    """
    places = place_of(soils)
    counts = np.bincount(places)
    if counts.size < 2:
        raise UsageError(
            "[places] needs soils of two places, and these come from one; take it out of the "
            "recipe, or add a library"
        )
    # With more folds than places some of the folds would be empty.
    taken, fold_of_place = np.zeros(min(folds, counts.size)), np.zeros(counts.size, dtype=int)
    # A stable order, so that the folds are the same on every computer.
    for place in np.argsort(-counts, kind="stable"):
        fold_of_place[place] = np.argmin(taken)
        taken[fold_of_place[place]] += counts[place]
    found: Integers = fold_of_place[places]
    return found


def predict_by_place(
    recipe: TrainingRecipe,
    soils: Soils,
    folds: Integers,
    correction: Correction | None,
    predict: PredictPlaces,
) -> ByPlace:
    """Cross-validate by places, as `[places]` of the recipe says.

    `folds` `(n,)` are those of the cross-validation by soils, which limits of domains come from.
    """
    assert recipe.places is not None
    of_places = place_folds(soils, recipe.places.folds)
    predicted = np.full_like(soils.values, np.nan)
    sure = np.zeros(len(soils), dtype=bool)
    for fold in np.unique(of_places):
        rows, held_out = np.flatnonzero(of_places != fold), np.flatnonzero(of_places == fold)
        # Elsewhere a property may not have been measured at all.
        columns = [
            column
            for column, name in enumerate(recipe.properties)
            if not unlearnable(soils.values[rows, column], recipe.transforms[name])
        ]
        if columns:
            part = recipe.only(recipe.properties[column] for column in columns)
            predicted[held_out[:, None], columns] = predict(part, rows, held_out, int(fold))
        fitted = domains.fit(
            recipe.grid,
            soils.spectra[rows],
            [soils.origin[row] for row in rows],
            folds[rows],
            correction,
            strict=True,
        )
        if fitted is not None:
            found = domains.positions(
                fitted.domain, recipe.grid, soils.spectra[held_out], correction
            )
            sure[held_out] = found.sure
    return ByPlace(predicted, sure, place_of(soils))

"""Compare the members that a recipe for ICRAF-ISRIC may have, on its training parts alone.

    python -m tools.icraf_members [--folds N]

It takes the training parts of the first folds of `ccnvr experiment accuracy --data icraf`, holds
out a fifth of their profiles, and prints R2 there with OC, N and CEC on log1p, and the seconds of a
fit on one core. The soils that the experiment holds out are not looked at.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ccnvr.edge.chemometrics.preprocess import Channel
from ccnvr.train.calibration import splits
from ccnvr.train.experiments.contenders import WORLD_RECIPE
from ccnvr.train.experiments.statistics import r2, scaled
from ccnvr.train.libraries.parts import PROFILES, shares_of
from ccnvr.train.libraries.soils import Soils, Split
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import MATERN, PLSR, SVR
from ccnvr.train.rivals.members import fit_to, recipe_for

SECOND = Channel(9, 3, 2)

# A division that no experiment uses.
_DIVISION = 90


def variants(recipe: TrainingRecipe) -> dict[str, TrainingRecipe]:
    """Return the recipe and changes of it, by what is changed."""

    def members(**changes: Any) -> TrainingRecipe:
        assert recipe.members is not None
        return replace(recipe, members=replace(recipe.members, **changes))

    second = (*recipe.channels[:2], SECOND, recipe.channels[2])
    slope = replace(recipe.fit.augmentation, slope=0.01)
    return {
        "as the recipe says": recipe,
        "one process, whole range": members(ranges_nm=()),
        "the same, second derivative": replace(members(ranges_nm=()), channels=second),
        "with SVR": members(kinds=(MATERN, SVR)),
        "with PLSR": members(kinds=(PLSR, MATERN)),
        "64 components": members(most_components=64),
        "1600 inducing soils": members(most_soils=1600),
        "800 inducing soils": members(most_soils=800),
        "400 inducing soils": members(most_soils=400),
        "tilt .01 in copies": replace(recipe, fit=replace(recipe.fit, augmentation=slope)),
    }


def inner(soils: Soils) -> Split:
    """Return a split of the soils, a fifth of the profiles held out."""
    return splits.split(
        "inner", soils, shares_of(soils, PROFILES, 5, _DIVISION) == 1, soils.properties
    )


def scores(recipe: TrainingRecipe, split: Split) -> list[float]:
    """Return R2 of each property, on the scales of the experiment."""
    own = recipe_for(recipe, split.train)
    assert own.members is not None
    predicted = fit_to(own, own.members, split.train, 0).predict(split.test.spectra)
    transforms = [splits.WORLD_SCALES.get(name, "identity") for name in split.train.properties]
    pairs = zip(
        scaled(split.test.values, transforms).T, scaled(predicted, transforms).T, strict=True
    )
    return [
        float(r2(measured[known], found[known]))
        for measured, found in pairs
        for known in [~np.isnan(measured)]
    ]


def main() -> None:
    """Print a line for each variant; figures are means over the folds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folds", type=int, default=2, help="the first N folds (2)")
    arguments = parser.parse_args()
    recipe = recipe_file.load(WORLD_RECIPE)
    parts = [inner(fold.train) for fold in splits.splits_of("icraf")[0][: arguments.folds]]
    names: Mapping[str, TrainingRecipe] = variants(recipe)
    print("|".join(["", " ", *splits.WORLD_PROPERTIES, " mean ", " s ", ""]))
    for name, variant in names.items():
        started = time.process_time()
        found = np.mean([scores(variant, part) for part in parts], axis=0)
        seconds = (time.process_time() - started) / len(parts)
        cells = [f"{score:.3f}".lstrip("0") for score in (*found, found.mean())]
        print(f"| {name} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()

"""The methods that an experiment compares, under one interface: rivals, a model a property; CCNVR,
one for all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe import recipe as recipes
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.rivals.method import Method
from ccnvr.train.rivals.scikit import METHODS
from ccnvr.train.rivals.tuning import tune

Choice = dict[str, Any]
PredictAll = Callable[[Array], Array]
"""Absorbance `(n, bands)` -> properties `(n, properties)`."""

RECIPE = Path(__file__).parents[1] / "recipes" / "study_recipe.toml"
PAPER_RECIPE = Path(__file__).parents[1] / "recipes" / "paper_recipe.toml"
TEACHERS = 3
BEST = "CCNVR distilled"
"""One network, taught as its recipe says."""


@dataclass(frozen=True)
class Budget:
    """For choosing a configuration by cross-validation inside the training soils; the same for each
    rival and property.

    No trial is begun after `seconds` of them: a method whose fits are slow tries fewer.
    """

    trials: int
    folds: int
    seconds: float = 600.0
    seed: int = 1


class Contender(Protocol):
    """One method in an experiment."""

    @property
    def name(self) -> str:
        """As in tables."""

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """What to fit, found in the training soils alone; JSON can hold it."""

    def fit(self, choice: Choice, soils: Soils, seed: int) -> PredictAll:
        """Calibrate on all of the training soils."""


@dataclass(frozen=True)
class Rival:
    """A method of one property at a time, tuned for each."""

    method: Method

    @property
    def name(self) -> str:
        """As in tables."""
        return self.method.name

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """The best configuration of each property by cross-validation, and how it did."""
        choice, groups = {}, soil_of(soils)
        for index, name in enumerate(soils.properties):
            known = ~np.isnan(soils.values[:, index])
            values = soils.values[known, index]
            tuned = tune(
                self.method,
                soils.grid,
                soils.spectra[known],
                values,
                groups[known],
                trials=budget.trials,
                folds=budget.folds,
                seed=budget.seed,
                seconds=budget.seconds,
            )
            choice[name] = dataclasses.asdict(tuned)
        return choice

    def fit(self, choice: Choice, soils: Soils, seed: int) -> PredictAll:
        """A model a property."""
        models = []
        for index, name in enumerate(soils.properties):
            known = ~np.isnan(soils.values[:, index])
            configuration = choice[name]["configuration"]
            models.append(
                self.method.fit(
                    configuration,
                    soils.grid,
                    soils.spectra[known],
                    soils.values[known, index],
                    seed,
                )
            )
        return lambda spectra: np.stack([model(spectra) for model in models], axis=1)


@dataclass(frozen=True)
class Network:
    """CCNVR by a recipe, whose choices were made before: one network for all properties, or its
    teachers with `average`.
    """

    name: str
    recipe: TrainingRecipe
    average: bool = False

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """Nothing is left to choose; says what the recipe has."""
        return {"recipe": dataclasses.asdict(self.recipe_for(soils))}

    def fit(
        self,
        choice: Choice,
        soils: Soils,
        seed: int,
        on_epoch: Callable[[float], None] = lambda loss: None,
    ) -> PredictAll:
        """All properties together."""
        recipe = self.recipe_for(soils)
        return fitting.calibrate(
            recipe,
            soils.grid,
            soils.spectra,
            soils.values,
            seed,
            average=self.average,
            on_epoch=on_epoch,
        )

    def recipe_for(self, soils: Soils) -> TrainingRecipe:
        """The recipe with these soils' properties; one that it does not name is not transformed."""
        transforms = {
            name: self.recipe.transforms.get(name, "identity") for name in soils.properties
        }
        before = self.recipe.pretraining
        if before is not None:
            beside = {
                name: transform
                for name, transform in before.beside.items()
                if name not in transforms
            }
            before = dataclasses.replace(before, beside=beside)
        return dataclasses.replace(self.recipe, transforms=transforms, pretraining=before)


def contenders(
    names: tuple[str, ...] = (), recipe_path: Path = RECIPE, predicted: Collection[str] = ()
) -> dict[str, Contender]:
    """All contenders, or those named; of the libraries `predicted` none learns soils in its
    recipe's pretraining.

    Raises:
        UsageError: there is none of that name.
    """
    recipe = recipes.load(recipe_path).pretrained_without(predicted)
    alone = dataclasses.replace(recipe.fit, teachers=0, mixing=0.0)
    untaught = dataclasses.replace(recipe, gaussian_processes=(), pretraining=None, fit=alone)
    several = dataclasses.replace(
        untaught, fit=dataclasses.replace(untaught.fit, teachers=recipe.fit.teachers or TEACHERS)
    )
    taught = recipe
    if not recipe.fit.teachers and not recipe.gaussian_processes:
        taught = dataclasses.replace(several, pretraining=recipe.pretraining)
    every: dict[str, Contender] = {name: Rival(method) for name, method in METHODS.items()}
    paper = recipes.load(PAPER_RECIPE)
    networks = [
        Network("CCNVR", untaught),
        Network("CCNVR averaged", several, average=True),
        Network(BEST, taught),
        Network("CCNVR paper", paper),
    ]
    if recipe.gaussian_processes:
        # Without them the teachers are the networks that are averaged anyway.
        networks.append(Network("CCNVR's teachers", taught, average=True))
    every |= {network.name: network for network in networks}
    if unknown := [name for name in names if name not in every]:
        raise UsageError(f"method {unknown[0]!r} is not one of {', '.join(every)}")
    return {name: contender for name, contender in every.items() if not names or name in names}

"""The methods that an experiment compares, under one interface.

A rival is one model for each property; CCNVR is one network for all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ccnvr.edge.typed import to_data
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.calibration.recipe_soils import load_before
from ccnvr.train.calibration.resampled import calibrate
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.recipe import recipe_file as recipes
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.rivals.method import Method
from ccnvr.train.rivals.scikit import METHODS
from ccnvr.train.rivals.tuning import Budget, TuningSoils, tune

Choice = dict[str, Any]
PredictAll = Callable[[Array], Array]
"""A function from absorbance `(n, bands)` to properties `(n, properties)`."""

RECIPE = Path(__file__).parents[1] / "recipes" / "study_recipe.toml"
PAPER_RECIPE = Path(__file__).parents[1] / "recipes" / "paper_recipe.toml"
TEACHERS = 3
BEST = "CCNVR distilled"
"""The name of the single network that was taught as its recipe says."""


class Contender(Protocol):
    """One method in an experiment."""

    @property
    def name(self) -> str:
        """The name in tables."""

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """Choose what to fit by the training soils alone; JSON can hold the result."""

    def fit(self, choice: Choice, soils: Soils, seed: int) -> PredictAll:
        """Calibrate on all of the training soils."""


@dataclass(frozen=True)
class Rival:
    """A rival, which is tuned and fitted for each property."""

    method: Method

    @property
    def name(self) -> str:
        """The name in tables."""
        return self.method.name

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """Return the best configuration of each property in cross-validation, and its score."""
        choice, groups = {}, soil_of(soils)
        for index, name in enumerate(soils.properties):
            known = ~np.isnan(soils.values[:, index])
            measured = TuningSoils(
                soils.grid, soils.spectra[known], soils.values[known, index], groups[known]
            )
            # As a dictionary, because the ledger holds JSON.
            choice[name] = dataclasses.asdict(tune(self.method, measured, budget))
        return choice

    def fit(self, choice: Choice, soils: Soils, seed: int) -> PredictAll:
        """Fit one model for each property."""
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
    """CCNVR by a recipe, in which all choices are made.

    With `average`, predictions are the mean of the network's teachers instead of its own.
    """

    name: str
    recipe: TrainingRecipe
    average: bool = False

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """Return the recipe, which leaves nothing to choose."""
        return {"recipe": to_data(self.recipe_for(soils))}

    def fit(
        self,
        choice: Choice,
        soils: Soils,
        seed: int,
        on_epoch: Callable[[float], None] = lambda loss: None,
    ) -> PredictAll:
        """Fit one network for all properties."""
        recipe = self.recipe_for(soils)
        return calibrate(
            Fitting(recipe, seed, on_epoch=on_epoch),
            soils.grid,
            soils.spectra,
            soils.values,
            before=None if self.average else load_before(recipe),
            average=self.average,
        )

    def recipe_for(self, soils: Soils) -> TrainingRecipe:
        """Return the recipe for these soils' properties; those it lacks are not transformed."""
        transforms = {
            name: self.recipe.transforms.get(name, "identity") for name in soils.properties
        }
        before = self.recipe.pretraining
        if before is not None:
            # A property of its own cannot be one that is learnt beside them.
            beside = {
                name: transform
                for name, transform in before.beside.items()
                if name not in transforms
            }
            before = dataclasses.replace(before, beside=beside)
        definitions = {
            name: stated for name, stated in self.recipe.definitions.items() if name in transforms
        }
        return dataclasses.replace(
            self.recipe, transforms=transforms, definitions=definitions, pretraining=before
        )


def contenders(
    names: tuple[str, ...] = (), recipe_path: Path = RECIPE, predicted: Collection[str] = ()
) -> dict[str, Contender]:
    """Return contenders by name.

    Args:
        names: those to return; none stands for all.
        recipe_path: CCNVR's recipe.
        predicted: libraries whose soils are predicted, so that no network is pretrained on them.

    Raises:
        UsageError: there is no contender of that name.
    """
    recipe = recipes.load(recipe_path).pretrained_without(predicted)
    alone = dataclasses.replace(recipe.fit, teachers=0, mixing=0.0)
    untaught = dataclasses.replace(recipe, gaussian_processes=(), pretraining=None, fit=alone)
    several = dataclasses.replace(
        untaught, fit=dataclasses.replace(untaught.fit, teachers=recipe.fit.teachers or TEACHERS)
    )
    # A recipe without teachers is given some, so that there is something to distil.
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
        # Without Gaussian processes the teachers are the networks of "CCNVR averaged".
        networks.append(Network("CCNVR's teachers", taught, average=True))
    every |= {network.name: network for network in networks}
    if unknown := [name for name in names if name not in every]:
        raise UsageError(f"method {unknown[0]!r} is not one of {', '.join(every)}")
    return {name: contender for name, contender in every.items() if not names or name in names}

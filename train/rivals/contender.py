"""The kinds of methods that an experiment compares, under one interface.

A rival is one model for each property; CCNVR is one network for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from torch import nn

from ccnvr.edge.typed import to_data
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.calibration.recipe_soils import load_before
from ccnvr.train.calibration.resampled import calibrate
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import MemberSettings
from ccnvr.train.rivals.members import fit_to, recipe_for
from ccnvr.train.rivals.method import Method
from ccnvr.train.rivals.neural import NetworkMethod
from ccnvr.train.rivals.tuning import Budget, TuningSoils, tune

Choice = dict[str, Any]
PredictAll = Callable[[Array], Array]
"""A function from absorbance `(n, bands)` to properties `(n, properties)`."""


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
    scales: Mapping[str, str] = field(default_factory=dict)
    """By property, the transform that it is scored after, if any."""

    @property
    def name(self) -> str:
        """The name in tables."""
        return self.method.name

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """Return the best configuration of each property in cross-validation, and its score."""
        return {name: self.tuned(soils, name, budget) for name in soils.properties}

    def tuned(self, soils: Soils, name: str, budget: Budget) -> Choice:
        """Return the best configuration of one property, and its score."""
        values = soils.column(name)
        known = ~np.isnan(values)
        measured = TuningSoils(
            soils.grid,
            soils.spectra[known],
            values[known],
            soil_of(soils)[known],
            self.scales.get(name, "identity"),
        )
        # As a dictionary, because the ledger holds JSON.
        return asdict(tune(self.method, measured, budget))

    def fit(self, choice: Choice, soils: Soils, seed: int) -> PredictAll:
        """Fit one model for each property."""
        models = []
        for index, name in enumerate(soils.properties):
            # Each property has its own rows, because not every soil was measured for all of them.
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
class NetworkRival(Rival):
    """A rival that is one network for all properties, as CCNVR is.

    One for each property takes as many times as long, which many soils do not allow.
    """

    method: NetworkMethod

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """Return the configuration with the best mean score, under the name of each property."""
        scales = tuple(self.scales.get(name, "identity") for name in soils.properties)
        together = self._together(soils)
        measured = TuningSoils(soils.grid, soils.spectra, soils.values, soil_of(soils), scales)
        return dict.fromkeys(soils.properties, asdict(tune(together, measured, budget)))

    def fit(self, choice: Choice, soils: Soils, seed: int) -> PredictAll:
        """Fit the network."""
        configuration = choice[soils.properties[0]]["configuration"]
        return self._together(soils).fit(
            configuration, soils.grid, soils.spectra, soils.values, seed
        )

    def _together(self, soils: Soils) -> NetworkMethod:
        return self.method.together(
            {name: self.scales.get(name, "identity") for name in soils.properties}
        )


@dataclass(frozen=True)
class Network:
    """CCNVR by a recipe, in which all choices are made.

    With `average`, predictions are the mean of the network's teachers instead of its own. If
    `taught`, members teach it too, where the recipe says so.
    """

    name: str
    recipe: TrainingRecipe
    average: bool = False
    taught: bool = False

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """Return the recipe, which leaves nothing to choose."""
        return {"recipe": to_data(recipe_for(self.recipe, soils))}

    def fitting(self, soils: Soils, seed: int) -> Fitting:
        """Return what to train for these soils, with the members that teach already fitted."""
        recipe = recipe_for(self.recipe, soils)
        teachers: tuple[nn.Module, ...] = ()
        if self.taught and recipe.members and recipe.members.teach:
            teachers = (fit_to(recipe, recipe.members, soils, seed).teacher(),)
        return Fitting(recipe, seed, teachers=teachers)

    def fit(
        self,
        choice: Choice,
        soils: Soils,
        seed: int,
        on_epoch: Callable[[float], None] = lambda loss: None,
    ) -> PredictAll:
        """Fit one network for all properties."""
        fitting = replace(self.fitting(soils, seed), on_epoch=on_epoch)
        return calibrate(
            fitting,
            soils.grid,
            soils.spectra,
            soils.values,
            # `average` asks for the mean of the teachers, which are not pretrained.
            before=None if self.average else load_before(fitting.recipe),
            average=self.average,
        )


@dataclass(frozen=True)
class MembersAlone:
    """The plain mean of a recipe's members of some kinds, without the network."""

    name: str
    recipe: TrainingRecipe
    settings: MemberSettings

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """Return the settings; the members choose the rest when they are fitted."""
        return {"members": to_data(self.settings)}

    def fit(self, choice: Choice, soils: Soils, seed: int) -> PredictAll:
        """Fit the members for all properties."""
        return fit_to(recipe_for(self.recipe, soils), self.settings, soils, seed).predict


@dataclass(frozen=True)
class Mean:
    """The mean of other contenders' predictions, on the scales that they are scored on.

    A comparison forms it from what it has kept of them.
    """

    name: str
    parts: tuple[Contender, ...]

    def choose(self, soils: Soils, budget: Budget) -> Choice:
        """Return the names of the parts, which choose for themselves."""
        return {"mean of": [part.name for part in self.parts]}

    def fit(self, choice: Choice, soils: Soils, seed: int) -> PredictAll:
        """Refuse; a comparison fits the parts."""
        raise TypeError(f"{self.name} is formed from the predictions of its parts")

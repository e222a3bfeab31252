"""The methods that an experiment compares, under one interface.

A rival is one model for each property; CCNVR is one network for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import nn

from ccnvr.edge.chemometrics.grid import Grid, WavelengthError, check_wavelengths
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
from ccnvr.train.recipe.settings import MATERN, SVR, MemberSettings
from ccnvr.train.rivals.members import fit_to, recipe_for
from ccnvr.train.rivals.method import Method
from ccnvr.train.rivals.neural import NetworkMethod
from ccnvr.train.rivals.scikit import METHODS
from ccnvr.train.rivals.tuning import Budget, TuningSoils, tune

Choice = dict[str, Any]
PredictAll = Callable[[Array], Array]
"""A function from absorbance `(n, bands)` to properties `(n, properties)`."""

RECIPE = Path(__file__).parents[1] / "recipes" / "study_recipe.toml"
WORLD_RECIPE = RECIPE.with_name("icraf_recipe.toml")
PAPER_RECIPE = Path(__file__).parents[1] / "recipes" / "paper_recipe.toml"
TEACHERS = 3
BEST = "CCNVR distilled"
"""The name of the single network that was taught as its recipe says."""

MEMBERS = "members"
"""The name of the plain mean of the members, without a network."""

MOST_SOILS = 800
"""The soils that the members compare with, unless the recipe says."""


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


@dataclass(frozen=True)
class Terms:
    """What a library asks of all methods alike.

    Attributes:
        scales: by property, the transform that it is scored after; the others are scored as they
            are.
        grid: the grid that recipes of CCNVR get which read bands that it lacks; None for no change.
        stacked: whether rivals may choose all channels of CCNVR's recipes side by side, and
            networks among them are for all properties together.
    """

    scales: Mapping[str, str] = field(default_factory=dict)
    grid: Grid | None = None
    stacked: bool = False


NO_TERMS = Terms()


def contenders(
    names: tuple[str, ...] = (),
    recipe_path: Path = RECIPE,
    predicted: Collection[str] = (),
    terms: Terms = NO_TERMS,
) -> dict[str, Contender]:
    """Return contenders by name; `A+B` is the mean of A's and B's predictions.

    Args:
        names: those to return; none stands for all.
        recipe_path: CCNVR's recipe.
        predicted: libraries whose soils are predicted, so that no network is pretrained on them.
        terms: what the library asks of them.

    Raises:
        UsageError: there is no contender of that name.
    """
    recipe = _covered(recipes.load(recipe_path).pretrained_without(predicted), terms.grid)
    every: dict[str, Contender] = {name: _rival(method, terms) for name, method in METHODS.items()}
    every |= {network.name: network for network in _networks(recipe, terms)}
    every |= {member.name: member for member in _members(recipe)}
    for name in names:
        if unknown := [part for part in _parts(name) if part not in every]:
            raise UsageError(f"method {unknown[0]!r} is not one of {', '.join(every)}")
    every |= {
        name: Mean(name, tuple(every[part] for part in _parts(name)))
        for name in names
        if name not in every
    }
    return {name: contender for name, contender in every.items() if not names or name in names}


def _rival(method: Method, terms: Terms) -> Rival:
    if not terms.stacked:
        return Rival(method, terms.scales)
    stacked = method.stacked()
    if isinstance(stacked, NetworkMethod):
        return NetworkRival(stacked, terms.scales)
    return Rival(stacked, terms.scales)


def _covered(recipe: TrainingRecipe, grid: Grid | None) -> TrainingRecipe:
    """Return the recipe on this grid, if that does not cover its own."""
    if grid is not None:
        try:
            check_wavelengths(grid.wavelengths(), recipe.grid)
        except WavelengthError:
            return replace(recipe, grid=grid)
    return recipe


def _parts(name: str) -> list[str]:
    return [part.strip() for part in name.split("+")]


def _networks(recipe: TrainingRecipe, terms: Terms) -> list[Network]:
    alone = replace(recipe.fit, teachers=0, mixing=0.0)
    untaught = replace(recipe, gaussian_processes=(), pretraining=None, fit=alone)
    several = replace(untaught, fit=replace(untaught.fit, teachers=recipe.fit.teachers or TEACHERS))
    # A recipe without teachers is given some, so that there is something to distil.
    taught, by_members = recipe, recipe.members is not None and recipe.members.teach
    if not recipe.fit.teachers and not recipe.gaussian_processes and not by_members:
        taught = replace(several, pretraining=recipe.pretraining)
    paper = _covered(recipes.load(PAPER_RECIPE), terms.grid)
    paper = replace(paper, transforms={**paper.transforms, **terms.scales})
    networks = [
        Network("CCNVR", untaught),
        Network("CCNVR averaged", several, average=True),
        Network(BEST, taught, taught=True),
        Network("CCNVR paper", paper),
    ]
    if recipe.gaussian_processes:
        # Without Gaussian processes the teachers are the networks of "CCNVR averaged".
        networks.append(Network("CCNVR's teachers", taught, average=True))
    return networks


def _members(recipe: TrainingRecipe) -> list[MembersAlone]:
    """Return the mean of the recipe's members, or of the usual ones, and each kind alone."""
    settings = recipe.members or MemberSettings((MATERN, SVR), most_soils=MOST_SOILS)
    return [
        MembersAlone(MEMBERS, recipe, settings),
        # PLSR alone is not possible, and is a rival anyway.
        *(
            MembersAlone(f"member {kind}", recipe, replace(settings, kinds=(kind,)))
            for kind in (MATERN, SVR)
        ),
    ]

"""The methods that experiments compare, by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ccnvr.edge.chemometrics.grid import Grid, WavelengthError, check_wavelengths
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import splits
from ccnvr.train.recipe import recipe_file as recipes
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import MATERN, SVR, MemberSettings
from ccnvr.train.rivals.contender import (
    Contender,
    Mean,
    MembersAlone,
    Network,
    NetworkRival,
    Rival,
)
from ccnvr.train.rivals.method import Method
from ccnvr.train.rivals.neural import NetworkMethod
from ccnvr.train.rivals.scikit import METHODS

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

WORLD_TERMS = Terms(splits.WORLD_SCALES, splits.WORLD_GRID, stacked=True)
"""The terms of ICRAF, whose spectra lack bands and whose properties span decades."""


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
    # Mixing goes with the teachers, who give the values of the mixtures.
    alone = replace(recipe.fit, teachers=0, mixing=0.0)
    untaught = replace(recipe, gaussian_processes=(), pretraining=None, fit=alone)
    several = replace(untaught, fit=replace(untaught.fit, teachers=recipe.fit.teachers or TEACHERS))
    # A recipe without teachers is given some, so that there is something to distil.
    taught, by_members = recipe, recipe.members is not None and recipe.members.teach
    if not recipe.fit.teachers and not recipe.gaussian_processes and not by_members:
        taught = replace(several, pretraining=recipe.pretraining)
    paper = _covered(recipes.load(PAPER_RECIPE), terms.grid)
    # The published network is given the same transforms, or it would be scored on a scale that it
    # was not trained for.
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

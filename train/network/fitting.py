"""The context of a fit: what to train, its seed, and how progress is saved and reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ccnvr.train.network.team import ALONE, Team
from ccnvr.train.recipe.recipe import TrainingRecipe


def _unheard(loss: float) -> None:
    pass


@dataclass(frozen=True)
class Fitting:
    """The context that all networks of one fit share."""

    recipe: TrainingRecipe
    """The layers, the preprocessing and the optimisation."""

    seed: int
    """The seed of initial weights, batches and augmentation."""

    checkpoint: Path | None = None
    """A file that is written after each epoch, and continued from if it exists.

    The result is the same with it, without it, and after interruptions.
    """

    on_epoch: Callable[[float], None] = _unheard
    """Called with the loss after each epoch of every network."""

    team: Team = ALONE
    """The processes that train together; all of them use the same soils."""

    teachers: tuple[nn.Module, ...] = ()
    """Models that were fitted before and teach beside those that the recipe names."""

    def with_fit(self, **changes: Any) -> Fitting:
        """Return this fitting with other settings of the recipe's optimisation."""
        fit = replace(self.recipe.fit, **changes)
        return replace(self, recipe=replace(self.recipe, fit=fit))

    def beside(self, name: str) -> Fitting:
        """Return the fitting of another network, with a checkpoint of this name beside this one."""
        return replace(self, checkpoint=self.checkpoint and self.checkpoint.with_name(name))

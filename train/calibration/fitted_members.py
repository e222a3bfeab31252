"""Members fitted to soils, with the way back to the units of the properties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array, Float32, Integers
from ccnvr.train.members.members import Members, fit_members, mean_of
from ccnvr.train.members.soils import member_soils
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.convert import to_arrays
from ccnvr.train.network.folded_model import FoldedModel
from ccnvr.train.network.scales import make_targets, restore, standardise
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import MemberSettings


@dataclass(frozen=True, eq=False)
class FittedMembers:
    """Members of a recipe, and what they were fitted with."""

    recipe: TrainingRecipe
    members: Members
    targets: tuple[Target, ...]
    preprocess: Preprocessor

    def outputs(self, inputs: Float32) -> dict[str, Array]:
        """Return standardised properties `(n, targets)` by member for `(n, channels, bands)`."""
        return self.members.outputs(inputs)

    def predict(self, spectra: Array) -> Array:
        """Return the plain mean of the members, `(n, targets)` in their units, for absorbance
        `(n, bands)`.
        """
        outputs = self.outputs(self.preprocess.batch(spectra))
        # Averaged as the exported model adds them up: standardised and transformed.
        return restore(self.targets, np.mean(list(outputs.values()), axis=0))

    def mean(self, network: CCNVR | None = None) -> CCNVR:
        """Return the plain mean of the members, and of a network if one is given, as one model."""
        return mean_of(self.members, len(self.recipe.channels), self.recipe.grid.bands, network)

    def teacher(self) -> nn.Module:
        """Return their mean as a model that a network can learn from."""
        return FoldedModel(to_arrays(self.mean()))


def fit_to(
    recipe: TrainingRecipe,
    settings: MemberSettings,
    preprocess: Preprocessor,
    spectra: Array,
    values: Array,
    groups: Integers,
    seed: int,
) -> FittedMembers:
    """Fit members to absorbance `(n, bands)` and properties `(n, targets)`, NaN if not measured.

    `groups` `(n,)` numbers the soils, whose spectra are left out together.
    """
    targets = make_targets(recipe, values)
    standardised = standardise(targets, values)
    # A row without any value teaches members nothing.
    known = ~np.all(np.isnan(standardised), axis=1)
    soils = member_soils(
        recipe, preprocess, spectra[known], standardised[known], groups[known], seed
    )
    return FittedMembers(recipe, fit_members(settings, soils), targets, preprocess)

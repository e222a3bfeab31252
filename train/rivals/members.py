"""The members of a training recipe, fitted to the soils of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from ccnvr.edge.chemometrics.grid import resampling_matrix
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.members.members import Members, fit_members, mean_of
from ccnvr.train.members.soils import member_soils
from ccnvr.train.network.convert import to_arrays
from ccnvr.train.network.folded_model import FoldedModel
from ccnvr.train.network.scales import make_targets, restore, standardise
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import MemberSettings


@dataclass(frozen=True, eq=False)
class FittedMembers:
    """Members with the way from spectra on the soils' grid to their inputs, and back to units."""

    recipe: TrainingRecipe
    members: Members
    targets: tuple[Target, ...]
    preprocess: Preprocessor
    resample: Array

    def predict(self, spectra: Array) -> Array:
        """Return the plain mean of the members, `(n, properties)`, for absorbance `(n, bands)`."""
        outputs = self.members.outputs(self.preprocess.batch(spectra @ self.resample))
        return restore(self.targets, np.mean(list(outputs.values()), axis=0))

    def teacher(self) -> nn.Module:
        """Return their mean as a model that a network can learn from."""
        channels, bands = len(self.recipe.channels), self.recipe.grid.bands
        return FoldedModel(to_arrays(mean_of(self.members, channels, bands)))


def fit_to(
    recipe: TrainingRecipe, settings: MemberSettings, soils: Soils, seed: int
) -> FittedMembers:
    """Fit members to soils on any grid that covers that of the recipe."""
    resample = resampling_matrix(soils.grid.wavelengths(), recipe.grid).T
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
    targets = make_targets(recipe, soils.values)
    standardised = standardise(targets, soils.values)
    # A row without any value teaches members nothing.
    known = ~np.all(np.isnan(standardised), axis=1)
    fitted_to = member_soils(
        recipe,
        preprocess,
        soils.spectra[known] @ resample,
        standardised[known],
        soil_of(soils)[known],
        seed,
    )
    members = fit_members(settings, fitted_to)
    return FittedMembers(recipe, members, targets, preprocess, resample)


def recipe_for(recipe: TrainingRecipe, soils: Soils) -> TrainingRecipe:
    """Return a recipe for these soils' properties; those it lacks are not transformed."""
    transforms = {name: recipe.transforms.get(name, "identity") for name in soils.properties}
    before = recipe.pretraining
    if before is not None:
        # A property of its own cannot be one that is learnt beside them.
        beside = {
            name: transform for name, transform in before.beside.items() if name not in transforms
        }
        before = replace(before, beside=beside)
    definitions = {
        name: stated for name, stated in recipe.definitions.items() if name in transforms
    }
    return replace(recipe, transforms=transforms, definitions=definitions, pretraining=before)

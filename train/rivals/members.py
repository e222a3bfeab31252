"""The members of a training recipe, fitted to the soils of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from ccnvr.edge.chemometrics.grid import resampling_matrix
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration import fitted_members
from ccnvr.train.calibration.fitted_members import FittedMembers
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import MemberSettings


@dataclass(frozen=True, eq=False)
class ResampledMembers:
    """Members that take spectra on the grid of a comparison's soils."""

    fitted: FittedMembers
    resample: Array

    def predict(self, spectra: Array) -> Array:
        """Return the plain mean of the members, `(n, properties)`, for absorbance `(n, bands)`."""
        return self.fitted.predict(spectra @ self.resample)

    def teacher(self) -> nn.Module:
        """Return their mean as a model that a network can learn from."""
        return self.fitted.teacher()


def fit_to(
    recipe: TrainingRecipe, settings: MemberSettings, soils: Soils, seed: int
) -> ResampledMembers:
    """Fit members to soils on any grid that covers that of the recipe."""
    resample = resampling_matrix(soils.grid.wavelengths(), recipe.grid).T
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
    fitted = fitted_members.fit_to(
        recipe,
        settings,
        preprocess,
        soils.spectra @ resample,
        soils.values,
        soil_of(soils),
        seed,
    )
    return ResampledMembers(fitted, resample)


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

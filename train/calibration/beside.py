"""Members fitted to a few soils beside a model that was trained on others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.firmware_bridge.arrays import Array, Float32, Integers
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.members.adapted import adapted, rescaled
from ccnvr.train.members.around import AroundModel, fit_around
from ccnvr.train.members.members import Member, Members, fit_members
from ccnvr.train.members.projection import Projection
from ccnvr.train.members.soils import MemberSoils, member_soils
from ccnvr.train.network.ccnvr import CCNVR, network_outputs
from ccnvr.train.network.scales import standardise
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import MemberSettings

AROUND = "process around the model"

FEWEST_VALUES = 4
"""The soils that members need a property of; of fewer they learn what the model predicts."""


@dataclass(frozen=True, eq=False)
class BesideModel:
    """Members that were fitted to a few soils, in the standardised units of a model's targets."""

    around: AroundModel
    """The process around the predictions of the model."""

    own: Mapping[str, Member]
    """By kind: the members that know nothing but these soils."""

    def outputs(self, inputs: Float32, predicted: Array) -> dict[str, Array]:
        """Return standardised properties `(n, targets)` by member.

        `inputs` is `(n, channels, bands)`, and `predicted` what the model outputs for them.
        """
        process = Members({AROUND: self.around.member}).outputs(inputs)[AROUND]
        return {
            **Members(self.own).outputs(inputs),
            AROUND: self.around.shares * predicted + process,
        }

    def alone(self, network: CCNVR) -> CCNVR:
        """Return the process around the model as one model, given the model."""
        return adapted(network, self.around.shares, [self.around.member])

    def mean(self, network: CCNVR) -> CCNVR:
        """Return the plain mean of all members as one model, given the model."""
        count = len(self.own) + 1
        members = [self.around.member, *self.own.values()]
        return adapted(
            network, self.around.shares / count, [rescaled(each, 1.0 / count) for each in members]
        )

    def mean_with(self, tuned: CCNVR) -> CCNVR:
        """Return the plain mean of the own members and of a network that was tuned."""
        count = len(self.own) + 1
        shares = np.full(tuned.config.outputs, 1.0 / count)
        return adapted(tuned, shares, [rescaled(each, 1.0 / count) for each in self.own.values()])


def fit_beside(
    recipe: TrainingRecipe,
    calibration: Calibration,
    spectra: Array,
    values: Array,
    groups: Integers,
    seed: int,
) -> BesideModel:
    """Fit members to absorbance `(n, bands)` and properties `(n, targets)`, NaN where not measured.

    `groups` `(n,)` is the number of each spectrum's soil.
    """
    preprocess = _preprocessor(recipe, calibration)
    standardised = standardise(calibration.targets, values)
    soils = member_soils(recipe, preprocess, spectra, standardised, groups, seed)
    inputs = soils.inputs.astype(np.float32).reshape(len(soils.inputs), len(recipe.channels), -1)
    predicted = network_outputs(calibration.network, inputs).astype(np.float64)
    soils = replace(soils, values=_filled(soils, predicted))
    # One copy of each: among copies of few soils half of the components are differences of copies,
    # and the half-whitening makes these as large as differences of soils.
    once = soils.rows(soils.first)
    around = fit_around(once, Projection.of(once.inputs, once.channels), predicted[soils.first])
    mean, spread = np.nanmean(soils.values, axis=0), np.nanstd(soils.values, axis=0)
    # A model that predicts one value for all of them gives nothing to scale by.
    spread = np.where(spread > 0.0, spread, 1.0)
    scaled = replace(soils, values=(soils.values - mean) / spread)
    own = fit_members(MemberSettings(), scaled).fitted
    return BesideModel(
        around, {kind: rescaled(member, spread, mean) for kind, member in own.items()}
    )


def inputs_and_outputs(
    recipe: TrainingRecipe, calibration: Calibration, spectra: Array
) -> tuple[Float32, Array]:
    """Return a model's inputs `(n, channels, bands)` and standardised outputs `(n, targets)`.

    `spectra` is absorbance `(n, bands)` on the recipe's grid.
    """
    inputs = _preprocessor(recipe, calibration).batch(spectra)
    return inputs, network_outputs(calibration.network, inputs).astype(np.float64)


def offset_of(calibration: Calibration, predicted: Array, values: Array) -> Array:
    """Return the mean error `(targets,)` of standardised outputs `(n, targets)` of a model.

    It is 0 for a property that was measured in none of the soils.
    """
    errors = standardise(calibration.targets, values) - predicted
    known = ~np.isnan(errors)
    counts = np.maximum(known.sum(axis=0), 1)
    found: Array = np.where(known, errors, 0.0).sum(axis=0) / counts
    return found


def _preprocessor(recipe: TrainingRecipe, calibration: Calibration) -> Preprocessor:
    return Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction)


def _filled(soils: MemberSoils, predicted: Array) -> Array:
    """Return the values `(rows, targets)`, with predictions for what too few soils were measured
    for.
    """
    values = soils.values.copy()
    for column, measured in enumerate(values.T):
        known = ~np.isnan(measured)
        if len(np.unique(soils.groups[known])) < FEWEST_VALUES or np.ptp(measured[known]) == 0.0:
            values[:, column] = predicted[:, column]
    return values

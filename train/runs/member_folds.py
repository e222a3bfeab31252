"""Repeated cross-validation of members, with the network among them where it may be of use.

The model is the plain mean of the members, with or without the network. No single one is chosen and
none is weighted: choosing by cross-validation and stacking were both worse than the plain mean.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.fitted_members import FittedMembers, fit_to
from ccnvr.train.calibration.folds import check_folds, fold_of
from ccnvr.train.members.repeated_folds import LeftOutFold, RepeatedFolds
from ccnvr.train.network.ccnvr import network_outputs
from ccnvr.train.network.scales import make_targets, restore
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import FEWEST_FOR_NETWORK, MemberSettings
from ccnvr.train.runs.member_report import KeptModel
from ccnvr.train.runs.run_data import RunData

NETWORK, MEMBERS, BOTH = "network", "mean of the members", "mean with the network"

FitNetwork = Callable[[Integers, str, int, tuple[nn.Module, ...]], Calibration]
"""Train the recipe's network on some rows, with some teachers.

A folder of the run and a seed tell fits apart.
"""


def fit_mean(
    recipe: TrainingRecipe, data: RunData, fit_network: FitNetwork, on_fit: Callable[[], Any]
) -> KeptModel:
    """Cross-validate members and network, choose between their two means, and fit that one."""
    settings = recipe.members
    assert settings is not None
    tried = fit_network if is_tried(settings, data) else None
    folds = tuple(_folds(recipe, data, repeat) for repeat in range(settings.repeats))
    validation = RepeatedFolds(data.soils.values, folds, recipe.folds)
    predicted = validation.predict(partial(_predict, recipe, data, tried), on_fit)
    with_network, reason = _decide(settings, validation, predicted)
    calibration = _final(recipe, data, fit_network if with_network else None)
    on_fit()
    kept = BOTH if with_network else MEMBERS
    return KeptModel(calibration, validation, predicted, kept, with_network, reason)


def is_tried(settings: MemberSettings, data: RunData) -> bool:
    """Return whether the network is trained at all."""
    if settings.network == "auto":
        return len(np.unique(data.groups)) >= FEWEST_FOR_NETWORK
    return bool(settings.network)


def _folds(recipe: TrainingRecipe, data: RunData, repeat: int) -> Integers:
    # The first repeat has the run's own folds, whose errors the intervals are made of.
    if not repeat:
        return data.folds
    folds = fold_of(data.soils, recipe.folds, recipe.fit.seed + repeat)
    check_folds(recipe, data.soils, folds)
    return folds


def _predict(
    recipe: TrainingRecipe, data: RunData, fit_network: FitNetwork | None, left_out: LeftOutFold
) -> dict[str, Array]:
    """Return predictions of left-out soils `(n, targets)` by each member and each mean."""
    fitted = _fitted(recipe, data, left_out.rows, left_out.number)
    inputs = fitted.preprocess.batch(data.soils.spectra[left_out.held_out])
    outputs = fitted.outputs(inputs)
    # Averaged as the model adds them up: standardised and transformed.
    members = list(outputs.values())
    outputs[MEMBERS] = np.mean(members, axis=0)
    if fit_network is not None:
        # The first repeat has the names that it has in a run without members.
        repeat = f"repeat-{left_out.repeat}-" if left_out.repeat else ""
        part = f"{repeat}fold-{left_out.fold}"
        teachers = _teachers(recipe, fitted)
        network = fit_network(left_out.rows, part, left_out.number, teachers).network
        outputs[NETWORK] = network_outputs(network, inputs).astype(np.float64)
        outputs[BOTH] = np.mean([*members, outputs[NETWORK]], axis=0)
    return {name: restore(fitted.targets, values) for name, values in outputs.items()}


def predict_left_out(
    recipe: TrainingRecipe, data: RunData, rows: Integers, held_out: Integers, offset: int
) -> Array:
    """Return predictions `(n, targets)` of left-out soils by the mean of members fitted to others.

    `offset` tells the fit's random numbers from those of other fits.
    """
    return _fitted(recipe, data, rows, offset).predict(data.soils.spectra[held_out])


def _decide(
    settings: MemberSettings, validation: RepeatedFolds, predicted: dict[str, Array]
) -> tuple[bool, str]:
    """Return whether the network is a member, and why."""
    if settings.network != "auto":
        return bool(settings.network), "as the recipe says"
    if BOTH not in predicted:
        return False, f"not tried on fewer than {FEWEST_FOR_NETWORK} soils"
    with_it, without = (validation.scores(predicted[name]) for name in (BOTH, MEMBERS))
    gain = f"mean R2 {with_it.mean():.3f} with it, {without.mean():.3f} without"
    if validation.is_better(with_it, without):
        return True, gain
    return False, f"{gain}, no more than chance"


def _teachers(recipe: TrainingRecipe, fitted: FittedMembers) -> tuple[nn.Module, ...]:
    """Return the mean of the members as a teacher, if the recipe says that they teach."""
    assert recipe.members is not None
    return (fitted.teacher(),) if recipe.members.teach else ()


def _final(recipe: TrainingRecipe, data: RunData, fit_network: FitNetwork | None) -> Calibration:
    every = np.arange(len(data.soils))
    members = _fitted(recipe, data, every, 0)
    network = None
    if fit_network is not None:
        network = fit_network(every, "network", 0, _teachers(recipe, members)).network
    targets = make_targets(recipe, data.soils.values)
    return Calibration(members.mean(network), targets, data.correction)


def _fitted(recipe: TrainingRecipe, data: RunData, rows: Integers, offset: int) -> FittedMembers:
    assert recipe.members is not None
    soils = data.soils
    return fit_to(
        recipe,
        recipe.members,
        data.preprocessor(recipe),
        soils.spectra[rows],
        soils.values[rows],
        data.groups[rows],
        recipe.fit.seed * 1000 + offset,
    )

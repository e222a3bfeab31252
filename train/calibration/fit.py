"""Fit a CCNVR to absorbance and laboratory values, alone or taught by other models, and predict.

A property may be missing for some of the soils.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from torch import nn

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.augment import VariedInputs
from ccnvr.train.network.ccnvr import CCNVR, network_outputs, with_outputs
from ccnvr.train.network.epochs import AnyNetwork, train
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.network.gaussian_process import GaussianProcess
from ccnvr.train.network.lesson import Lesson
from ccnvr.train.network.scales import make_targets, restore, standardise
from ccnvr.train.recipe.recipe import TrainingRecipe


@dataclass(frozen=True)
class Calibration:
    """A fitted network, with what its inputs and outputs mean."""

    network: CCNVR
    """The network, ready to predict."""

    targets: tuple[Target, ...]
    """The property behind each output."""

    correction: Correction | None = None
    """The correction that spectra pass before the preprocessing, in training and in use."""


def fit(
    fitting: Fitting,
    spectra: Array,
    values: Array,
    *,
    correction: Correction | None = None,
    before: Soils | None = None,
) -> Calibration:
    """Train on absorbance `(n, bands)` on the recipe's grid and on properties `(n, targets)`.

    With `teachers` or `gaussian_processes` in the recipe, these are trained first, and the network
    that is kept learns from their mean, and that of the fitting's own teachers, as well as from the
    laboratory's values. With
    `pretraining`, it first learns these soils together with the soils `before`, which the caller
    has loaded with `load_before`.

    The teachers' checkpoints lie beside that of the fitting.

    Raises:
        UsageError: a batch is smaller than the team.
        ValueError: the recipe has `pretraining`, and `before` is missing.
    """
    fitting = replace(fitting, recipe=fitting.recipe.for_soils(len(spectra)))
    recipe = fitting.recipe
    smallest = min(fit.batch_size for fit in (recipe.fit, recipe.pretraining) if fit)
    if smallest < fitting.team.size:
        raise UsageError(
            f"batch_size {smallest} cannot be shared by {fitting.team.size} processes; give a "
            "larger one"
        )
    targets = make_targets(recipe, values)
    inputs = varied_inputs(fitting, spectra, correction)
    lesson = Lesson.of(standardise(targets, values))
    lesson = replace(lesson, teachers=fit_teachers(fitting, inputs, lesson))
    make = partial(CCNVR, recipe.network_config())
    if recipe.pretraining is not None:
        if before is None:
            raise ValueError("the recipe has [pretraining]; load its soils with load_before")
        pretrained = _pretrained(fitting, before, targets, spectra, values, correction)
        network = train(fitting, inputs, lesson, lambda: pretrained)
    else:
        network = train(fitting, inputs, lesson, make)
    return Calibration(network, targets, correction)


def varied_inputs(fitting: Fitting, spectra: Array, correction: Correction | None) -> VariedInputs:
    """Return model inputs from absorbance `(n, bands)`, varied as the recipe says."""
    recipe = fitting.recipe
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction)
    return VariedInputs(preprocess, spectra, recipe.fit.augmentation, fitting.seed)


def _pretrained(
    fitting: Fitting,
    others: Soils,
    targets: tuple[Target, ...],
    spectra: Array,
    values: Array,
    correction: Correction | None,
) -> CCNVR:
    """Return the network that has learnt these soils and the `others` of the pretraining."""
    recipe = fitting.recipe.pretraining_recipe()
    first = replace(fitting.beside("pretrained.pt"), recipe=recipe)
    own = np.full((len(values), len(recipe.properties)), np.nan)
    own[:, : len(targets)] = values
    every = np.concatenate([own, others.values])
    # What is kept must have the scales of the soils that are scored; only properties that are
    # dropped afterwards are scaled by the others.
    dropped = make_targets(recipe, every)[len(targets) :]
    lesson = Lesson.of(standardise((*targets, *dropped), every))
    inputs = varied_inputs(first, np.concatenate([spectra, others.spectra]), correction)
    network = train(first, inputs, lesson, partial(CCNVR, recipe.network_config()))
    kept = with_outputs(network, range(len(targets)))
    if kept.scale is not None:
        # From now on it sees the recipe's own soils only, which may have other means.
        kept.scale.reset_running_stats()
    return kept


def fit_teachers(fitting: Fitting, inputs: VariedInputs, lesson: Lesson) -> tuple[nn.Module, ...]:
    """Return those of the fitting, and the recipe's networks and Gaussian processes once trained.

    The networks learn from unmixed soils.
    """
    recipe, teachers = fitting.recipe, list[nn.Module]()
    alone = fitting.with_fit(mixing=0.0)
    for number in range(recipe.fit.teachers):
        teacher = replace(
            alone.beside(f"teacher-{number}.pt"), seed=_seed_of_teacher(fitting.seed, number)
        )
        make = partial(CCNVR, recipe.teacher_config(number))
        teachers.append(train(teacher, inputs, lesson, make))
    if recipe.gaussian_processes:
        soils, measured = inputs.unvaried(), lesson.measured()
        teachers += [
            GaussianProcess(kernel, soils, measured).eval() for kernel in recipe.gaussian_processes
        ]
    return (*fitting.teachers, *teachers)


def _seed_of_teacher(seed: int, number: int) -> int:
    return int(np.random.default_rng((seed, number)).integers(2**31))


def imitate(
    fitting: Fitting, calibration: Calibration, student: AnyNetwork, spectra: Array
) -> AnyNetwork:
    """Train a student to predict as the calibration's network does.

    `spectra` is absorbance `(n, bands)` on the recipe's grid, varied as the recipe says. Laboratory
    values are not needed.
    """
    nothing_measured = np.full((len(spectra), len(calibration.targets)), np.nan)
    lesson = replace(Lesson.of(nothing_measured), teachers=(calibration.network,))
    inputs = varied_inputs(fitting, spectra, calibration.correction)
    return train(fitting.with_fit(unmeasured_weight=1.0), inputs, lesson, lambda: student)


def predict(recipe: TrainingRecipe, calibration: Calibration, spectra: Array) -> Array:
    """Return properties `(n, targets)` by the torch network for absorbance `(n, bands)`."""
    return mean_prediction(
        recipe, (calibration.network,), calibration.targets, calibration.correction, spectra
    )


def mean_prediction(
    recipe: TrainingRecipe,
    networks: Sequence[nn.Module],
    targets: tuple[Target, ...],
    correction: Correction | None,
    spectra: Array,
) -> Array:
    """Return the mean prediction `(n, targets)` of several networks with the same targets."""
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction)
    inputs = preprocess.batch(spectra)
    # In double precision from here on, as the edge restores properties.
    properties: Array = np.mean(
        [
            restore(targets, network_outputs(network, inputs).astype(np.float64))
            for network in networks
        ],
        axis=0,
    )
    return properties

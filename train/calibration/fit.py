"""Fits a CCNVR to spectra with some properties missing, alone, taught by others, or from one that
was fitted before.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.grid import Grid, resampling_matrix
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.recipe_soils import load_before
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.augment import VariedInputs
from ccnvr.train.network.ccnvr import CCNVR, answers, with_outputs
from ccnvr.train.network.epochs import AnyNetwork, train
from ccnvr.train.network.gaussian_process import GaussianProcess
from ccnvr.train.network.lesson import Lesson
from ccnvr.train.network.scales import make_targets, restore, standardise
from ccnvr.train.network.team import ALONE, Team
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import Kernel


@dataclass(frozen=True)
class Calibration:
    """A fitted network, the meaning of its outputs, and the correction that its spectra went
    through.
    """

    network: CCNVR
    targets: tuple[Target, ...]
    correction: Correction | None = None


def fit(
    recipe: TrainingRecipe,
    spectra: Array,
    values: Array,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[float], None] = lambda loss: None,
    team: Team = ALONE,
    *,
    correction: Correction | None = None,
    before: Soils | None = None,
) -> Calibration:
    """Train on absorbance `(n, bands)` and properties `(n, targets)`.

    With `recipe.fit.teachers`, so many networks of other seeds are trained first, and with
    `recipe.gaussian_processes` so many of these are fitted; the network that is kept learns from
    their mean beside the laboratory's values. With `recipe.pretraining` it has learnt these and
    other soils before: those of `before`, or as `pool.load_before` finds them.

    `checkpoint` is written after each epoch and continued from if it exists, the others' beside it;
    the result is the same with it, without it, and after interruptions. `on_epoch` gets the loss of
    each epoch of every network. `team` is the processes that train together, all of which call this
    with the same soils. Spectra go through `correction`, as they will wherever the calibration is
    used.

    Raises:
        UsageError: the batches are smaller than the team.
    """
    smallest = min(fit.batch_size for fit in (recipe.fit, recipe.pretraining) if fit)
    if smallest < team.size:
        raise UsageError(
            f"batch_size {smallest} cannot be shared by {team.size} processes; give a larger one"
        )
    before = before or load_before(recipe)
    targets, inputs, lesson = _lesson(recipe, spectra, values, seed, correction)
    lesson = replace(
        lesson, teachers=_teachers(recipe, inputs, lesson, seed, checkpoint, on_epoch, team)
    )
    pretrained = _pretrained(
        recipe, before, targets, spectra, values, seed, checkpoint, on_epoch, team, correction
    )
    begin = partial(CCNVR, recipe.network_config()) if pretrained is None else lambda: pretrained
    network = train(recipe, inputs, lesson, seed, begin, checkpoint, on_epoch, team)
    return Calibration(network, targets, correction)


def _pretrained(
    recipe: TrainingRecipe,
    others: Soils | None,
    targets: tuple[Target, ...],
    spectra: Array,
    values: Array,
    seed: int,
    checkpoint: Path | None,
    on_epoch: Callable[[float], None],
    team: Team,
    correction: Correction | None,
) -> CCNVR | None:
    """The network that has learnt these soils and the `others` of `recipe.pretraining` together;
    None without it.
    """
    first = recipe.first_round
    if first is None or others is None:
        return None
    own = np.full((len(values), len(first.properties)), np.nan)
    own[:, : len(targets)] = values
    every = np.concatenate([own, others.values])
    # The scales of what is kept are those of the soils that are scored.
    lesson = Lesson.of(standardise((*targets, *make_targets(first, every)[len(targets) :]), every))
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction)
    inputs = VariedInputs(
        preprocess, np.concatenate([spectra, others.spectra]), first.fit.augmentation, seed
    )
    path = checkpoint and checkpoint.with_name("pretrained.pt")
    network = train(
        first, inputs, lesson, seed, lambda: CCNVR(first.network_config()), path, on_epoch, team
    )
    kept = with_outputs(network, range(len(targets)))
    if kept.scale is not None:
        # It sees the recipe's own soils alone from now on.
        kept.scale.reset_running_stats()
    return kept


def _teachers(
    recipe: TrainingRecipe,
    inputs: VariedInputs,
    lesson: Lesson,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[float], None] = lambda loss: None,
    team: Team = ALONE,
) -> tuple[nn.Module, ...]:
    """Whom a network learns from: networks, which learn of the soils themselves, and Gaussian
    processes.
    """
    alone = replace(recipe, fit=replace(recipe.fit, mixing=0.0))
    teachers: list[nn.Module] = []
    for number in range(recipe.fit.teachers):
        path = checkpoint and checkpoint.with_name(f"teacher-{number}.pt")
        make = partial(CCNVR, recipe.teacher_config(number))
        teachers.append(
            train(alone, inputs, lesson, _seed_of_teacher(seed, number), make, path, on_epoch, team)
        )
    if recipe.gaussian_processes:
        soils, measured = inputs.unvaried(), lesson.measured()
        teachers += [
            GaussianProcess(kernel, soils, measured).eval() for kernel in recipe.gaussian_processes
        ]
    return tuple(teachers)


def _lesson(
    recipe: TrainingRecipe, spectra: Array, values: Array, seed: int, correction: Correction | None
) -> tuple[tuple[Target, ...], VariedInputs, Lesson]:
    targets = make_targets(recipe, values)
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction)
    inputs = VariedInputs(preprocess, spectra, recipe.fit.augmentation, seed)
    return targets, inputs, Lesson.of(standardise(targets, values))


LAYERS = {"head": ("dense.", "output.", "linear."), "all": ("",)}
"""What fine-tuning changes: the layers that the outputs are made of, or every layer. By the
beginning of a parameter's name.
"""

FINETUNING: dict[str, Any] = {
    "epochs": 240,
    "learning_rate": 1e-3,
    "batch_size": 16,
    "weight_decay": 0.01,
    "mixing": 1.0,
}
"""What of a recipe's `Fit` is its own in fine-tuning, where nothing else is asked for; chosen, as
`FINETUNING_KERNEL`, on clay and pH of LimeSoDa's libraries with 30 samples (docs/study.md).
"""

FINETUNING_KERNEL = Kernel(length=4.0, noise=0.01)


def finetune(
    recipe: TrainingRecipe,
    calibration: Calibration,
    spectra: Array,
    values: Array,
    seed: int,
    layers: str = "all",
    on_epoch: Callable[[float], None] = lambda loss: None,
    groups: NDArray[np.int64] | None = None,
) -> Calibration:
    """Go on training a calibration on other soils: absorbance `(n, bands)` on the recipe's grid,
    properties `(n, targets)`.

    A few soils teach a network little, and make it forget much. So it learns to answer as a
    Gaussian process that knows these soils, and that for each property starts from what the
    calibration says if that is of any worth there.

    `recipe.fit` says how long and how fast, and how soils are mixed; `groups`, for each spectrum,
    the number of its soil. The calibration given stays as it is, and so do its scales of the
    properties and of the bands and its correction of spectra.

    Raises:
        UsageError: `layers` is none of `LAYERS`.
    """
    if layers not in LAYERS:
        raise UsageError(f"layers {layers!r} is not one of {', '.join(LAYERS)}")
    lesson = Lesson.of(standardise(calibration.targets, values))
    preprocess = Preprocessor(
        recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction
    )
    inputs = VariedInputs(preprocess, spectra, recipe.fit.augmentation, seed)
    prior = copy.deepcopy(calibration.network)
    teacher = GaussianProcess(
        FINETUNING_KERNEL, inputs.unvaried(), lesson.measured(), prior, groups
    ).eval()
    lesson = replace(lesson, teachers=(teacher,))
    recipe = replace(recipe, fit=replace(recipe.fit, teacher_share=1.0, unmeasured_weight=1.0))
    network = copy.deepcopy(calibration.network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(LAYERS[layers]))
    # A batch of a few soils that are alike says nothing of the scale that the network has learnt to
    # read.
    network.keeps_scale = True
    network = train(recipe, inputs, lesson, seed, lambda: network, on_epoch=on_epoch)
    return replace(calibration, network=network.requires_grad_(True))


def imitate(
    recipe: TrainingRecipe,
    calibration: Calibration,
    student: AnyNetwork,
    spectra: Array,
    checkpoint: Path | None = None,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> AnyNetwork:
    """Train a student to answer as the calibration's network does, on absorbance `(n, bands)`
    varied as the recipe says.

    `recipe.fit` says how long and how fast; `checkpoint` and `on_epoch` are as for `fit`.
    """
    nothing_measured = np.full((len(spectra), len(calibration.targets)), np.nan)
    lesson = replace(Lesson.of(nothing_measured), teachers=(calibration.network,))
    recipe = replace(recipe, fit=replace(recipe.fit, unmeasured_weight=1.0))
    preprocess = Preprocessor(
        recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction
    )
    inputs = VariedInputs(preprocess, spectra, recipe.fit.augmentation, recipe.fit.seed)
    return train(recipe, inputs, lesson, recipe.fit.seed, lambda: student, checkpoint, on_epoch)


def _seed_of_teacher(seed: int, number: int) -> int:
    return int(np.random.default_rng((seed, number)).integers(2**31))


def calibrate(
    recipe: TrainingRecipe,
    grid: Grid,
    spectra: Array,
    values: Array,
    seed: int,
    *,
    average: bool = False,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> Callable[[Array], Array]:
    """`fit` on absorbance `(n, bands)` of another grid, and `predict` with it, from that grid's
    absorbance too.

    With `average`, the prediction is the mean of the teachers that `fit` would learn from.

    Raises:
        WavelengthError: the grid does not cover the recipe's.
    """
    resample = resampling_matrix(grid.wavelengths(), recipe.grid).T
    of_grid = spectra @ resample
    if not average:
        calibration = fit(recipe, of_grid, values, seed, on_epoch=on_epoch)
        return lambda unknown: predict(recipe, calibration, unknown @ resample)
    targets, inputs, lesson = _lesson(recipe, of_grid, values, seed, None)
    teachers = _teachers(recipe, inputs, lesson, seed, on_epoch=on_epoch)
    return lambda unknown: _mean_answer(recipe, teachers, targets, None, unknown @ resample)


def predict(recipe: TrainingRecipe, calibration: Calibration, spectra: Array) -> Array:
    """Absorbance `(n, bands)` -> properties `(n, targets)` by the torch network."""
    return _mean_answer(
        recipe, (calibration.network,), calibration.targets, calibration.correction, spectra
    )


def _mean_answer(
    recipe: TrainingRecipe,
    networks: Sequence[nn.Module],
    targets: tuple[Target, ...],
    correction: Correction | None,
    spectra: Array,
) -> Array:
    inputs = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction).batch(
        spectra
    )
    properties: Array = np.mean(
        [restore(targets, answers(network, inputs).astype(np.float64)) for network in networks],
        axis=0,
    )
    return properties

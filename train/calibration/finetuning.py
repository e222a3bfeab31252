"""Train a fitted calibration further on a few other soils."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.fit import Calibration, varied_inputs
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.epochs import train
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.network.gaussian_process import GaussianProcess
from ccnvr.train.network.lesson import Lesson
from ccnvr.train.network.scales import standardise
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import Kernel

LAYERS = {"head": ("dense.", "output.", "linear."), "all": ("",)}
"""The layers that fine-tuning may change, by the beginnings of their parameters' names.

`head` is the layers that the outputs are computed by.
"""

FINETUNING: dict[str, Any] = {
    "epochs": 240,
    "steps": 0,
    "learning_rate": 1e-3,
    "batch_size": 16,
    "weight_decay": 0.01,
    "mixing": 1.0,
    "displacement": 0.0,
}
"""The settings of `Fit` for fine-tuning, where the user asks for nothing else.

They and `FINETUNING_KERNEL` were chosen on clay and pH of LimeSoDa's libraries with 30 samples
(docs/study.md).
"""

FINETUNING_KERNEL = Kernel(length=4.0, noise=0.01)


@dataclass(frozen=True)
class Tuning:
    """How the network of a model is tuned."""

    layers: str
    """One of `LAYERS`."""

    epochs: int
    """Passes over the soils."""

    learning_rate: float
    """The highest learning rate of the one-cycle schedule."""

    seed: int
    """The seed of batches and augmentation."""


def tuned_network(
    recipe: TrainingRecipe,
    calibration: Calibration,
    soils: Soils,
    tuning: Tuning,
    on_epoch: Callable[[float], None],
) -> CCNVR:
    """Return the network of a model, trained further on soils; see `finetune`."""
    chosen = {**FINETUNING, "epochs": tuning.epochs, "learning_rate": tuning.learning_rate}
    made = replace(recipe, fit=replace(recipe.fit, **chosen))
    fitting = Fitting(made, tuning.seed, on_epoch=on_epoch)
    groups = soil_of(soils)
    return finetune(
        fitting, calibration, soils.spectra, soils.values, tuning.layers, groups
    ).network


def finetune(
    fitting: Fitting,
    calibration: Calibration,
    spectra: Array,
    values: Array,
    layers: str = "all",
    groups: Integers | None = None,
) -> Calibration:
    """Train a calibration further on absorbance `(n, bands)` and properties `(n, targets)`.

    From a few soils a network learns little and forgets much. So it learns to predict as a Gaussian
    process does that knows these soils, and that starts from the calibration's predictions for
    each property that they help with.

    `fitting.recipe.fit` sets duration, learning rate and mixing; `groups` `(n,)` is the number of
    each spectrum's soil. The calibration given is not changed, and the result keeps its correction
    and its scales of properties and bands.

    Kernel members beside the network stay as they are, and the network learns what is missing.

    Raises:
        UsageError: `layers` is not one of `LAYERS`.
    """
    if layers not in LAYERS:
        raise UsageError(f"layers {layers!r} is not one of {', '.join(LAYERS)}")
    lesson = Lesson.of(standardise(calibration.targets, values))
    inputs = varied_inputs(fitting, spectra, calibration.correction)
    prior = copy.deepcopy(calibration.network)
    teacher = GaussianProcess(
        FINETUNING_KERNEL, inputs.unvaried(), lesson.measured(), prior, groups
    ).eval()
    lesson = replace(lesson, teachers=(teacher,))
    network = copy.deepcopy(calibration.network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(LAYERS[layers]))
    # A batch of a few similar soils says nothing about the scale that the network has learnt.
    network.keeps_scale = True
    # The process has seen the laboratory's values, so the network learns from the process alone.
    taught = fitting.with_fit(teacher_share=1.0, unmeasured_weight=1.0)
    network = train(taught, inputs, lesson, lambda: network)
    return replace(calibration, network=network.requires_grad_(True))

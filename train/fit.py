"""Fits a CCNVR to spectra with some properties missing, epoch by epoch, from a checkpoint if there is one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ccnvr.edge.correction import Correction
from ccnvr.edge.files import write_atomically
from ccnvr.edge.preprocess import Grid, Preprocessor, resampling_matrix
from ccnvr.edge.targets import Target
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train.augment import VariedInputs
from ccnvr.train.libraries import UNITS
from ccnvr.train.network import CCNVR
from ccnvr.train.recipe import Fit, TrainingRecipe
from ccnvr.train.team import ALONE, Team

Array = NDArray[np.float64]
AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)

_PREDICT_BATCH = 256


@dataclass(frozen=True)
class Calibration:
    """A fitted network, the meaning of its outputs, and the correction that its spectra went through."""

    network: CCNVR
    targets: tuple[Target, ...]
    correction: Correction | None = None


def make_targets(recipe: TrainingRecipe, values: Array) -> tuple[Target, ...]:
    """Means and deviations of the transformed properties `(n, targets)`, over the soils where each was measured.

    Raises:
        CcnvrError: a property was measured in fewer than 10 soils.
    """
    targets = []
    for name, column in zip(recipe.properties, values.T, strict=True):
        known = column[~np.isnan(column)]
        if known.size < 10:
            raise CcnvrError(
                f"{name} was measured in only {known.size} training soils; take it out of 'transforms' in the recipe, or add a "
                f"library, or a column {name} to your file"
            )
        if known.min() == known.max():
            raise CcnvrError(f"{name} is {known[0]:g} in every training soil, so there is nothing to learn; leave it out")
        transform = recipe.transforms[name]
        raw = Target(name, UNITS[name], transform, 0.0, 1.0, float(known.min()), float(known.max()))
        transformed = raw.standardise(known)
        targets.append(
            Target(name, raw.unit, transform, float(transformed.mean()), float(transformed.std()), raw.lowest, raw.highest)
        )
    return tuple(targets)


def standardise(targets: tuple[Target, ...], values: Array) -> Array:
    """Properties `(n, targets)` -> standardised."""
    return np.stack([target.standardise(column) for target, column in zip(targets, values.T, strict=True)], axis=1)


def restore(targets: tuple[Target, ...], outputs: Array) -> Array:
    """Standardised outputs `(n, targets)` -> properties."""
    return np.stack([target.restore(column) for target, column in zip(targets, outputs.T, strict=True)], axis=1)


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
) -> Calibration:
    """Train on absorbance `(n, bands)` and properties `(n, targets)`.

    With `recipe.fit.teachers`, so many networks of other seeds are trained first, and the one that is kept learns from their
    mean beside the laboratory's values.

    `checkpoint` is written after each epoch and continued from if it exists, the teachers' beside it; the result is the same
    with it, without it, and after interruptions. `on_epoch` gets the loss of each epoch of every network. `team` is the
    processes that train together, all of which call this with the same soils. Spectra go through `correction`, as they will
    wherever the calibration is used.

    Raises:
        UsageError: the batches are smaller than the team.
    """
    if recipe.fit.batch_size < team.size:
        raise UsageError(f"batch_size {recipe.fit.batch_size} cannot be shared by {team.size} processes; give a larger one")
    targets, inputs, lesson = _lesson(recipe, spectra, values, seed, correction)
    lesson = replace(lesson, teachers=_train_teachers(recipe, inputs, lesson, seed, checkpoint, on_epoch, team))
    network = _train(recipe, inputs, lesson, seed, lambda: CCNVR(recipe.network_config()), checkpoint, on_epoch, team)
    return Calibration(network, targets, correction)


def fit_teachers(recipe: TrainingRecipe, spectra: Array, values: Array, seed: int) -> list[Calibration]:
    """The networks that `fit`, called likewise, would learn from."""
    targets, inputs, lesson = _lesson(recipe, spectra, values, seed, None)
    return [Calibration(network, targets) for network in _train_teachers(recipe, inputs, lesson, seed)]


def _train_teachers(
    recipe: TrainingRecipe,
    inputs: VariedInputs,
    lesson: Lesson,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[float], None] = lambda loss: None,
    team: Team = ALONE,
) -> tuple[CCNVR, ...]:
    teachers = []
    for number in range(recipe.fit.teachers):
        path = checkpoint and checkpoint.with_name(f"teacher-{number}.pt")
        make = partial(CCNVR, recipe.teacher_config(number))
        teachers.append(_train(recipe, inputs, lesson, _seed_of_teacher(seed, number), make, path, on_epoch, team))
    return tuple(teachers)


def _lesson(
    recipe: TrainingRecipe, spectra: Array, values: Array, seed: int, correction: Correction | None
) -> tuple[tuple[Target, ...], VariedInputs, Lesson]:
    targets = make_targets(recipe, values)
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction)
    inputs = VariedInputs(preprocess, spectra, recipe.fit.augmentation, seed)
    return targets, inputs, Lesson.of(standardise(targets, values))


LAYERS = {"head": ("dense.", "output."), "all": ("",)}
"""What fine-tuning changes: the layers after the recurrent one, or every layer. By the beginning of a parameter's name."""

FINETUNING: dict[str, Any] = {"epochs": 60, "learning_rate": 3e-3, "batch_size": 8, "weight_decay": 0.01, "teachers": 0}
"""What of a recipe's `Fit` is its own in fine-tuning, where nothing else is asked for.

The learning rate was chosen on clay and pH of CV.98, with 30 samples.
"""


def finetune(
    recipe: TrainingRecipe,
    calibration: Calibration,
    spectra: Array,
    values: Array,
    seed: int,
    layers: str = "all",
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> Calibration:
    """Go on training a calibration on other soils: absorbance `(n, bands)` on the recipe's grid, properties `(n, targets)`.

    `recipe.fit` says how long and how fast. The calibration given stays as it is, and so do its scales of the properties and of
    the bands and its correction of spectra.

    Raises:
        UsageError: `layers` is none of `LAYERS`.
    """
    if layers not in LAYERS:
        raise UsageError(f"layers {layers!r} is not one of {', '.join(LAYERS)}")
    lesson = Lesson.of(standardise(calibration.targets, values))
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction)
    inputs = VariedInputs(preprocess, spectra, recipe.fit.augmentation, seed)
    network = copy.deepcopy(calibration.network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(LAYERS[layers]))
    # A batch of a few soils that are alike says nothing of the scale that the network has learnt to read.
    network.keeps_scale = True
    network = _train(recipe, inputs, lesson, seed, lambda: network, on_epoch=on_epoch)
    return replace(calibration, network=network.requires_grad_(True))


def imitate(
    recipe: TrainingRecipe,
    calibration: Calibration,
    student: AnyNetwork,
    spectra: Array,
    checkpoint: Path | None = None,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> AnyNetwork:
    """Train a student to answer as the calibration's network does, on absorbance `(n, bands)` varied as the recipe says.

    `recipe.fit` says how long and how fast; `checkpoint` and `on_epoch` are as for `fit`.
    """
    nothing_measured = np.full((len(spectra), len(calibration.targets)), np.nan)
    lesson = replace(Lesson.of(nothing_measured), teachers=(calibration.network,))
    recipe = replace(recipe, fit=replace(recipe.fit, unmeasured_weight=1.0))
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction)
    inputs = VariedInputs(preprocess, spectra, recipe.fit.augmentation, recipe.fit.seed)
    return _train(recipe, inputs, lesson, recipe.fit.seed, lambda: student, checkpoint, on_epoch)


def _seed_of_teacher(seed: int, number: int) -> int:
    return int(np.random.default_rng((seed, number)).integers(2**31))


@dataclass(frozen=True)
class Lesson:
    """What a network is taught: standardised properties `(n, targets)`, zero where not `known`, and its teachers.

    A soil teaches only the properties that were measured, and what the teachers say of the others.
    """

    answers: Tensor
    known: Tensor
    teachers: tuple[CCNVR, ...] = ()

    @classmethod
    def of(cls, standardised: Array) -> Lesson:
        """The laboratory's values; NaN where not measured."""
        known = torch.tensor(~np.isnan(standardised), dtype=torch.float32)
        return cls(torch.tensor(np.nan_to_num(standardised), dtype=torch.float32), known)

    def to(self, device: torch.device) -> Lesson:
        """The same on another device."""
        return Lesson(self.answers.to(device), self.known.to(device), tuple(teacher.to(device) for teacher in self.teachers))

    def loss(self, outputs: Tensor, inputs: Tensor, rows: NDArray[np.int64], settings: Fit, team: Team = ALONE) -> Tensor:
        """Of this process's share of soils `rows`: its `inputs` and the network's `outputs` for them.

        The team's mean of it is the mean squared error over what is known of all the rows.
        """
        known = self.known[rows]
        # Where the laboratory measured nothing there is the teachers' word alone, at less weight.
        weights = known + (1.0 - known) * settings.unmeasured_weight if self.teachers else known
        total = weights.sum().clamp(min=1.0) / team.size
        answers, known, weights = self.answers[rows][team.share], known[team.share], weights[team.share]
        if self.teachers:
            with torch.no_grad():
                taught = torch.stack([teacher(inputs) for teacher in self.teachers]).mean(dim=0)
            share = settings.teacher_share
            answers = known * ((1.0 - share) * answers + share * taught) + (1.0 - known) * taught
        return torch.sum((outputs - answers) ** 2 * weights) / total


def _train(
    recipe: TrainingRecipe,
    inputs: VariedInputs,
    lesson: Lesson,
    seed: int,
    make: Callable[[], AnyNetwork],
    checkpoint: Path | None = None,
    on_epoch: Callable[[float], None] = lambda loss: None,
    team: Team = ALONE,
) -> AnyNetwork:
    torch.manual_seed(seed)
    network = make()
    training = _Training(recipe, inputs, lesson, network, team)
    done = training.resume(checkpoint) if checkpoint else 0
    team.wait()
    for epoch in range(done, recipe.fit.epochs):
        # Each epoch draws from its own seed, so a resumed run needs no generator's state.
        rng = np.random.default_rng((seed, epoch))
        torch.manual_seed(int(rng.integers(2**62)) + team.rank)
        loss = training.epoch(rng)
        if checkpoint and team.first:
            training.save(checkpoint, epoch + 1)
        on_epoch(loss)
    # The first may still be writing what another, ahead of it, would read.
    team.wait()
    return network.cpu().eval()


class _Training:
    """A network with its optimiser, learning-rate schedule and data."""

    def __init__(self, recipe: TrainingRecipe, inputs: VariedInputs, lesson: Lesson, network: nn.Module, team: Team) -> None:
        self.network: nn.Module = network.to(team.device)
        self._team = team
        self._shared: nn.Module = DistributedDataParallel(self.network) if team.size > 1 else self.network
        self._inputs = inputs
        self._lesson = lesson.to(team.device)
        self._settings = recipe.fit
        self._batches = -(-len(inputs) // recipe.fit.batch_size)
        settings = recipe.fit
        self._optimizer = torch.optim.AdamW(
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, settings.learning_rate, total_steps=settings.epochs * self._batches
        )

    def epoch(self, rng: np.random.Generator) -> float:
        """One pass over all soils; the mean loss, of this process's shares."""
        self.network.train()
        team = self._team
        losses = []
        for rows in np.array_split(rng.permutation(len(self._inputs)), self._batches):
            inputs = torch.from_numpy(self._inputs.batch(rows, rng, team.share)).to(team.device)
            # Half precision where it is faster; weights, loss and optimiser keep theirs.
            with torch.autocast(team.device.type, torch.bfloat16, enabled=team.device.type == "cuda"):
                outputs = self._shared(inputs)
            loss = self._lesson.loss(outputs.float(), inputs, rows, self._settings, team)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self._optimizer.step()
            self._schedule.step()
            losses.append(loss.item())
        return float(np.mean(losses))

    def save(self, path: Path, epochs_done: int) -> None:
        """Keep all that the next epoch needs."""
        state = {
            "epochs_done": epochs_done,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        with write_atomically(path) as stream:
            torch.save(state, stream)

    def resume(self, path: Path) -> int:
        """Continue from a checkpoint; the number of epochs it has behind it."""
        if not path.exists():
            return 0
        state = read_checkpoint(path)
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        return int(state["epochs_done"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `_Training.save` wrote.

    Raises:
        CcnvrError: the file cannot be read, or is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except OSError as error:
        raise CcnvrError(f"{path} cannot be read ({error.strerror}); run ccnvr train again") from error
    except Exception as error:  # torch raises a dozen types on damaged files
        raise CcnvrError(f"{path} is damaged ({type(error).__name__}); delete it and run ccnvr train again") from error
    return state


def read_network(path: Path, recipe: TrainingRecipe) -> CCNVR:
    """The network of a checkpoint, ready to predict.

    Raises:
        CcnvrError: the file is damaged, or of another network.
    """
    network = CCNVR(recipe.network_config())
    try:
        network.load_state_dict(read_checkpoint(path)["network"])
    except (KeyError, RuntimeError) as error:
        # torch lists each weight, on lines of its own.
        raise CcnvrError(
            f"{path} holds another network than its recipe asks for; put the recipe back, or run ccnvr train in another folder"
        ) from error
    return network.eval()


def calibrate(
    recipe: TrainingRecipe, grid: Grid, spectra: Array, values: Array, seed: int, *, average: bool = False
) -> Callable[[Array], Array]:
    """`fit` on absorbance `(n, bands)` of another grid, and `predict` with it, from that grid's absorbance too.

    With `average`, the prediction is the mean of the networks that `fit` would learn from.

    Raises:
        WavelengthError: the grid does not cover the recipe's.
    """
    resample = resampling_matrix(grid.wavelengths(), recipe.grid).T
    of_grid = spectra @ resample
    calibrations = fit_teachers(recipe, of_grid, values, seed) if average else [fit(recipe, of_grid, values, seed)]
    return lambda unknown: np.mean([predict(recipe, one, unknown @ resample) for one in calibrations], axis=0)


def predict(recipe: TrainingRecipe, calibration: Calibration, spectra: Array) -> Array:
    """Absorbance `(n, bands)` -> properties `(n, targets)` by the torch network."""
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction)
    inputs = torch.from_numpy(preprocess.batch(spectra))
    with torch.inference_mode():
        outputs = torch.cat([calibration.network(batch) for batch in torch.split(inputs, _PREDICT_BATCH)])
    return restore(calibration.targets, outputs.double().numpy())

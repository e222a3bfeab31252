"""Fits a CCNVR to spectra with some properties missing, epoch by epoch, from a checkpoint if there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccnvr.edge.correction import Correction
from ccnvr.edge.files import write_atomically
from ccnvr.edge.preprocess import Preprocessor
from ccnvr.edge.targets import Target
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.augment import vary_absorbance, vary_inputs
from ccnvr.train.libraries import UNITS
from ccnvr.train.network import CCNVR
from ccnvr.train.recipe import TrainingRecipe

Array = NDArray[np.float64]

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


def masked_loss(outputs: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Mean squared error over the known entries; a soil teaches only the properties that were measured."""
    error = (outputs - wanted) ** 2 * known
    return error.sum() / known.sum().clamp(min=1.0)


def fit(
    recipe: TrainingRecipe,
    spectra: Array,
    values: Array,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[float], None] = lambda loss: None,
    correction: Correction | None = None,
) -> Calibration:
    """Train on absorbance `(n, bands)` and properties `(n, targets)`.

    `checkpoint` is written after each epoch and continued from if it exists; the result is the same with it, without it, and
    after interruptions. `on_epoch` gets the loss of each epoch. Spectra go through `correction` as they will in the field.
    """
    targets = make_targets(recipe, values)
    wanted = standardise(targets, values)
    known = torch.tensor(~np.isnan(wanted), dtype=torch.float32)
    answers = torch.tensor(np.nan_to_num(wanted), dtype=torch.float32)
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction)
    torch.manual_seed(seed)
    training = _Training(recipe, len(spectra))
    for epoch in range(training.resume(checkpoint) if checkpoint else 0, recipe.fit.epochs):
        # Each epoch draws from its own seed, so a resumed run needs no generator's state.
        rng = np.random.default_rng((seed, epoch))
        torch.manual_seed(int(rng.integers(2**62)))
        inputs = preprocess.batch(vary_absorbance(spectra, recipe.fit.augmentation, rng))
        inputs = vary_inputs(inputs, recipe.fit.augmentation, rng)
        loss = training.epoch(torch.from_numpy(inputs), answers, known, rng)
        if checkpoint:
            training.save(checkpoint, epoch + 1)
        on_epoch(loss)
    return Calibration(training.network.eval(), targets, correction)


class _Training:
    """A network with its optimiser and learning-rate schedule."""

    def __init__(self, recipe: TrainingRecipe, soils: int) -> None:
        self.network = CCNVR(recipe.network_config())
        self._batches = -(-soils // recipe.fit.batch_size)
        settings = recipe.fit
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, settings.learning_rate, total_steps=settings.epochs * self._batches
        )

    def epoch(self, inputs: Tensor, answers: Tensor, known: Tensor, rng: np.random.Generator) -> float:
        """One pass over all soils; the mean loss."""
        self.network.train()
        losses = []
        for rows in np.array_split(rng.permutation(len(inputs)), self._batches):
            loss = masked_loss(self.network(inputs[rows]), answers[rows], known[rows])
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
        CcnvrError: the file is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises a dozen types on damaged files
        raise CcnvrError(f"{path} is damaged ({type(error).__name__}); delete it and run ccnvr train again") from error
    return state


def predict(recipe: TrainingRecipe, calibration: Calibration, spectra: Array) -> Array:
    """Absorbance `(n, bands)` -> properties `(n, targets)` by the torch network."""
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), calibration.correction)
    inputs = torch.from_numpy(preprocess.batch(spectra))
    with torch.inference_mode():
        outputs = torch.cat([calibration.network(batch) for batch in torch.split(inputs, _PREDICT_BATCH)])
    return restore(calibration.targets, outputs.double().numpy())

"""Repeated cross-validation of members beside a trained model, and the model that is kept."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array, Float32, Integers
from ccnvr.train.calibration.beside import (
    AROUND,
    BesideModel,
    fit_beside,
    inputs_and_outputs,
    offset_of,
)
from ccnvr.train.calibration.finetuning import Tuning, tuned_network
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.folds import fold_of, soil_of
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.members.repeated_folds import LeftOutFold, RepeatedFolds
from ccnvr.train.network.ccnvr import CCNVR, network_outputs
from ccnvr.train.network.scales import restore
from ccnvr.train.recipe.settings import FEWEST_FOR_NETWORK
from ccnvr.train.runs.base import Base
from ccnvr.train.runs.member_report import KeptModel
from ccnvr.train.runs.outcome import FinetuningSettings

AS_IT_IS, OFFSET = "as it is", "as it is, with an offset"
MEAN, TUNED, WITH_TUNED = "mean of the members", "tuned network", "mean with the tuned network"


def fit_folds(base: Base, soils: Soils, settings: FinetuningSettings) -> KeptModel:
    """Cross-validate members of a user's soils beside the base, and fit the best model to all."""
    tries = is_tried(base, settings, len(np.unique(soil_of(soils))))
    folds = tuple(
        fold_of(soils, settings.folds, settings.seed + repeat) for repeat in range(settings.repeats)
    )
    validation = RepeatedFolds(soils.values, folds, settings.folds)
    # The last fit is the one to all soils, which gives the model that is kept.
    fits = settings.folds * settings.repeats + 1
    # On a terminal the bar moves at once; in a log file each refresh is a line, so one a minute.
    pause = 0.1 if sys.stderr.isatty() else 60.0
    # The bar moves on once for each fit of the members, and once for each epoch of a network.
    steps = settings.epochs + 1 if tries else 1
    with tqdm(total=fits * steps, desc="folds", mininterval=pause) as bar:
        work = _Work(base, soils, settings, tries, bar)
        predicted = validation.predict(work.predict, bar.update)
        bar.set_description("all soils")
        chosen, reason = _choose(validation, predicted)
        calibration = work.final(chosen)
        bar.update()
    with_network = chosen == WITH_TUNED
    return KeptModel(calibration, validation, predicted, chosen, with_network, reason, chosen)


def is_tried(base: Base, settings: FinetuningSettings, soils: int) -> bool:
    """Return whether the base's network is tuned at all."""
    if base.calibration.network.config.members_only:
        return False
    if settings.network == "auto":
        return soils >= FEWEST_FOR_NETWORK
    return settings.network == "yes"


@dataclass(frozen=True, eq=False)
class _Work:
    """The base, the soils and the settings that all fits of a fine-tuning share."""

    base: Base
    soils: Soils
    settings: FinetuningSettings
    tries: bool
    """Whether the base's network is tuned too."""

    bar: tqdm[Any]

    def predict(self, left_out: LeftOutFold) -> dict[str, Array]:
        """Return predictions of left-out soils `(n, targets)` by each row of the comparison."""
        base, rows, number = self.base.calibration, left_out.rows, left_out.number
        inputs, predicted = self._outputs(left_out.held_out)
        beside = self._fit(rows, number)
        members = beside.outputs(inputs, predicted)
        outputs = {
            AS_IT_IS: predicted,
            OFFSET: predicted + offset_of(base, self._outputs(rows)[1], self.soils.values[rows]),
            **members,
            MEAN: np.mean(list(members.values()), axis=0),
        }
        if self.tries:
            outputs[TUNED] = network_outputs(self._tuned(rows, number), inputs).astype(np.float64)
            own = [members[kind] for kind in beside.own]
            outputs[WITH_TUNED] = np.mean([*own, outputs[TUNED]], axis=0)
        return {name: restore(base.targets, values) for name, values in outputs.items()}

    def final(self, chosen: str) -> Calibration:
        """Return the chosen model, fitted to all soils."""
        base, every = self.base.calibration, np.arange(len(self.soils))
        network = base.network
        if chosen != AS_IT_IS:
            beside = self._fit(every, 0)
            if chosen == WITH_TUNED:
                network = beside.mean_with(self._tuned(every, 0))
            else:
                network = (beside.alone if chosen == AROUND else beside.mean)(network)
        targets = tuple(
            _reaching(target, column)
            for target, column in zip(base.targets, self.soils.values.T, strict=True)
        )
        return replace(base, network=network, targets=targets)

    def _fit(self, rows: Integers, offset: int) -> BesideModel:
        return fit_beside(
            self.base.recipe,
            self.base.calibration,
            self.soils.spectra[rows],
            self.soils.values[rows],
            soil_of(self.soils)[rows],
            self._seed(offset),
        )

    def _tuned(self, rows: Integers, offset: int) -> CCNVR:
        """Return the base's network, trained further on some soils."""
        settings = self.settings

        def advance(loss: float) -> None:
            self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            self.bar.update()

        return tuned_network(
            self.base.recipe,
            self.base.calibration,
            self.soils.rows(rows),
            Tuning(settings.layers, settings.epochs, settings.learning_rate, self._seed(offset)),
            advance,
        )

    def _seed(self, offset: int) -> int:
        # Another seed for each fold, and none that another seed of the user's gives.
        return self.settings.seed * 1000 + offset

    def _outputs(self, rows: Integers) -> tuple[Float32, Array]:
        """Return the base's inputs and outputs for some soils."""
        return inputs_and_outputs(self.base.recipe, self.base.calibration, self.soils.spectra[rows])


def _choose(validation: RepeatedFolds, predicted: dict[str, Array]) -> tuple[str, str]:
    """Return the row that is kept, and why.

    The process around the model is kept unless another is better by more than chance.
    """
    scores = {
        name: validation.scores(predicted[name])
        # The offset and the tuned network alone are only shown for comparison; `final` builds
        # neither.
        for name in (AROUND, AS_IT_IS, MEAN, WITH_TUNED)
        if name in predicted
    }
    # The order of `scores` matters: each later one must beat the best so far.
    chosen = AROUND
    for name in scores:
        if validation.is_better(scores[name], scores[chosen]):
            chosen = name
    listed = ", ".join(f"{name} {score.mean():.3f}" for name, score in scores.items())
    return chosen, f"mean R2: {listed}"


def _reaching(target: Target, values: Array) -> Target:
    """Return a target whose range seen in training includes these values."""
    lowest = min(target.lowest, float(np.nanmin(values)))
    highest = max(target.highest, float(np.nanmax(values)))
    return replace(target, lowest=lowest, highest=highest)

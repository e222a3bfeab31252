"""The settings of a fine-tuning, its report and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.edge.chemometrics.metrics import AccuracyTable
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.finetuning import FINETUNING
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs.base import Base
from ccnvr.train.runs.member_report import KeptModel
from ccnvr.train.runs.report import LeftOut, RunReport, conclude

NETWORK = ("auto", "yes", "no")
"""Whether the network of the base is tuned, see `FinetuningSettings`."""

SOILS_PER_FOLD = 4
"""The least number of soils in a fold, so that a fold is more than single soils."""


@dataclass(frozen=True)
class FinetuningSettings:
    """The settings of a fine-tuning.

    Raises:
        UsageError: a value is not possible.
    """

    layers: str = "all"
    """What is tuned of it, one of `LAYERS`: `all` layers, or only the `head`."""

    epochs: int = FINETUNING["epochs"]
    """Passes over the soils."""

    learning_rate: float = FINETUNING["learning_rate"]
    """The highest learning rate of the one-cycle schedule."""

    folds: int = 5
    """The number of cross-validation folds; fewer if a fold would have under `SOILS_PER_FOLD`."""

    seed: int = 1
    """The seed of folds, batches and augmentation."""

    network: str = "auto"
    """Whether the base's network is tuned too: yes, no, or `auto`.

    With `auto`, it is from `FEWEST_FOR_NETWORK` soils on, if the base has one.
    """

    repeats: int = 3
    """How often the cross-validation is repeated with other folds, at least 2."""

    def __post_init__(self) -> None:
        if self.network not in NETWORK:
            raise UsageError(f"network {self.network!r} is not one of {', '.join(NETWORK)}")
        if self.repeats < 2:
            raise UsageError(f"repeats = {self.repeats} must be at least 2")

    def for_soils(self, soils: Soils) -> FinetuningSettings:
        """Return the settings with so few folds that each has `SOILS_PER_FOLD`."""
        return replace(self, folds=min(self.folds, _count(soils) // SOILS_PER_FOLD))


@dataclass(frozen=True)
class FinetuningOutcome:
    """The result of a fine-tuning: what it did to the accuracy on the user's soils."""

    report: RunReport
    """The report of the run."""

    soils: Soils
    """The user's soils that were learnt."""

    left_out: dict[str, str]
    """By property: why it was not learnt."""

    folds: int
    """The number of cross-validation folds."""

    as_it_is: AccuracyTable
    """The accuracy of the base on these soils."""

    fine_tuned: AccuracyTable
    """The accuracy on soils that were left out of the fine-tuning."""

    seen_before: tuple[str, ...]
    """The sample ids that the base was trained on, so that its accuracy is overstated."""

    not_compared: tuple[str, ...]
    """Libraries that may hold more such soils, but are not at hand or take minutes to read."""

    substitutes: tuple[str, ...]
    """Libraries that an export is proved on because too few of the base's soils are at hand."""

    @property
    def count(self) -> int:
        """The number of soils, however often each was scanned."""
        return _count(self.soils)

    def no_better(self) -> list[str]:
        """Return the properties whose RMSE is not lower than that of the base."""
        (before,), (after,) = self.as_it_is.values(), self.fine_tuned.values()
        return [
            name
            for name in after
            if not (after[name]["rmse"] or 0.0) < (before[name]["rmse"] or 0.0)
        ]

    def useless(self) -> list[str]:
        """Return the properties that the mean of the soils would predict better."""
        (after,) = self.fine_tuned.values()
        # R2 below 0 means a larger squared error than the mean of the measured values has.
        return [name for name, merit in after.items() if (merit["r2"] or 0.0) < 0.0]


def _count(soils: Soils) -> int:
    return int(np.unique(soil_of(soils)).size)


def report_of(
    base: Base,
    recipe: TrainingRecipe,
    own: Soils,
    kept: KeptModel,
    accuracy: tuple[AccuracyTable, AccuracyTable],
) -> tuple[RunReport, Domain | None]:
    """Return the report and the domain of the run.

    `accuracy` is that of the fine-tuned model and that of the base, on the same soils.
    """
    fine_tuned, as_it_is = accuracy
    tables = {
        f"{kept.validation.count}-fold cross-validation on the soils of the fine-tuning": (
            fine_tuned
        ),
        f"{base.recipe.name}, before the fine-tuning, on the same soils": as_it_is,
    }
    seen = LeftOut(kept.out_of_fold, kept.validation.folds[0])
    report, domain = conclude(recipe, kept.calibration, own, seen, tables)
    if domain is None:
        report = replace(report, targets=tuple(map(_of_known_places, report.targets)))
    report.training["members"] = kept.compared(own, report.targets)
    # The card of the fine-tuned model keeps the history of its base, whose soils it learnt too.
    report.training["base"] = {"name": base.recipe.name, "sha256": base.digest, **base.history}
    return report, domain


def _of_known_places(target: Target) -> Target:
    """Return a target with one interval, that of soils like the user's.

    Without a domain nothing tells them from others, and the base's interval for new places would
    be shown for all of them.
    """
    return replace(target, half_width_90_new_places=None)

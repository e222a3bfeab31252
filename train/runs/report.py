"""The report of a run: its accuracy, its intervals and domain, and the soils it was made of."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from ccnvr.edge.chemometrics.domain import Domain, DomainShape
from ccnvr.edge.chemometrics.metrics import AccuracyTable, accuracy
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.typed import to_data
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.calibration import domain as domains
from ccnvr.train.calibration import half_widths, intervals, places
from ccnvr.train.calibration.fit import Calibration, predict
from ccnvr.train.calibration.places import ByPlace
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.ccnvr import parameters
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs.run_data import soils_of


@dataclass(frozen=True)
class RunReport:
    """The report of a finished run; `report.json` holds it."""

    finished: str
    """The date, as YYYY-MM-DD in UTC."""

    targets: tuple[Target, ...]
    """The model's outputs, with their intervals."""

    accuracy: dict[str, AccuracyTable]
    """Tables of accuracy by their titles."""

    soils: dict[str, Any]
    """The soils that were used, see `soils_of`."""

    training: dict[str, Any]
    """The recipe, the number of parameters, and the versions and hardware used."""

    domain: DomainShape | None = None
    """The shape of the domain, if there were enough soils for one."""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Predictions of soils by models that were trained without them; they give the intervals."""

    predicted: Array
    """By models that were trained without the soil's fold, `(n, targets)`."""

    folds: Integers
    """The fold of each soil, `(n,)`."""

    by_place: ByPlace | None = None
    """By models that were trained without the soil's place, if the recipe asks for them."""


def conclude(
    recipe: TrainingRecipe,
    calibration: Calibration,
    soils: Soils,
    left_out: LeftOut,
    accuracy: dict[str, AccuracyTable],
    before: Soils | None = None,
) -> tuple[RunReport, Domain | None]:
    """Return the report of a calibration, and the domain of the soils that it was fitted to.

    The soils `before` were learnt first.
    """
    by_place = left_out.by_place
    # A fine-tuning keeps the half widths for new places of its base.
    two_kinds = by_place is not None or any(
        target.half_width_90_new_places is not None for target in calibration.targets
    )
    fitted = domains.fit(
        recipe.grid,
        soils.spectra,
        soils.origin,
        left_out.folds,
        calibration.correction,
        strict=two_kinds,
    )
    targets = intervals.with_intervals(
        calibration.targets, soils.values, left_out.predicted, left_out.folds, fitted
    )
    if by_place is not None:
        targets = intervals.with_new_places(targets, soils.values, by_place)
        accuracy = {
            **accuracy,
            places.HELD_OUT: accuracy_by_library(soils, by_place.predicted, places.ALL),
        }
    report = RunReport(
        finished=datetime.now(UTC).date().isoformat(),
        targets=targets,
        domain=None if fitted is None else fitted.domain.shape,
        accuracy=accuracy,
        soils=soils_of(recipe, soils, before),
        training={
            "recipe": to_data(recipe),
            "parameters": parameters(calibration.network),
            "torch": torch.__version__,
            # They change the order of sums, and so the last digits of a result.
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
            **half_widths.for_card(targets, soils.values, left_out.predicted, fitted),
        },
    )
    if by_place is not None:
        report.training["places"] = by_place.summary(soils, targets)
    return report, None if fitted is None else fitted.domain


def accuracy_by_library(soils: Soils, predicted: Array, every: str = "") -> AccuracyTable:
    """Return figures for each library, and each property that was measured in it.

    `predicted` is `(n, properties)`, in the order of the soils' own properties. With `every`, the
    figures of all soils together come first, under this name.
    """
    origin = np.array(soils.origin)
    groups = {every: np.ones(len(soils), dtype=bool)} if every else {}
    groups |= {library: origin == library for library in dict.fromkeys(soils.origin)}
    table: AccuracyTable = {}
    for library, rows in groups.items():
        figures = {
            name: accuracy(soils.values[rows, column], predicted[rows, column])
            for column, name in enumerate(soils.properties)
        }
        table[library] = {name: figure.as_dict() for name, figure in figures.items() if figure.n}
    return table


def accuracy_of(recipe: TrainingRecipe, calibration: Calibration, soils: Soils) -> AccuracyTable:
    """Return the accuracy of a calibration on soils that took no part in it, by library."""
    if not len(soils):
        return {}
    return accuracy_by_library(soils, predict(recipe, calibration, soils.spectra))

"""What a run with members reports: each member beside the means, and how wide intervals are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.members.repeated_folds import RepeatedFolds

TOO_WIDE = 0.9
"""The width of an interval, relative to that of the soils' values, that says no more than these."""

MEAN_OF_SOILS = "mean of the soils"

_TITLES = {"plsr": "PLSR", "matern": "Matern process", "svr": "SVR"}


@dataclass(frozen=True, eq=False)
class KeptModel:
    """The model that a run with members keeps, and what repeated cross-validation found."""

    calibration: Calibration
    """The model as one network, fitted to all soils."""

    validation: RepeatedFolds
    predicted: dict[str, Array]
    """Predictions `(repeats, n, targets)` of left-out soils, by member and mean."""

    chosen: str
    """The row of `predicted` that is kept."""

    with_network: bool
    reason: str
    """Why the network is a member, or is not."""

    verdict: str | None = None
    """The report's name for the model; None for "with the network" or "without the network"."""

    @property
    def out_of_fold(self) -> Array:
        """Its predictions `(n, targets)` of left-out soils, in the first repeat."""
        first: Array = self.predicted[self.chosen][0]
        return first

    def compared(self, soils: Soils, targets: tuple[Target, ...]) -> dict[str, Any]:
        """Return, for a report, the figures of each member and mean, and the intervals' widths."""
        return {
            "model": self.chosen,
            "network": self.with_network,
            **({} if self.verdict is None else {"verdict": self.verdict}),
            "reason": self.reason,
            **figures(self.predicted, soils, targets),
            "interval_width": interval_widths(soils, self.out_of_fold, targets),
        }


def figures(
    predicted: Mapping[str, Array], soils: Soils, targets: tuple[Target, ...]
) -> dict[str, Any]:
    """Return R2 and RMSE of members and means, and the number of repeats that they are means of.

    `predicted` is `(repeats, n, targets)` by the name of a member or mean; `r2_sd` is the standard
    deviation of R2 over the repeats.
    """
    return {
        "repeats": len(next(iter(predicted.values()))),
        "rows": {
            _title(name): {
                target.name: _figures(soils.column(target.name), repeats[:, :, column])
                for column, target in enumerate(targets)
            }
            for name, repeats in predicted.items()
        },
    }


def _title(name: str) -> str:
    kind, _, seen = name.partition(" ")
    return f"{_TITLES[kind]} {seen}".strip() if kind in _TITLES else name


def interval_widths(
    soils: Soils, out_of_fold: Array, targets: tuple[Target, ...]
) -> dict[str, float]:
    """Return the mean width of each property's interval, as a share of the soils' own spread.

    The spread is the range of the measured values without the lowest and the highest 5 %, which
    holds as many soils as the interval does and needs no spectrum.
    """
    widths = {}
    for column, target in enumerate(targets):
        values = soils.column(target.name)
        low, high = np.nanquantile(values, [0.05, 0.95])
        if target.half_width_90 is None or not high > low:
            continue
        outputs = target.standardise(out_of_fold[~np.isnan(values), column])
        halves = np.full(outputs.shape, target.half_width_90)
        if target.difficulty is not None:
            # That of a usual soil: the distances of single soils average out.
            halves *= target.difficulty.factor(outputs)
        lower, upper = target.interval(outputs, halves)
        widths[target.name] = round(float(np.mean(upper - lower) / (high - low)), 3)
    return widths


def table(members: dict[str, Any]) -> list[str]:
    """Return the lines that are printed of what `compared` returned.

    The soils' own mean stands first, whose R2 is 0 by definition: what is below it is worse than no
    spectrum.
    """
    rows: dict[str, dict[str, dict[str, float]]] = members["rows"]
    names = list(next(iter(rows.values())))
    width = max(map(len, (MEAN_OF_SOILS, *rows))) + 3
    lines = [
        f"R2 over {members['repeats']} repeats of the cross-validation, +- its spread",
        " " * width + "".join(f"{name:>16}" for name in names),
    ]
    zeros = "".join(f"{'0.000':>16}" for _ in names)
    lines.append(f"  {MEAN_OF_SOILS:<{width - 2}}{zeros}")
    for row, figures in rows.items():
        mark = "* " if row == members["model"] else "  "
        cells = (f"{figures[name]['r2']:.3f} +-{figures[name]['r2_sd']:.3f}" for name in names)
        lines.append(f"{mark}{row:<{width - 2}}" + "".join(f"{cell:>16}" for cell in cells))
    kind = "with the network" if members["network"] else "without the network"
    lines.append(f"* the model: {members.get('verdict', kind)} ({members['reason']})")
    return [*lines, "", *width_lines(members["interval_width"])]


def width_lines(widths: dict[str, float]) -> list[str]:
    """Return what is said of the intervals' widths."""
    listed = ", ".join(f"{name} {width:.2f}" for name, width in widths.items())
    lines = [f"mean width of the 90 % intervals, as a share of the soils' own spread: {listed}"]
    if wide := [name for name, width in widths.items() if width >= TOO_WIDE]:
        lines.append(
            f"warning: the interval for {' and for '.join(wide)} is as wide as your soils differ, "
            "so a prediction says little: more soils are needed, or leave the property out"
        )
    return lines


def _figures(measured: Array, repeats: Array) -> dict[str, float]:
    found = [accuracy(measured, predicted) for predicted in repeats]
    scores = np.array([figures.r2 if figures.r2 is not None else np.nan for figures in found])
    errors = np.array([figures.rmse if figures.rmse is not None else np.nan for figures in found])
    return {
        "r2": round(float(scores.mean()), 4),
        "r2_sd": round(float(scores.std(ddof=1)), 4) if len(scores) > 1 else 0.0,
        "rmse": round(float(errors.mean()), 4),
    }

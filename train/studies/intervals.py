"""The coverage and width of a finished run's 90 % intervals, on soils that took no part.

Nothing is trained. `coverage_table` gives figures for a file, `coverage_text` a table to read.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.chemometrics.targets import GAUSSIAN_90, Target
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import domain as domains
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration import intervals
from ccnvr.train.calibration.domain import FittedDomain, conformal_quantile
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network import scales
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.studies.out_of_fold import PASSES, OutOfFold, out_of_fold

Table = dict[str, Any]

HELD_OUT = "soils held out from training"


def coverage_table(folder: Path, unknown: tuple[str, ...] = ()) -> Table:
    """Return coverage and mean width of 90 % intervals by property and kind of interval.

    The kinds are by difficulty, of one width for all soils, and by MC-dropout. Each soil's interval
    comes from the errors of the other folds' soils alone. That of MC-dropout is its mean -+ a
    multiple of its standard deviation: 1.645 for `raw`, and else calibrated as the widths of the
    others are, so that all cover alike. The final network's intervals are tried on the run's tests
    and on libraries that are unknown to it, within its domain and outside.

    Args:
        folder: the run.
        unknown: the names of libraries that the run was not trained on.

    Raises:
        UsageError: the folder holds no run of `ccnvr train`, it has members, a network of its
            cross-validation is missing, or an unknown library is one that it was trained on.
    """
    recipe, calibration, report = run_folder.load_trained(folder)
    if recipe.members is not None:
        raise UsageError(
            f"{folder} has members, which a run keeps for no fold; its own report has accuracy and "
            "widths, and `python -m tools.interval_study` measures the default models"
        )
    soils = run_folder.training_soils(folder, recipe, report)
    # The networks of the run's own cross-validation, so that each soil is predicted as it was
    # there.
    seen = out_of_fold(folder, recipe, soils, report.targets, calibration.correction)
    fitted = domains.fit(
        recipe.grid, soils.spectra, soils.origin, seen.fold_of, calibration.correction
    )
    properties: Table = {
        target.name: _cross_conformal(seen, column, fitted, soils.origin)
        for column, target in enumerate(seen.targets)
    }
    restored = scales.restore(seen.targets, seen.outputs)
    targets = intervals.with_intervals(seen.targets, soils.values, restored, seen.fold_of, fitted)
    final = dataclasses.replace(calibration, targets=targets)
    for title, names in (
        (HELD_OUT, recipe.tests),
        *((f"unknown library {name}", (name,)) for name in unknown),
    ):
        others = load_soils(names, recipe)
        # Coverage on soils that the network learnt would look too good.
        if both := set(soils.sample_ids) & set(others.sample_ids):
            raise UsageError(
                f"{len(both)} soils of {', '.join(names)} were trained on, {min(both)} among "
                "them; name other soils"
            )
        if others.sample_ids:
            for name, rows in _final_intervals(title, recipe, final, fitted, others).items():
                properties[name].setdefault("final network", {}).update(rows)
    return {
        "nominal": intervals.COVERAGE,
        "folds": recipe.folds,
        "passes": PASSES,
        "properties": properties,
    }


def coverage_text(table: Table) -> str:
    """Return the table as text.

    A line for each property and kind of interval comes first, then the final network's intervals,
    then those of each library.
    """
    columns = ("n", "coverage", "width_sd", "width")
    lines = [
        f"{'property':<10}{'interval':<50}{'n':>6}{'coverage':>10}{'width sd':>10}{'width':>10}"
    ]
    for part, title in (
        ("intervals", ""),
        ("final network", "final network, "),
        ("libraries", "by difficulty, "),
    ):
        for name, found in table["properties"].items():
            rows = found.get(part, {}).items()
            lines.extend(
                f"{name:<10}{title + kind:<50}" + _cells(figures, columns) for kind, figures in rows
            )
    return "\n".join(lines)


def _cells(figures: Table, columns: tuple[str, ...]) -> str:
    return "".join(
        f"{'-' if figures[column] is None else figures[column]:>{6 if column == 'n' else 10}}"
        for column in columns
    )


def _cross_conformal(
    seen: OutOfFold, column: int, fitted: FittedDomain | None, origin: list[str]
) -> Table:
    """Return one property's figures; a fold's half widths come from the other folds."""
    known = ~np.isnan(seen.measured[:, column])
    measured, outputs, mean, sd = (
        array[known, column] for array in (seen.measured, seen.outputs, seen.mean, seen.sd)
    )
    fold_of, errors = seen.fold_of[known], np.abs(outputs - measured)
    held_out = None if fitted is None else fitted.held_out[known]
    libraries = 0 if fitted is None else len(fitted.domain.shape.libraries)
    by_difficulty, one_width, dropout = (np.empty_like(errors) for _ in range(3))
    for fold in np.unique(fold_of):
        scored, rest = fold_of == fold, fold_of != fold
        half, difficulty = intervals.fit_interval(
            errors[rest],
            outputs[rest],
            fold_of[rest],
            None if held_out is None else held_out[rest],
            libraries,
        )
        where = None if held_out is None else held_out[scored]
        by_difficulty[scored] = half * intervals.factors(difficulty, outputs[scored], where)
        one_width[scored] = conformal_quantile(errors[rest], intervals.COVERAGE)
        # Calibrated like the others, so that the widths are compared at equal coverage.
        scores = np.abs(mean - measured)[rest] / sd[rest]
        dropout[scored] = conformal_quantile(scores, intervals.COVERAGE) * sd[scored]
    target = seen.targets[column]
    names = np.array(origin)[known]
    return {
        "intervals": {
            "by difficulty": _figures(target, measured, outputs, by_difficulty),
            "one width": _figures(target, measured, outputs, one_width),
            "MC-dropout": _figures(target, measured, mean, dropout),
            "MC-dropout, raw": _figures(target, measured, mean, GAUSSIAN_90 * sd),
        },
        "libraries": {
            str(library): _figures(
                target, *(array[names == library] for array in (measured, outputs, by_difficulty))
            )
            for library in dict.fromkeys(names)
        },
    }


def _final_intervals(
    title: str,
    recipe: TrainingRecipe,
    final: Calibration,
    fitted: FittedDomain | None,
    soils: Soils,
) -> dict[str, Table]:
    """Return, by property, how the final network's intervals cover soils that took no part."""
    predicted = fitting.predict(recipe, final, soils.spectra)
    positions = (
        None
        if fitted is None
        else domains.positions(fitted.domain, recipe.grid, soils.spectra, final.correction)
    )
    table = {}
    for column, target in enumerate(final.targets):
        known = ~np.isnan(soils.values[:, column])
        measured, outputs = (
            target.standardise(values[known, column]) for values in (soils.values, predicted)
        )
        there = None if positions is None else positions[known]
        half = (target.half_width_90 or 0.0) * intervals.factors(target.difficulty, outputs, there)
        rows = {title: np.ones(len(half), dtype=bool)}
        if there is not None:
            rows |= {
                f"{title}, in domain": there.distance <= 1.0,
                f"{title}, outside": there.distance > 1.0,
            }
        figures = {
            name: _figures(target, measured[some], outputs[some], half[some])
            for name, some in rows.items()
        }
        table[target.name] = {name: found for name, found in figures.items() if found["n"]}
    return table


def _figures(target: Target, measured: Array, centre: Array, half: Array) -> Table:
    """Return the share of soils inside their intervals, and the intervals' mean width.

    The width is given in standardised units and in the target's. All arrays are `(n,)` in
    standardised units: measured values, centres and half widths of the intervals.
    """
    if not measured.size:
        return {"n": 0, "coverage": None, "width_sd": None, "width": None}
    # From both ends, because a transform makes the interval lopsided. Coverage is counted around
    # the estimate as the model gives it; around a possible value it can only be higher.
    low, high = target.interval(centre, half)
    return {
        "n": int(measured.size),
        "coverage": round(float(np.mean(np.abs(measured - centre) <= half)), 3),
        "width_sd": round(float(np.mean(2.0 * half)), 3),
        "width": round(float(np.mean(high - low)), 3),
    }

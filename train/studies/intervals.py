"""How often the 90 % intervals of a finished run hold the truth, and how wide they are, on soils
that took no part.

`coverage_table` takes the folder of a `ccnvr train` and gives figures for a file; `coverage_text`
turns them into a table for people. Nothing is trained: the networks of the cross-validation lie in
the folder.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.chemometrics.targets import GAUSSIAN_90, Target
from ccnvr.firmware_bridge.arrays import Array, Float32, Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import domain as domains
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration import folds, intervals
from ccnvr.train.calibration.domain import FittedDomain, conformal_quantile
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network import scales
from ccnvr.train.network.ccnvr import CCNVR, answers
from ccnvr.train.network.epochs import read_network
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import folder as run_folder

Table = dict[str, Any]

PASSES = 50
"""Of MC-dropout (Gal & Ghahramani 2016, ICML, PMLR 48:1050-1059)."""

HELD_OUT = "soils held out from training"


@dataclass(frozen=True)
class OutOfFold:
    """Each soil as seen by the network trained without its fold, `(n, targets)`, in the
    standardised units of `targets`.

    `mean` and `sd` are those of `PASSES` passes with dropout on; `measured` is NaN where not
    measured.
    """

    targets: tuple[Target, ...]
    fold_of: Integers
    measured: Array
    outputs: Array
    mean: Array
    sd: Array


def coverage_table(folder: Path, unknown: tuple[str, ...] = ()) -> Table:
    """Coverage and mean width of 90 % intervals by property: by difficulty, of one width, and by
    MC-dropout.

    Each soil's interval comes from the errors of the other folds' soils alone. MC-dropout's is its
    mean -+ a multiple of its standard deviation; the multiple is calibrated as the others' widths
    are, so that all cover alike, and 1.645 for `raw`. The final network's intervals are tried on
    the run's tests and on libraries `unknown` to it, within its domain and outside.

    Raises:
        UsageError: the folder holds no run of `ccnvr train`, a network of its cross-validation is
            missing, or an unknown library is one that it was trained on.
    """
    recipe, calibration, report = run_folder.load_trained(folder)
    pool = run_folder.training_soils(folder, recipe, report)
    seen = out_of_fold(folder, recipe, pool, report.targets, calibration.correction)
    fitted = domains.fit(
        recipe.grid, pool.spectra, pool.origin, seen.fold_of, calibration.correction
    )
    table: Table = {
        "nominal": intervals.COVERAGE,
        "folds": recipe.folds,
        "passes": PASSES,
        "properties": {},
    }
    for column, target in enumerate(seen.targets):
        table["properties"][target.name] = _cross_conformal(seen, column, fitted, pool.origin)
    restored = scales.restore(seen.targets, seen.outputs)
    final = intervals.with_intervals(seen.targets, pool.values, restored, seen.fold_of, fitted)
    for title, names in (
        (HELD_OUT, recipe.tests),
        *((f"unknown library {name}", (name,)) for name in unknown),
    ):
        others = load_soils(names, recipe)
        if both := set(pool.sample_ids) & set(others.sample_ids):
            raise UsageError(
                f"{len(both)} soils of {', '.join(names)} were trained on, {min(both)} among "
                "them; name other soils"
            )
        if others.sample_ids:
            _final_intervals(
                table,
                title,
                recipe,
                dataclasses.replace(calibration, targets=final),
                fitted,
                others,
            )
    return table


def out_of_fold(
    folder: Path,
    recipe: TrainingRecipe,
    pool: Soils,
    targets: tuple[Target, ...],
    correction: Correction | None = None,
) -> OutOfFold:
    """Predict each training soil by the network that was trained without its fold.

    Raises:
        UsageError: a network is missing.
    """
    fold_of = folds.fold_of(pool, recipe.folds, recipe.fit.seed)
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction)
    inputs = preprocess.batch(pool.spectra)
    outputs, mean, sd = (np.empty_like(pool.values) for _ in range(3))
    for fold in range(recipe.folds):
        held_out = fold_of == fold
        own_targets = scales.make_targets(recipe, pool.values[~held_out])
        point, draws = _with_dropout(
            _network(folder / f"fold-{fold}" / run_folder.CHECKPOINT.name, recipe),
            inputs[held_out],
            fold,
        )
        # From this network's standardised units to the final one's: both are linear in the
        # transformed property.
        scale = np.array(
            [own.sd / target.sd for own, target in zip(own_targets, targets, strict=True)]
        )
        shift = np.array(
            [
                (own.mean - target.mean) / target.sd
                for own, target in zip(own_targets, targets, strict=True)
            ]
        )
        outputs[held_out] = point * scale + shift
        mean[held_out] = draws.mean(axis=0) * scale + shift
        sd[held_out] = draws.std(axis=0, ddof=1) * scale
    return OutOfFold(targets, fold_of, scales.standardise(targets, pool.values), outputs, mean, sd)


def coverage_text(table: Table) -> str:
    """A line for each property and kind of interval, then the final network's intervals, then those
    of each library.
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


def _network(checkpoint: Path, recipe: TrainingRecipe) -> CCNVR:
    if not checkpoint.exists():
        raise UsageError(
            f"{checkpoint} is missing; run the same ccnvr train again, it makes what is not there"
        )
    return read_network(checkpoint, recipe)


def _with_dropout(network: CCNVR, inputs: Float32, seed: int) -> tuple[Array, Array]:
    """The network's outputs `(n, targets)`, and those of passes with dropout on, `(PASSES, n,
    targets)`.

    Dropout is in the head alone, so only that is passed again.
    """
    entering: list[Tensor] = []
    hook = network.dense.register_forward_pre_hook(
        lambda module, arguments: entering.append(arguments[0])
    )
    point = answers(network, inputs)
    hook.remove()
    pooled = torch.cat(entering)
    with torch.inference_mode():
        linear = torch.from_numpy(point) - network.head(pooled)
        torch.manual_seed(seed)
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.train()
        draws = torch.stack([network.head(pooled) + linear for _ in range(PASSES)])
    return point.astype(np.float64), draws.double().numpy()


def _cross_conformal(
    seen: OutOfFold, column: int, fitted: FittedDomain | None, origin: list[str]
) -> Table:
    """One property's figures, each fold's half widths from the other folds."""
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
    table: Table,
    title: str,
    recipe: TrainingRecipe,
    final: Calibration,
    fitted: FittedDomain | None,
    soils: Soils,
) -> None:
    """Add to the table how the final network's intervals cover soils that nothing was fitted to."""
    predicted = fitting.predict(recipe, final, soils.spectra)
    where = (
        None
        if fitted is None
        else domains.positions(fitted.domain, recipe.grid, soils.spectra, final.correction)
    )
    for column, target in enumerate(final.targets):
        known = ~np.isnan(soils.values[:, column])
        measured, outputs = (
            target.standardise(values[known, column]) for values in (soils.values, predicted)
        )
        there = None if where is None else where[known]
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
        table["properties"][target.name]["final network"] = {
            **table["properties"][target.name].get("final network", {}),
            **{name: found for name, found in figures.items() if found["n"]},
        }


def _figures(target: Target, measured: Array, centre: Array, half: Array) -> Table:
    """Share inside, and mean width in standardised units and in the target's; all arguments `(n,)`
    standardised.
    """
    if not measured.size:
        return {"n": 0, "coverage": None, "width_sd": None, "width": None}
    width = target.restore(centre + half) - target.restore(centre - half)
    return {
        "n": int(measured.size),
        "coverage": round(float(np.mean(np.abs(measured - centre) <= half)), 3),
        "width_sd": round(float(np.mean(2.0 * half)), 3),
        "width": round(float(np.mean(width)), 3),
    }

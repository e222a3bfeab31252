"""Measure what a few local soils add to a model of the world's soils, by what is fitted to them.

    python -m tools.local_soils --soils 15 30 100 --range 420-2450 countries CV.98 geeves

`countries` stands for the ICRAF-ISRIC countries with the most soils, each with a base that was
trained on the other countries; any other library is adapted to from all of ICRAF. Some soils are
drawn, the base is fine-tuned on them as `ccnvr finetune` does, and the others are predicted; in
ICRAF these are soils of other profiles. With `--choose`, the soils of a library are drawn from 60 %
of it, at random or as `ccnvr select-soils` chooses them, and the other 40 % are predicted, without
the cross-validation that chooses between models. It prints R2 in the standardised units of the base
(OC, N and CEC on log1p), means over draws and properties; ICRAF-ISRIC is read from `CCNVR_DATA`.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.calibration.beside import fit_beside
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.folds import grouped, soil_of
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.catalogue import LIBRARIES
from ccnvr.train.libraries.published import icraf
from ccnvr.train.libraries.sensor import View
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.members.members import fit_members, mean_of
from ccnvr.train.members.soils import member_soils
from ccnvr.train.network.ccnvr import network_outputs
from ccnvr.train.network.scales import make_targets, standardise
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import MATERN, MemberSettings
from ccnvr.train.runs import finetune_folds
from ccnvr.train.runs.base import Base
from ccnvr.train.runs.finetune_folds import AS_IT_IS, MEAN, OFFSET, fit_folds
from ccnvr.train.runs.outcome import FinetuningSettings
from ccnvr.train.selection import medoids, selection_points

RECIPE = Path(finetune_folds.__file__).parents[1] / "recipes" / "icraf_recipe.toml"
PROPERTIES = ("OC", "N", "CEC", "pH", "clay")
MODEL = "ccnvr finetune"
MEMBERS = MemberSettings(kinds=(MATERN,), network=False, most_soils=800)
POOL = 0.6
"""The share of a library that soils are chosen from with `--choose`."""

SHARE_TESTED = 0.4
"""The least share of a country's profiles that no local soil comes from."""

FEWEST_TESTED = 20

Scores = dict[tuple[str, int, str], list[float]]


@dataclass(frozen=True, eq=False)
class Task:
    """Soils to learn from and soils to predict, with the base that knows neither."""

    name: str
    base: Base
    local: Soils
    unknown: Soils


def recipe_for(first_nm: float, last_nm: float) -> TrainingRecipe:
    """Return the recipe of ICRAF-ISRIC for a range of wavelengths."""
    gaps = tuple(gap for gap in icraf.GAPS_NM if first_nm < gap[0] and gap[1] < last_nm)
    # A range that begins or ends inside a gap is cut there.
    for first, last in icraf.GAPS_NM:
        first_nm = last + 10.0 if first <= first_nm <= last else first_nm
        last_nm = first - 10.0 if first <= last_nm <= last else last_nm
    recipe = recipe_file.load(RECIPE).only(PROPERTIES)
    return replace(recipe, grid=Grid.between(first_nm, last_nm, 10.0, gaps), members=MEMBERS)


def fit_base(recipe: TrainingRecipe, soils: Soils) -> Base:
    """Return a model of these soils: a process that compares with 800 of them."""
    targets = make_targets(recipe, soils.values)
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
    standardised = standardise(targets, soils.values)
    known = ~np.isnan(standardised).all(axis=1)
    fitted_to = member_soils(
        recipe, preprocess, soils.spectra[known], standardised[known], soil_of(soils)[known], 1
    )
    members = fit_members(MEMBERS, fitted_to)
    network = mean_of(members, len(recipe.channels), recipe.grid.bands)
    return Base("icraf", "", recipe, Calibration(network, targets), {})


def countries(recipe: TrainingRecipe, counts: list[int], draws: int, most: int) -> Iterator[Task]:
    """Yield tasks in which a country of ICRAF-ISRIC is unknown to the base."""
    whole = LIBRARIES["icraf"].read(View(recipe.grid), "")
    labels = np.array(list(whole.labels["country"]))
    world = grouped(whole.of(PROPERTIES))
    names, sizes = np.unique(labels, return_counts=True)
    for name in names[np.argsort(-sizes)][:most]:
        base = fit_base(recipe, world.rows(labels != name))
        rows = np.flatnonzero(labels == name)
        for count in counts:
            for draw in range(draws):
                local, unknown = _by_profile(world, rows, count, draw)
                if len(local) == count:
                    yield Task("countries", base, world.rows(local), world.rows(unknown))


def _by_profile(soils: Soils, rows: Integers, count: int, draw: int) -> tuple[Integers, Integers]:
    """Return local rows, few of a profile, and the rows of all other profiles."""
    rng, profiles = np.random.default_rng((count, draw)), soil_of(soils)[rows]
    order = rng.permutation(np.unique(profiles))
    taken = order[: int((1.0 - SHARE_TESTED) * len(order))]
    each = -(-count // max(1, len(taken)))
    chosen = [rng.permutation(rows[profiles == profile])[:each] for profile in taken]
    local = np.concatenate(chosen)[:count] if chosen else rows[:0]
    return local, rows[~np.isin(profiles, soil_of(soils)[local])]


def library_tasks(
    recipe: TrainingRecipe, name: str, counts: list[int], draws: int, choose: str | None
) -> Iterator[Task]:
    """Yield tasks in which a whole library is unknown to the base.

    `choose` is `random`, `medoids` or None, for which all soils that are not drawn are predicted.
    """
    base = fit_base(recipe, grouped(libraries.load_library("icraf", recipe.grid).of(PROPERTIES)))
    soils = grouped(libraries.load_library(name, recipe.grid).of(PROPERTIES))
    for count in counts:
        for draw in range(draws if count + FEWEST_TESTED <= len(soils) else 0):
            rows = np.random.default_rng((count, draw)).permutation(len(soils))
            local, unknown = rows[:count], rows[count:]
            if choose is not None:
                pool, unknown = np.split(rows, [int(POOL * len(rows))])
                local = pool[:count]
                if choose == "medoids":
                    local = pool[_medoids(recipe, soils.spectra[pool], count)]
            yield Task(name, base, soils.rows(local), soils.rows(unknown))


def _medoids(recipe: TrainingRecipe, spectra: Array, count: int) -> Integers:
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
    inputs = preprocess.batch(spectra).reshape(len(spectra), -1).astype(np.float64)
    return medoids(selection_points(inputs, len(recipe.channels)), count)


def score(task: Task, scores: Scores, whole: bool) -> None:
    """Fit to a task's local soils, and add the R2 of each method to `scores`.

    `whole` says whether to cross-validate and choose as `ccnvr finetune` does, too.
    """
    measured = ~np.isnan(task.local.values)
    kept = [
        name
        for name, known, values in zip(PROPERTIES, measured.T, task.local.values.T, strict=True)
        if known.sum() >= 10 and np.ptp(values[known]) > 0.0
    ]
    if not kept:
        return
    base, local = task.base.only(kept), task.local.of(kept)
    predicted = _methods(base, local, task.unknown)
    if whole:
        adapted = fit_folds(base, local, FinetuningSettings().for_soils(local))
        recipe = base.recipe
        preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
        inputs = preprocess.batch(task.unknown.spectra)
        predicted[MODEL] = network_outputs(adapted.calibration.network, inputs).astype(np.float64)
        key = task.name, len(task.local), f"kept {adapted.chosen}"
        scores.setdefault(key, []).append(1.0)
    values = standardise(base.calibration.targets, task.unknown.of(kept).values)
    for method, outputs in predicted.items():
        for column in range(len(kept)):
            known = ~np.isnan(values[:, column])
            if known.sum() >= FEWEST_TESTED:
                error = np.mean((outputs[known, column] - values[known, column]) ** 2)
                key = task.name, len(task.local), method
                scores.setdefault(key, []).append(float(1.0 - error / values[known, column].var()))


def _methods(base: Base, local: Soils, unknown: Soils) -> dict[str, Array]:
    """Return standardised predictions `(n, targets)` of unknown soils by each method."""
    calibration, recipe = base.calibration, base.recipe
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
    inputs = preprocess.batch(unknown.spectra)
    outputs = network_outputs(calibration.network, inputs).astype(np.float64)
    fitted = network_outputs(calibration.network, preprocess.batch(local.spectra))
    errors = standardise(calibration.targets, local.values) - fitted
    beside = fit_beside(
        recipe, calibration, local.spectra, local.values, soil_of(local), 1
    ).outputs(inputs, outputs)
    return {
        AS_IT_IS: outputs,
        OFFSET: outputs + np.nanmean(errors, axis=0),
        **beside,
        MEAN: np.mean(list(beside.values()), axis=0),
    }


def _print(scores: Scores, name: str, counts: list[int]) -> None:
    methods = dict.fromkeys(method for where, _, method in scores if where == name)
    methods = dict.fromkeys(sorted(methods, key=lambda method: method.startswith("kept ")))
    print(f"\n| {name}, R2 | " + " | ".join(f"{count} soils" for count in counts) + " |")
    print("|---" * (len(counts) + 1) + "|")
    for method in methods:
        found = [scores.get((name, count, method), []) for count in counts]
        kept = method.startswith("kept ")
        cells = [
            "-" if not each else f"{len(each)}" if kept else f"{np.mean(each):.3f}"
            for each in found
        ]
        print(f"| {method} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print a table for `countries`, and for each library."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("libraries", nargs="+", metavar="LIBRARY")
    parser.add_argument("--soils", type=int, nargs="+", default=[15, 30, 100])
    parser.add_argument("--range", default="420-2450", metavar="FIRST-LAST", help="in nm")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--choose", choices=("random", "medoids"))
    parser.add_argument("--most", type=int, default=10, help="the most countries")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    recipe = recipe_for(*map(float, arguments.range.split("-")))
    for name in arguments.libraries:
        started, scores = time.process_time(), Scores()
        try:
            tasks = (
                countries(recipe, arguments.soils, arguments.draws, arguments.most)
                if name == "countries"
                else library_tasks(recipe, name, arguments.soils, arguments.draws, arguments.choose)
            )
            for task in tasks:
                score(task, scores, whole=arguments.choose is None)
        except CcnvrError as error:
            print(f"\n{name}: {error}")
            continue
        _print(scores, name, arguments.soils)
        print(f"{recipe.grid}, {time.process_time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""Measure the two intervals of a family's model: `python -m tools.interval_study asd nir`.

For soils of known places, the intervals come from the cross-validation by soils, and each soil's
from the errors of the other folds. For new places, each library and each of the ten countries with
the most soils is left out in turn: the model, its domains and its intervals are made without it.
The predictions of left-out soils that intervals are made of are computed once for all soils, and
again where more than a third of the soils are left out; a place's own errors never count for it.

Each range takes some 50 fits; `--soils 600` makes them short where a member has more.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.calibration import domain as domains
from ccnvr.train.calibration import intervals
from ccnvr.train.calibration.places import ByPlace, place_names, predict_by_place
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.scales import make_targets, unlearnable
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import PlaceSettings
from ccnvr.train.runs.member_folds import predict_left_out
from ccnvr.train.runs.run_data import RunData, load_data
from tools.family import recipe_of

COUNTRIES = 10
LARGE_SHARE = 1.0 / 3.0

Mask = NDArray[np.bool_]
Table = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Seen:
    """Predictions of left-out soils, by soil and by place, that intervals are made of."""

    predicted: Array
    by_place: ByPlace

    def rows(self, rows: Integers) -> Seen:
        """Return the predictions of some of the soils."""
        places = self.by_place
        return Seen(
            self.predicted[rows],
            ByPlace(places.predicted[rows], places.sure[rows], places.places[rows]),
        )


def left_out(recipe: TrainingRecipe, data: RunData) -> Seen:
    """Predict each soil by members that were fitted without its fold, and without its place."""
    predicted = np.empty_like(data.soils.values)
    for fold in range(recipe.folds):
        rows, held_out = np.flatnonzero(data.folds != fold), np.flatnonzero(data.folds == fold)
        predicted[held_out] = predict_left_out(recipe, data, rows, held_out, fold + 1)

    def predict(part: TrainingRecipe, rows: Integers, held_out: Integers, fold: int) -> Array:
        only = replace(data, soils=data.soils.of(part.properties))
        return predict_left_out(part, only, rows, held_out, 500 + fold)

    return Seen(predicted, predict_by_place(recipe, data.soils, data.folds, None, predict))


def of_rows(data: RunData, rows: Integers) -> RunData:
    """Return the data of some soils only."""
    return replace(data, soils=data.soils.rows(rows), folds=data.folds[rows])


def known_places(recipe: TrainingRecipe, data: RunData, seen: Seen) -> Table:
    """Return coverage and width, by property, of soils of known places."""
    soils, table = data.soils, Table()
    fitted = domains.fit(recipe.grid, soils.spectra, soils.origin, data.folds, strict=True)
    assert fitted is not None
    libraries, origin = len(fitted.domain.shape.libraries), np.array(soils.origin)
    for column, target in enumerate(make_targets(recipe, soils.values)):
        measured = ~np.isnan(soils.values[:, column])
        where, fold_of = fitted.held_out[measured], data.folds[measured]
        outputs = target.standardise(seen.predicted[measured, column])
        errors = np.abs(outputs - target.standardise(soils.values[measured, column]))
        halves = np.empty_like(errors)
        for fold in np.unique(fold_of):
            rest, scored = fold_of != fold, fold_of == fold
            half, difficulty = intervals.fit_interval(
                errors[rest], outputs[rest], fold_of[rest], where[rest], libraries
            )
            halves[scored] = half * intervals.factors(difficulty, outputs[scored], where[scored])
        inside, names = errors <= halves, origin[measured]
        groups = {
            "all": np.ones(len(errors), dtype=bool),
            "top decile": outputs >= np.quantile(outputs, 0.9),
            "sure": where.sure,
            **{name: names == name for name in dict.fromkeys(names)},
        }
        table[target.name] = {
            name: figures(target, inside[rows], outputs[rows], halves[rows])
            for name, rows in groups.items()
        }
        table[target.name]["share sure"] = round(float(where.sure.mean()), 3)
    return table


def figures(target: Target, inside: Mask, outputs: Array, halves: Array) -> Table:
    """Return the share inside and the mean width, in sd and in the target's unit."""
    # `inside` is counted around the estimate as the model gives it; around the nearest possible
    # value it can only be higher.
    low, high = target.interval(outputs, halves)
    return {
        "n": len(inside),
        "coverage": round(float(inside.mean()), 3) if len(inside) else None,
        "width_sd": round(float(np.mean(2.0 * halves)), 2) if len(inside) else None,
        "width": round(float(np.mean(high - low)), 2) if len(inside) else None,
    }


def new_place(recipe: TrainingRecipe, data: RunData, seen: Seen, place: Mask) -> Table:
    """Return coverage and width, by property, of the soils of a place that is left out."""
    soils, rows, there = data.soils, np.flatnonzero(~place), np.flatnonzero(place)
    names = [
        name
        for name, values in zip(recipe.properties, soils.values[rows].T, strict=True)
        if not unlearnable(values, recipe.transforms[name])
    ]
    columns = [recipe.properties.index(name) for name in names]
    part, only = recipe.only(names), replace(data, soils=soils.of(names))
    rest = of_rows(only, rows)
    if place.mean() > LARGE_SHARE:
        known = left_out(part, rest)
    else:
        known = seen.rows(rows)
        by_place = replace(known.by_place, predicted=known.by_place.predicted[:, columns])
        known = Seen(known.predicted[:, columns], by_place)
    fitted = domains.fit(
        recipe.grid, rest.soils.spectra, rest.soils.origin, rest.folds, strict=True
    )
    assert fitted is not None
    targets = make_targets(part, rest.soils.values)
    values = rest.soils.values
    targets = intervals.with_intervals(targets, values, known.predicted, rest.folds, fitted)
    targets = intervals.with_new_places(targets, values, known.by_place)
    predicted = predict_left_out(part, only, rows, there, 900)
    positions = domains.positions(fitted.domain, recipe.grid, soils.spectra[there])
    return {
        target.name: _shown(
            target, only.soils.values[there, column], predicted[:, column], positions
        )
        for column, target in enumerate(targets)
        if not np.isnan(only.soils.values[there, column]).all()
    }


def _shown(target: Target, values: Array, predicted: Array, where: domains.Positions) -> Table:
    measured = ~np.isnan(values)
    outputs, where = target.standardise(predicted[measured]), where[measured]
    errors = np.abs(outputs - target.standardise(values[measured]))
    halves = (target.half_width_90 or 0.0) * intervals.factors(target.difficulty, outputs, where)
    wider = np.maximum(halves, target.half_width_90_new_places or 0.0)
    shown = np.where(where.sure, halves, wider)
    return {
        "shown": figures(target, errors <= shown, outputs, shown),
        "as if known": figures(target, errors <= halves, outputs, halves),
        "sure": figures(
            target,
            (errors <= halves)[where.sure],
            outputs[where.sure],
            halves[where.sure],
        ),
        "share sure": round(float(where.sure.mean()), 3),
        "flagged": round(float(np.mean(where.distance > 1.0)), 3),
    }


def study(name: str, soils: int) -> Table:
    """Return both tables of a member of the family, with so many inducing soils if not 0."""
    recipe = recipe_of(name)
    assert recipe.members is not None
    members = replace(recipe.members, most_soils=soils or recipe.members.most_soils)
    recipe = replace(recipe, members=members, places=recipe.places or PlaceSettings())
    data = load_data(recipe)
    seen = left_out(recipe, data)
    table: Table = {"known places": known_places(recipe, data, seen), "new places": {}}
    for place, mask in tqdm(list(_places(data.soils)), desc=name):
        table["new places"][place] = new_place(recipe, data, seen, mask)
    return table


def _places(soils: Soils) -> Iterator[tuple[str, Mask]]:
    """Yield each library and each of the countries with the most soils, with its soils."""
    origin, names = np.array(soils.origin), np.array(place_names(soils))
    for library in dict.fromkeys(soils.origin):
        yield library, origin == library
    countries, counts = np.unique(names[names != origin], return_counts=True)
    for country in countries[np.argsort(-counts, kind="stable")][:COUNTRIES]:
        yield str(country), names == country


def text(table: Table) -> str:
    """Return the tables as text."""
    lines = ["known places: coverage, and mean width in sd and in the unit"]
    for name, groups in table["known places"].items():
        cells = (
            f"{group} {found['coverage']} (n {found['n']}, {found['width_sd']} sd, "
            f"{found['width']})"
            for group, found in groups.items()
            if isinstance(found, dict)
        )
        lines.append(f"{name}, sure {groups['share sure']}: " + "; ".join(cells))
    for kind in ("shown", "as if known", "sure"):
        lines += ["", f"new places, {kind}: coverage/width in sd by place; mean over places; all"]
        for name in table["known places"]:
            found = {
                place: rows[name][kind]
                for place, rows in table["new places"].items()
                if name in rows and rows[name][kind]["n"]
            }
            if not found:
                continue
            shares = np.array([one["coverage"] for one in found.values()])
            counts = np.array([one["n"] for one in found.values()])
            cells = (f"{p} {one['coverage']}/{one['width_sd']}" for p, one in found.items())
            mean, pooled = shares.mean(), np.average(shares, weights=counts)
            lines.append(f"{name}: mean {mean:.3f}, all {pooled:.3f}; " + "; ".join(cells))
    judged = {place: next(iter(rows.values())) for place, rows in table["new places"].items()}
    listed = "; ".join(f"{p} {one['share sure']}/{one['flagged']}" for p, one in judged.items())
    return "\n".join([*lines, "", f"share sure/flagged: {listed}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", help="members of the family, such as asd")
    parser.add_argument("--soils", type=int, default=0, help="inducing soils (the member's own)")
    parser.add_argument("--out", type=Path, default=Path("runs/intervals"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        table = study(name, arguments.soils)
        (arguments.out / f"{name}.json").write_text(json.dumps(table, indent=1))
        print(f"{name}\n{text(table)}\n", flush=True)


if __name__ == "__main__":
    main()

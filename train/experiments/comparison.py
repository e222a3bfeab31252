"""Calibration methods on one library, by its official split or folds: choices inside the training
part, then predictions.

Everything that takes long goes through a ledger, so that it is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.folds import grouped
from ccnvr.train.experiments.contenders import Budget, Choice, Contender, PredictAll
from ccnvr.train.experiments.ledger import Ledger
from ccnvr.train.experiments.statistics import figures, paired_p_value
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.properties import PROPERTIES
from ccnvr.train.libraries.soils import Soils, Split
from ccnvr.train.recipe import recipe as recipes

Vary = Callable[[Array, int], Array]
"""Spectra and a repetition's seed -> spectra."""

DEFAULT_RECIPE = Path(__file__).parents[1] / "recipes" / "default_recipe.toml"

GRID = libraries.NEAR_INFRARED

REFERENCE = "CCNVR"
"""The method that the others are tested against."""


OPEN = "open"
"""All open libraries joined, as the default bundle's recipe has them."""


def official_splits(
    library: str, grid: Grid = GRID, properties: tuple[str, ...] = ()
) -> list[Split]:
    """Nirsoil's official split, or a LimeSoDa set's ten official folds; of `properties`, or of all
    that were measured.

    `open` is the training parts of all open libraries together, and their test parts.

    Raises:
        UsageError: the library has neither, or has none of a property.
    """
    if library not in ("nirsoil", OPEN, *limesoda.VISNIR_SETS):
        have = (
            f"nirsoil and {', '.join(limesoda.VISNIR_SETS)} have, and {OPEN}, which is all of them"
        )
        raise UsageError(f"library {library!r} has no official split; {have}")
    if library in limesoda.VISNIR_SETS:
        soils, folds = libraries.load_library(library, grid), limesoda.load(library).folds
        held_out = {f"fold {fold}": folds == fold for fold in np.unique(folds)}
    else:
        train, test = (
            ((f"{library}:train",), (f"{library}:test",)) if library != OPEN else _open_parts()
        )
        parts = [libraries.load_library(part, grid) for part in (*train, *test)]
        soils = libraries.join(parts)
        trained_on = sum(len(part) for part in parts[: len(train)])
        held_out = {"official": np.arange(len(soils)) >= trained_on}
    measured = tuple(name for name in PROPERTIES if not np.isnan(soils.column(name)).all())
    if unknown := [name for name in properties if name not in measured]:
        raise UsageError(
            f"{library} has no {unknown[0]}, only {', '.join(measured)}; name some of these with "
            "--properties"
        )
    return [split(name, soils, rows, properties or measured) for name, rows in held_out.items()]


def _open_parts() -> tuple[tuple[str, ...], tuple[str, ...]]:
    recipe = recipes.load(DEFAULT_RECIPE)
    return recipe.libraries, recipe.tests


def split(
    name: str, soils: Soils, held_out: NDArray[np.bool_], properties: tuple[str, ...]
) -> Split:
    """Split soils with these properties into those to train on and those held out."""
    soils = grouped(soils).of(properties)
    return Split(name, soils.rows(~held_out), soils.rows(held_out))


def within_reach(predicted: Array, trained_on: Array) -> Array:
    """Predictions `(n, properties)`, limited to the range of the training soils `(m, properties)`
    widened by its own width.

    The same for every method: beyond that, a linear model of a logarithm says anything up to
    infinity, and one such soil
    would decide a comparison.
    """
    lowest, highest = np.nanmin(trained_on, axis=0), np.nanmax(trained_on, axis=0)
    width = highest - lowest
    limited: Array = np.clip(predicted, lowest - width, highest + width)
    return limited


@dataclass(frozen=True)
class Comparison:
    """The methods, the budget of their choices, and the repetitions (seeds), on the splits of a
    library.

    `chosen` maps a method to a choice made elsewhere, on other soils, which is used as it is.
    """

    library: str
    splits: list[Split]
    contenders: dict[str, Contender]
    budget: Budget
    seeds: int
    ledger: Ledger
    chosen: dict[str, Choice]
    on_step: Callable[[str], None] = lambda what: None

    @property
    def measured(self) -> Array:
        """`(n, properties)` of all soils that are predicted, split after split."""
        return np.concatenate([split.test.values for split in self.splits])

    def choice(self, contender: Contender, split: Split) -> Choice:
        """What a method uses on a split's training soils."""
        if contender.name in self.chosen:
            return self.chosen[contender.name]
        key = f"choice | {self.library} | {split.name} | {contender.name} | {self.budget}"
        self.on_step(f"{contender.name} choosing on {self.library}, {split.name}")
        choice: Choice = self.ledger.get(key, lambda: contender.choose(split.train, self.budget))
        return choice

    def predictions(
        self,
        contender: Contender,
        label: str = "",
        on_train: Vary | None = None,
        on_test: dict[str, Vary] | None = None,
    ) -> dict[str, Array]:
        """Predictions `(seeds, n, properties)` of the held-out soils, plain and for each way to
        vary them.

        `label` names, for the ledger, what `on_train` does to the training spectra.
        """
        ways: dict[str, Vary] = {"": lambda spectra, seed: spectra, **(on_test or {})}
        repetitions = [
            [self._predict(contender, split, seed, label, on_train, ways) for split in self.splits]
            for seed in range(self.seeds)
        ]
        return {
            way: np.array([np.concatenate([part[way] for part in parts]) for parts in repetitions])
            for way in ways
        }

    def _predict(
        self,
        contender: Contender,
        split: Split,
        seed: int,
        label: str,
        on_train: Vary | None,
        ways: dict[str, Vary],
    ) -> dict[str, Array]:
        choice = self.choice(contender, split)
        fitted: list[PredictAll] = []

        def predict(way: str) -> list[list[float]]:
            # Fitted only where the ledger lacks a prediction, and then once for all ways.
            if not fitted:
                self.on_step(
                    f"{contender.name} on {self.library}, {split.name}, seed {seed} {label}"
                )
                soils = split.train
                if on_train is not None:
                    soils = replace(soils, spectra=on_train(soils.spectra, seed))
                fitted.append(contender.fit(choice, soils, seed))
            found: list[list[float]] = np.round(
                fitted[0](ways[way](split.test.spectra, seed)), 6
            ).tolist()
            return found

        answer = {}
        for way in ways:
            key = (
                f"predicted | {self.library} | {split.name} | {contender.name} | {self.budget} "
                f"| {seed} | {label} | {way}"
            )
            found = np.array(self.ledger.get(key, lambda way=way: predict(way)))  # type: ignore[misc]
            answer[way] = within_reach(found, split.train.values)
        return answer

    def table(
        self, predicted: dict[str, Array], library: str = ""
    ) -> dict[str, dict[str, dict[str, Any]]]:
        """{method: {property: figures}} with the p value of each method against `REFERENCE`; of one
        library, if it is named.
        """
        origin = np.array([name for split in self.splits for name in split.test.origin])
        rows = origin == library if library else np.ones(len(origin), dtype=bool)
        found: dict[str, dict[str, dict[str, Any]]] = {method: {} for method in predicted}
        for index, (name, measured) in enumerate(
            zip(self.splits[0].train.properties, self.measured.T, strict=True)
        ):
            known = ~np.isnan(measured) & rows
            if not known.any():
                continue
            for method, values in predicted.items():
                merit = figures(measured[known], values[:, known, index])
                if REFERENCE in predicted and method != REFERENCE:
                    both = (values[:, known, index], predicted[REFERENCE][:, known, index])
                    merit["p_value"] = round(paired_p_value(measured[known], *both), 4)
                found[method][name] = merit
        return found

    def tables(
        self, predicted: dict[str, Array]
    ) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        """`table` of each library, where there are several."""
        names = dict.fromkeys(name for split in self.splits for name in split.test.origin)
        return {name: self.table(predicted, name) for name in names} if len(names) > 1 else {}

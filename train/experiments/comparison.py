"""The comparison of calibration methods on one library, by its official split or folds.

Each method chooses its configuration inside the training part and then predicts the held-out soils.
Everything that takes long goes through a ledger, so that it is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.folds import grouped
from ccnvr.train.experiments.contenders import Choice, Contender, PredictAll
from ccnvr.train.experiments.ledger import Ledger
from ccnvr.train.experiments.statistics import figures, paired_p_value
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.soils import Soils, Split
from ccnvr.train.recipe import recipe_file as recipes
from ccnvr.train.rivals.tuning import Budget

Vary = Callable[[Array, int], Array]
"""A function from spectra and a repetition's seed to changed spectra."""

DEFAULT_RECIPE = Path(__file__).parents[1] / "recipes" / "nirsoil_best_recipe.toml"

GRID = libraries.NEAR_INFRARED

REFERENCE = "CCNVR"
"""The method that the others are tested against."""

OPEN = "open"
"""The name for all open libraries joined, as in the recipe of the default bundle."""


def official_splits(
    library: str, grid: Grid = GRID, properties: tuple[str, ...] = ()
) -> list[Split]:
    """Return the official split of nirsoil, or the ten official folds of a LimeSoDa set.

    Args:
        library: nirsoil, a LimeSoDa set, or `OPEN`, the training parts and the test parts of all
            open libraries.
        grid: the wavelengths.
        properties: the properties to predict; none stands for all that were measured.

    Raises:
        UsageError: the library has no official split, or has no value of a property.
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
        # Joined and split again, so that soils of both parts have groups numbered alike.
        parts = [libraries.load_library(part, grid) for part in (*train, *test)]
        soils = libraries.join(parts)
        trained_on = sum(len(part) for part in parts[: len(train)])
        held_out = {"official": np.arange(len(soils)) >= trained_on}
    measured = tuple(name for name in soils.properties if not np.isnan(soils.column(name)).all())
    if unknown := [name for name in properties if name not in measured]:
        raise UsageError(
            f"{library} has no {unknown[0]}, only {', '.join(measured)}; name some of these with "
            "--properties"
        )
    return [split(name, soils, rows, properties or measured) for name, rows in held_out.items()]


def _open_parts() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the training parts and the test parts of the open libraries."""
    recipe = recipes.load(DEFAULT_RECIPE)
    return recipe.libraries, recipe.tests


def split(
    name: str, soils: Soils, held_out: NDArray[np.bool_], properties: tuple[str, ...]
) -> Split:
    """Split soils with these properties into those to train on and those held out."""
    soils = grouped(soils).of(properties)
    return Split(name, soils.rows(~held_out), soils.rows(held_out))


def within_reach(predicted: Array, trained_on: Array) -> Array:
    """Return predictions `(n, properties)` limited to the reach of the training soils.

    The reach is the range of `trained_on`, the values `(m, properties)` of these soils, widened by
    its own width on either side. It is the same for every method: beyond it, a linear model of a
    logarithm may predict anything up to infinity, and one such soil would decide a comparison.
    """
    lowest, highest = np.nanmin(trained_on, axis=0), np.nanmax(trained_on, axis=0)
    width = highest - lowest
    limited: Array = np.clip(predicted, lowest - width, highest + width)
    return limited


@dataclass(frozen=True)
class Comparison:
    """A comparison of methods on the splits of a library.

    Attributes:
        library: its name.
        splits: the training and test rows of its soils.
        contenders: the methods, by name.
        budget: the budget of each method's choice.
        seeds: the number of repetitions.
        ledger: where choices and predictions are kept.
        chosen: by method, a choice made on other soils, which is used as it is.
        on_step: called with a description of the next computation.
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
        """The values `(n, properties)` of all soils that are predicted, split after split."""
        return np.concatenate([split.test.values for split in self.splits])

    def choice(self, contender: Contender, split: Split) -> Choice:
        """Return what a method chose on the training soils of a split."""
        if contender.name in self.chosen:
            return self.chosen[contender.name]
        # The key names all that the choice depends on; the ledger itself belongs to one recipe.
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
        """Return predictions `(seeds, n, properties)` of the held-out soils.

        Args:
            contender: the method.
            label: a name, for the ledger, of what `on_train` does.
            on_train: a change of the training spectra.
            on_test: changes of the held-out spectra, by name.

        Returns:
            The predictions by the name of the change; those without a change under "".
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
        """Return predictions `(n, properties)` of one split in one repetition, by way."""
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
            varied = ways[way](split.test.spectra, seed)
            # Rounded as the ledger keeps them, so that a resumed run gives the same figures.
            found: list[list[float]] = np.round(fitted[0](varied), 6).tolist()
            return found

        predicted = {}
        for way in ways:
            key = (
                f"predicted | {self.library} | {split.name} | {contender.name} | {self.budget} "
                f"| {seed} | {label} | {way}"
            )
            found = np.array(self.ledger.get(key, partial(predict, way)))
            predicted[way] = within_reach(found, split.train.values)
        return predicted

    def table(
        self, predicted: dict[str, Array], library: str = ""
    ) -> dict[str, dict[str, dict[str, Any]]]:
        """Return {method: {property: figures}}, with p values against `REFERENCE`.

        `predicted` holds `(seeds, n, properties)` by method; with `library`, only soils of that
        library count.
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
        """Return the `table` of each library, or nothing where there is only one."""
        names = dict.fromkeys(name for split in self.splits for name in split.test.origin)
        return {name: self.table(predicted, name) for name in names} if len(names) > 1 else {}

"""The comparison of calibration methods on one library, by its official split or folds.

Each method chooses its configuration inside the training part and then predicts the held-out soils.
Everything that takes long goes through a ledger, so that it is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.experiments.ledger import Ledger
from ccnvr.train.experiments.statistics import figures, paired_p_value, scaled, unscaled
from ccnvr.train.libraries.load import NEAR_INFRARED
from ccnvr.train.libraries.soils import Split
from ccnvr.train.rivals.contender import Choice, Contender, Mean, PredictAll, Rival
from ccnvr.train.rivals.tuning import Budget

Vary = Callable[[Array, int], Array]
"""A function from spectra and a repetition's seed to changed spectra."""

GRID = NEAR_INFRARED

REFERENCE = "CCNVR"
"""The method that the others are tested against."""


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
        repeated: the splits of each repetition after the first, where they are others.
        choose_once: whether each method chooses on the first split of all, and keeps that choice.
        scales: by property, the transform that it is scored after; the others are scored as they
            are.
        reference: the method that the others are tested against.
        on_step: called with a description of the next computation.
    """

    library: str
    splits: list[Split]
    contenders: dict[str, Contender]
    budget: Budget
    seeds: int
    ledger: Ledger
    chosen: dict[str, Choice]
    repeated: tuple[list[Split], ...] = ()
    choose_once: bool = False
    scales: Mapping[str, str] = field(default_factory=dict)
    reference: str = REFERENCE
    on_step: Callable[[str], None] = lambda what: None

    @property
    def measured(self) -> Array:
        """The values `(n, properties)` of all soils that are predicted, split after split."""
        return np.concatenate([split.test.values for split in self.splits])

    @property
    def stem(self) -> str:
        """The library's name in names of files."""
        return self.library.replace(":", "-")

    @property
    def properties(self) -> tuple[str, ...]:
        """The properties, one for each column of values."""
        return self.splits[0].train.properties

    @property
    def transforms(self) -> list[str]:
        """The transform of each property before it is scored."""
        return [self.scales.get(name, "identity") for name in self.properties]

    def choice(self, contender: Contender, split: Split) -> Choice:
        """Return what a method chose on the training soils of a split."""
        if contender.name in self.chosen:
            return self.chosen[contender.name]
        if self.choose_once:
            split = self.splits[0]
        # The key names all that the choice depends on; the ledger itself belongs to one recipe.
        key = f"choice | {self.library} | {split.name} | {contender.name} | {self.budget}"
        self.on_step(f"{contender.name} choosing on {self.library}, {split.name}")
        choice: Choice = self.ledger.get(key, lambda: self._choose(contender, split, key))
        return choice

    def _choose(self, contender: Contender, split: Split, key: str) -> Choice:
        """Let a method choose; what a rival has chosen for one of several properties is kept."""
        soils = split.train
        if type(contender) is not Rival or len(soils.properties) == 1:
            return contender.choose(soils, self.budget)
        return {
            name: self.ledger.get(
                f"{key} | {name}", partial(contender.tuned, soils, name, self.budget)
            )
            for name in soils.properties
        }

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
        if isinstance(contender, Mean):
            return self._mean(
                [self.predictions(part, label, on_train, on_test) for part in contender.parts]
            )
        ways: dict[str, Vary] = {"": lambda spectra, seed: spectra, **(on_test or {})}
        repetitions = []
        for seed in range(self.seeds):
            splits = (self.splits, *self.repeated)[seed] if self.repeated else self.splits
            parts = [
                self._predict(contender, split, seed, label, on_train, ways) for split in splits
            ]
            order = self._order(splits)
            repetitions.append(
                {way: np.concatenate([part[way] for part in parts])[order] for way in ways}
            )
        return {way: np.array([found[way] for found in repetitions]) for way in ways}

    def _mean(self, predicted: list[dict[str, Array]]) -> dict[str, Array]:
        """Return the mean of several methods' predictions on the scales that they are scored on."""
        return {
            way: unscaled(
                np.mean([scaled(part[way], self.transforms) for part in predicted], axis=0),
                self.transforms,
            )
            for way in predicted[0]
        }

    def _order(self, splits: list[Split]) -> slice | list[int]:
        """Return how the soils of other splits are put into the order of the first ones."""
        if splits is self.splits:
            return slice(None)
        names = [name for split in splits for name in split.test.sample_ids]
        places = {name: place for place, name in enumerate(names)}
        return [places[name] for split in self.splits for name in split.test.sample_ids]

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
        self, predicted: dict[str, Array], library: str = "", in_units: bool = False
    ) -> dict[str, dict[str, dict[str, Any]]]:
        """Return {method: {property: figures}}, with p values against the reference.

        Args:
            predicted: predictions `(seeds, n, properties)` by method.
            library: if given, only soils of that library count.
            in_units: whether all properties are scored in their units, whatever `scales` says.
        """
        origin = np.array([name for split in self.splits for name in split.test.origin])
        rows = origin == library if library else np.ones(len(origin), dtype=bool)
        transforms = ["identity"] * len(self.properties) if in_units else self.transforms
        values = scaled(self.measured, transforms)
        predicted = {method: scaled(found, transforms) for method, found in predicted.items()}
        table: dict[str, dict[str, dict[str, Any]]] = {method: {} for method in predicted}
        for index, name in enumerate(self.properties):
            known = ~np.isnan(values[:, index]) & rows
            if not known.any():
                continue
            measured = values[known, index]
            for method, found in predicted.items():
                merit = figures(measured, found[:, known, index])
                if self.reference in predicted and method != self.reference:
                    both = (found[:, known, index], predicted[self.reference][:, known, index])
                    merit["p_value"] = round(paired_p_value(measured, *both), 4)
                table[method][name] = merit
        return table

    def tables(
        self, predicted: dict[str, Array]
    ) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        """Return the `table` of each library, or nothing where there is only one."""
        names = dict.fromkeys(name for split in self.splits for name in split.test.origin)
        return {name: self.table(predicted, name) for name in names} if len(names) > 1 else {}

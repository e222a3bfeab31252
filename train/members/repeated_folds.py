"""Cross-validation that is repeated with other folds, and the scores of what it predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.members.choice import is_better, skill


@dataclass(frozen=True, eq=False)
class LeftOutFold:
    """One fold of one repeat: the rows that a fit learns from, and those that it leaves out."""

    repeat: int
    fold: int
    number: int
    """The number of the fit, from 1, for its seed; the fit to all rows has the number 0."""

    rows: Integers
    held_out: Integers


@dataclass(frozen=True, eq=False)
class RepeatedFolds:
    """The folds of each repeat.

    Attributes:
        values: what was measured, `(n, targets)`, NaN where it was not.
        folds: the fold of each row, `(n,)`, by repeat.
        count: the number of folds of a repeat.
    """

    values: Array
    folds: tuple[Integers, ...]
    count: int

    def predict(
        self,
        predict: Callable[[LeftOutFold], Mapping[str, Array]],
        on_fold: Callable[[], object],
    ) -> dict[str, Array]:
        """Return predictions of left-out rows `(repeats, n, targets)`, by the name of a model.

        Args:
            predict: returns the predictions `(held out, targets)` of models that were fitted to
                the other rows.
            on_fold: is called after each fold.
        """
        predicted: dict[str, Array] = {}
        for repeat, folds in enumerate(self.folds):
            for fold in range(self.count):
                held_out = np.flatnonzero(folds == fold)
                rows, number = np.flatnonzero(folds != fold), repeat * self.count + fold + 1
                found = predict(LeftOutFold(repeat, fold, number, rows, held_out))
                for name, values in found.items():
                    if name not in predicted:
                        predicted[name] = np.empty((len(self.folds), *self.values.shape))
                    predicted[name][repeat, held_out] = values
                on_fold()
        return predicted

    def scores(self, predicted: Array) -> Array:
        """Return the score of each fold of each repeat, `(repeats x folds,)`; see `skill`."""
        parts = [
            skill(self.values, repeat, folds)
            for repeat, folds in zip(predicted, self.folds, strict=True)
        ]
        return np.concatenate(parts)

    def is_better(self, scores: Array, others: Array) -> bool:
        """Return whether `scores` exceed `others` by more than chance; see `choice.is_better`."""
        return is_better(scores, others, self.count)

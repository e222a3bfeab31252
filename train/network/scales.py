"""Standardise properties for a network: check that they can be learnt, scale them, and back."""

from __future__ import annotations

import numpy as np

from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.properties import alike
from ccnvr.train.recipe.recipe import TrainingRecipe

# With fewer, each of five folds would hold out a single value.
FEWEST_VALUES = 10
"""The spectra that a property must be measured in to be trained on."""


def unlearnable(values: Array, transform: str) -> str:
    """Return why a property cannot be learnt from its values `(n,)`, or "" if it can.

    NaN marks values that were not measured.
    """
    known = values[~np.isnan(values)]
    if known.size < FEWEST_VALUES:
        return f"was measured in {known.size} spectra to train on, {FEWEST_VALUES} are needed"
    if known.min() == known.max():
        return f"is {known[0]:g} in all spectra to train on, so there is nothing to learn"
    if transform == "log1p" and known.min() <= -1.0:
        return f"is {known.min():g} somewhere, and log1p takes values above -1"
    return ""


def make_targets(recipe: TrainingRecipe, values: Array) -> tuple[Target, ...]:
    """Return targets scaled by the mean and deviation of their transformed values `(n, targets)`.

    NaN marks values that were not measured.

    Raises:
        UsageError: a property is `unlearnable`.
    """
    targets = []
    for name, column in zip(recipe.properties, values.T, strict=True):
        transform = recipe.transforms[name]
        if fault := unlearnable(column, transform):
            raise UsageError(
                f"{name} {fault}; take it out of 'transforms' in the recipe, or add a library, or "
                f"a column {name} to your file{alike(name)}"
            )
        known = column[~np.isnan(column)]
        stated = recipe.property_of(name)
        # With mean 0 and sd 1, to transform only: the mean and sd that count come from the result.
        raw = Target(name, stated.unit, transform, 0.0, 1.0, float(known.min()), float(known.max()))
        transformed = raw.standardise(known)
        targets.append(
            Target(
                name,
                raw.unit,
                transform,
                float(transformed.mean()),
                float(transformed.std()),
                raw.lowest,
                raw.highest,
                method=stated.method,
            )
        )
    return tuple(targets)


def standardise(targets: tuple[Target, ...], values: Array) -> Array:
    """Return properties `(n, targets)` as standardised values."""
    return np.stack(
        [target.standardise(column) for target, column in zip(targets, values.T, strict=True)],
        axis=1,
    )


def restore(targets: tuple[Target, ...], outputs: Array) -> Array:
    """Return standardised outputs `(n, targets)` as properties."""
    return np.stack(
        [target.restore(column) for target, column in zip(targets, outputs.T, strict=True)], axis=1
    )

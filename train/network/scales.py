"""The scales on which a network learns properties: what of them can be learnt, their means and
deviations, there and back.
"""

from __future__ import annotations

import numpy as np

from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.properties import UNITS
from ccnvr.train.recipe.recipe import TrainingRecipe

FEWEST_VALUES = 10
"""With a property's value, to train on."""


def unlearnable(values: Array, transform: str) -> str:
    """Why a property cannot be learnt from its values `(n,)`, NaN where not measured; empty if it
    can.
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
    """Means and deviations of the transformed properties `(n, targets)`, over the soils where each
    was measured.

    Raises:
        UsageError: a property is `unlearnable`.
    """
    targets = []
    for name, column in zip(recipe.properties, values.T, strict=True):
        transform = recipe.transforms[name]
        if fault := unlearnable(column, transform):
            raise UsageError(
                f"{name} {fault}; take it out of 'transforms' in the recipe, or add a library, or "
                f"a column {name} to your file"
            )
        known = column[~np.isnan(column)]
        raw = Target(name, UNITS[name], transform, 0.0, 1.0, float(known.min()), float(known.max()))
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
            )
        )
    return tuple(targets)


def standardise(targets: tuple[Target, ...], values: Array) -> Array:
    """Properties `(n, targets)` -> standardised."""
    return np.stack(
        [target.standardise(column) for target, column in zip(targets, values.T, strict=True)],
        axis=1,
    )


def restore(targets: tuple[Target, ...], outputs: Array) -> Array:
    """Standardised outputs `(n, targets)` -> properties."""
    return np.stack(
        [target.restore(column) for target, column in zip(targets, outputs.T, strict=True)], axis=1
    )

"""The soils that a recipe names, warnings about them, and which of them other soils repeat."""

from __future__ import annotations

import numpy as np

from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.own.files import ENDINGS
from ccnvr.train.libraries.properties import doubt
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.scales import unlearnable
from ccnvr.train.recipe.recipe import TrainingRecipe

SAME_SPECTRUM = 3e-4
"""The root mean square difference in absorbance below which two spectra are taken for one.

A soil of the open libraries that was written with four decimals differs from itself by less, and
hardly any soil but a duplicate has a neighbour as near.
"""

_SPECTRA_AT_ONCE = 512


def load_soils(names: tuple[str, ...], recipe: TrainingRecipe) -> Soils:
    """Load the named libraries on the recipe's grid with the recipe's properties.

    Files of a fine-tuning were measured with the model's own instrument, so the recipe's sensor is
    not applied to them. Values beyond a range that the recipe states count as not measured. No
    names give no soils.
    """
    if not names:
        return Soils.none(recipe.grid, recipe.properties)
    own = {finetuned.data: finetuned.quantity for finetuned in recipe.finetuned}
    soils = libraries.join(
        libraries.load_library(
            name,
            recipe.grid,
            quantity=own.get(name, recipe.file_quantity),
            sensor=None if name in own else recipe.sensor,
            properties=recipe.definitions,
        ).of(recipe.properties)
        for name in names
    )
    for column, name in enumerate(recipe.properties):
        if name in recipe.definitions:
            stated, values = recipe.property_of(name), soils.values[:, column]
            values[(values < stated.lowest) | (values > stated.highest)] = np.nan
    return soils


def load_before(recipe: TrainingRecipe) -> Soils | None:
    """Load the soils of the recipe's pretraining, with all properties that it learns from them.

    Returns None for a recipe without `pretraining`.

    Raises:
        UsageError: a property of `beside` cannot be learnt from them.
    """
    if recipe.pretraining is None:
        return None
    first = recipe.pretraining_recipe()
    soils = load_soils(first.libraries, first)
    for name in first.properties[len(recipe.properties) :]:
        if fault := unlearnable(soils.column(name), first.transforms[name]):
            raise UsageError(
                f"in [pretraining], {name} {fault}; take it out of 'beside', or add a library that "
                "has it"
            )
    return soils


def doubts(soils: Soils) -> list[str]:
    """Return warnings about values in the user's files that may be in another unit."""
    origin, found = np.array(soils.origin), []
    for source in dict.fromkeys(name for name in soils.origin if name.endswith(ENDINGS)):
        for name, values in zip(soils.properties, soils.values[origin == source].T, strict=True):
            if not np.isnan(values).all() and (
                words := doubt(source, name, float(np.nanmax(values)))
            ):
                found.append(words)
    return found


def shared(soils: Soils, *others: Soils) -> tuple[str, ...]:
    """Return the sample ids of the soils that `others` contain too.

    A soil is recognised by its sample id, with and without the name of its file, or by its
    spectrum, because a file may give the soils of a library new names.
    """
    ids = {sample_id for other in others for sample_id in other.sample_ids}
    squares = [np.sum(other.spectra**2, axis=1) for other in others]
    found = []
    for start in range(0, len(soils), _SPECTRA_AT_ONCE):
        block = soils.spectra[start : start + _SPECTRA_AT_ONCE]
        own = np.sum(block**2, axis=1)[:, None]
        # |a - b|^2 = |a|^2 + |b|^2 - 2ab: one matrix product instead of n x m differences.
        apart = [
            own + square - 2.0 * block @ other.spectra.T
            for square, other in zip(squares, others, strict=True)
        ]
        # `initial` is for the case that there are no other soils at all.
        nearest = np.min(np.concatenate(apart, axis=1), axis=1, initial=np.inf) / block.shape[1]
        for sample_id, distance in zip(soils.sample_ids[start:], nearest, strict=False):
            if {sample_id, sample_id.partition("/")[2]} & ids or distance < SAME_SPECTRUM**2:
                found.append(sample_id)
    return tuple(found)

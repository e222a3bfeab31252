"""The soils of a recipe's libraries, and which of them another pool has too."""

from __future__ import annotations

import dataclasses

import numpy as np

from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.load import Pool
from ccnvr.train.libraries.own_files import ENDINGS
from ccnvr.train.libraries.properties import doubt
from ccnvr.train.network.scales import unlearnable
from ccnvr.train.recipe.recipe import TrainingRecipe

SAME_SPECTRUM = 3e-4
"""Root mean square difference of absorbance below which two spectra count as one: a soil of the
open libraries written with four decimals differs from itself by less, and hardly any but a twin has
a neighbour as near.
"""

_SPECTRA_AT_ONCE = 512


def load_soils(names: tuple[str, ...], recipe: TrainingRecipe) -> Pool:
    """The named libraries on the recipe's grid, with the recipe's properties; no names give no
    soils.
    """
    if not names:
        return Pool([], [], np.empty((0, recipe.grid.bands)), np.empty((0, len(recipe.properties))))
    own = {finetuned.data: finetuned.quantity for finetuned in recipe.finetuned}
    pool = libraries.join(
        libraries.load(name, recipe.grid, own[name])
        if name in own
        else libraries.load(name, recipe.grid, recipe.file_quantity, recipe.instrument)
        for name in names
    )
    columns = [libraries.PROPERTIES.index(name) for name in recipe.properties]
    return dataclasses.replace(pool, targets=pool.targets[:, columns])


def load_before(recipe: TrainingRecipe) -> Pool | None:
    """The soils that the network learns first, with the properties that it learns then; None
    without `pretraining`.

    Raises:
        UsageError: a property beside the recipe's own cannot be learnt from them.
    """
    first = recipe.first_round
    if first is None:
        return None
    pool, own = load_soils(first.libraries, first), len(recipe.properties)
    for name, values in zip(first.properties[own:], pool.targets.T[own:], strict=True):
        if fault := unlearnable(values, first.transforms[name]):
            raise UsageError(
                f"in [pretraining], {name} {fault}; take it out of 'beside', or add a library "
                "that has it"
            )
    return pool


def doubts(pool: Pool, properties: tuple[str, ...]) -> list[str]:
    """Warnings of values in the user's files that may be in another unit; the pool has these
    properties.
    """
    origin, found = np.array(pool.origin), []
    for source in dict.fromkeys(name for name in pool.origin if name.endswith(ENDINGS)):
        for name, values in zip(properties, pool.targets[origin == source].T, strict=True):
            if not np.isnan(values).all() and (
                words := doubt(source, name, float(np.nanmax(values)))
            ):
                found.append(words)
    return found


def shared(pool: Pool, *others: Pool) -> tuple[str, ...]:
    """Sample ids of the soils that another pool has too: by their id, with the file's name before
    it and without, or by their spectrum, for a file may name them anew.
    """
    ids = {sample_id for other in others for sample_id in other.sample_ids}
    squares = [np.sum(other.spectra**2, axis=1) for other in others]
    found = []
    for start in range(0, len(pool.sample_ids), _SPECTRA_AT_ONCE):
        block = pool.spectra[start : start + _SPECTRA_AT_ONCE]
        own = np.sum(block**2, axis=1)[:, None]
        apart = [
            own + square - 2.0 * block @ other.spectra.T
            for square, other in zip(squares, others, strict=True)
        ]
        nearest = np.min(np.concatenate(apart, axis=1), axis=1, initial=np.inf) / block.shape[1]
        for sample_id, distance in zip(pool.sample_ids[start:], nearest, strict=False):
            if {sample_id, sample_id.partition("/")[2]} & ids or distance < SAME_SPECTRUM**2:
                found.append(sample_id)
    return tuple(found)

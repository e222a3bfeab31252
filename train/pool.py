"""The soils of a recipe's libraries."""

from __future__ import annotations

import dataclasses

import numpy as np

from ccnvr.train import libraries
from ccnvr.train.libraries import Pool
from ccnvr.train.recipe import TrainingRecipe


def load_pool(names: tuple[str, ...], recipe: TrainingRecipe) -> Pool:
    """The named libraries on the recipe's grid, with the recipe's properties; no names give no soils."""
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

"""Folds for cross-validation that keep a soil's spectra together, and whether each leaves enough to
train on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.load import Pool
from ccnvr.train.network import scales
from ccnvr.train.recipe.recipe import TrainingRecipe


def fold_of(
    pool: Pool, folds: int, seed: int, soil: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """A fold for each spectrum, balanced over libraries; equal spectra, and those of one sample id,
    share one.

    `soil` is what `soil_of` says, where that is known already: for many spectra it takes a while.
    """
    rng = np.random.default_rng(seed)
    group = soil_of(pool) if soil is None else soil
    fold_of_group = np.full(group.max() + 1, -1)
    origin = np.array(pool.origin)
    for library in dict.fromkeys(pool.origin):
        groups = rng.permutation(np.unique(group[origin == library]))
        fold_of_group[groups] = np.arange(len(groups)) % folds
    folds_of_soils: NDArray[np.int64] = fold_of_group[group]
    return folds_of_soils


def soil_of(pool: Pool) -> NDArray[np.int64]:
    """A number for each spectrum, the same for spectra that are equal in single precision or have
    one sample id.
    """
    # In double precision the last bit of a resampled spectrum may depend, by the processor, on the
    # row that it stands in.
    _, soil = np.unique(pool.spectra.astype(np.float32), axis=0, return_inverse=True)
    first_of: dict[str, int] = {}
    for row, sample_id in enumerate(pool.sample_ids):
        first = first_of.setdefault(sample_id, row)
        # Both as they are by now: one of them may have been joined with a third before.
        if soil[row] != soil[first]:
            soil[soil == soil[row]] = soil[first]
    _, numbers = np.unique(soil, return_inverse=True)
    soils: NDArray[np.int64] = numbers
    return soils


def twins_of(pool: Pool, soil: NDArray[np.int64]) -> str:
    """A warning of equal spectra under several sample ids, a file's mistake more often than
    nature's; empty without any.
    """
    ids: dict[int, set[str]] = {}
    for number, sample_id in zip(soil.tolist(), pool.sample_ids, strict=True):
        ids.setdefault(number, set()).add(sample_id)
    twins = [names for names in ids.values() if len(names) > 1]
    if not twins:
        return ""
    return (
        f"{sum(map(len, twins))} sample ids, {' and '.join(sorted(twins[0])[:2])} among them, "
        "have the spectrum of another; "
        "they share a fold, and each of them counts"
    )


def check_folds(
    recipe: TrainingRecipe,
    targets: NDArray[np.float64],
    soil: NDArray[np.int64],
    folds: NDArray[np.int64],
) -> None:
    """Whether every property `(n, targets)` can be learnt, from all soils and without any of the
    folds `(n,)`.

    Raises:
        UsageError: one cannot, or there are fewer soils than folds, in all or in every library.
    """
    scales.make_targets(recipe, targets)
    alike = "spectra that have one sample_id, or are equal, are of one soil"
    if (found := np.unique(soil).size) < recipe.folds:
        raise UsageError(
            f"{recipe.folds} folds cannot be made of {found} soils ({alike}); add soils, or ask "
            "for fewer folds"
        )
    if empty := sorted(set(range(recipe.folds)) - set(folds.tolist())):
        raise UsageError(
            f"fold {empty[0] + 1} of {recipe.folds} holds no soil, since no library has as many "
            f"soils ({alike}); ask for fewer "
            "folds, or join small files to one"
        )
    for column, name in enumerate(recipe.properties):
        values = targets[:, column]
        for number in range(recipe.folds):
            if fault := scales.unlearnable(values[folds != number], recipe.transforms[name]):
                measured = np.unique(soil[~np.isnan(values)]).size
                raise UsageError(
                    f"without fold {number + 1} of {recipe.folds}, {name} {fault}; it was "
                    f"measured in {measured} soils in all "
                    f"({alike}), so add soils, change the number of folds, or take it out of "
                    "'transforms' in the recipe"
                )

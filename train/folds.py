"""Folds for cross-validation that keep a soil's spectra together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccnvr.train.libraries import Pool


def fold_of(pool: Pool, folds: int, seed: int, soil: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """A fold for each spectrum, balanced over libraries; equal spectra, and those of one sample id, share one.

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
    """A number for each spectrum, the same for spectra that are equal or have one sample id."""
    _, soil = np.unique(pool.spectra, axis=0, return_inverse=True)
    of_sample: dict[str, int] = {}
    for sample_id, number in zip(pool.sample_ids, soil.tolist(), strict=True):
        kept = of_sample.setdefault(sample_id, number)
        soil[soil == number] = kept
    _, numbers = np.unique(soil, return_inverse=True)
    soils: NDArray[np.int64] = numbers
    return soils

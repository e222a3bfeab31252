"""Cross-validation folds that keep the spectra of one soil together, and checks that each fold
leaves enough soils to train on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ccnvr.firmware_bridge.arrays import Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network import scales
from ccnvr.train.recipe.recipe import TrainingRecipe

_ALIKE = "spectra that have one sample_id, or are equal, are of one soil"


def fold_of(soils: Soils, folds: int, seed: int) -> Integers:
    """Return a fold for each spectrum `(n,)`, balanced over the libraries.

    All spectra of one soil or one profile (see `soil_of`) share a fold.
    """
    rng = np.random.default_rng(seed)
    group = soil_of(soils)
    fold_of_group = np.full(group.max() + 1, -1)
    origin = np.array(soils.origin)
    # Dealt out in turn, so that the folds of a library differ by at most one of its soils.
    for library in dict.fromkeys(soils.origin):
        groups = rng.permutation(np.unique(group[origin == library]))
        fold_of_group[groups] = np.arange(len(groups)) % folds
    folds_of_soils: Integers = fold_of_group[group]
    return folds_of_soils


def soil_of(soils: Soils) -> Integers:
    """Return the number of the soil that each spectrum shows, `(n,)`; a profile counts as one soil.

    Spectra show the same soil if they are equal in single precision, have one sample id, or come
    from one site. Where `soils.groups` is known it is returned, because the comparison takes a
    while for many spectra.
    """
    if soils.groups is not None:
        return soils.groups
    return _alike(soils, [soils.sample_ids] + ([] if soils.sites is None else [soils.sites]))


def _alike(soils: Soils, names: list[Sequence[str]]) -> Integers:
    """Return a number for each spectrum, the same for spectra that are equal or share a name."""
    # In double precision the last bit of a resampled spectrum may depend, by the processor, on the
    # row that it stands in.
    _, soil = np.unique(soils.spectra.astype(np.float32), axis=0, return_inverse=True)
    for names_of_rows in names:
        first_of: dict[str, int] = {}
        for row, name in enumerate(names_of_rows):
            first = first_of.setdefault(name, row)
            # Read anew in each turn: either number may have been joined with a third one before.
            if soil[row] != soil[first]:
                soil[soil == soil[row]] = soil[first]
    _, numbers = np.unique(soil, return_inverse=True)
    groups: Integers = numbers
    return groups


def grouped(soils: Soils) -> Soils:
    """Return the soils with their `groups` determined by `soil_of`."""
    return replace(soils, groups=soil_of(soils))


def twins_of(soils: Soils) -> str:
    """Return a warning about equal spectra under several sample ids, or "" if there are none.

    They are more often a mistake in a file than two soils that look alike.
    """
    ids: dict[int, set[str]] = {}
    # Horizons of one profile share a fold but are no twins.
    numbers = soil_of(soils) if soils.sites is None else _alike(soils, [soils.sample_ids])
    for number, sample_id in zip(numbers.tolist(), soils.sample_ids, strict=True):
        ids.setdefault(number, set()).add(sample_id)
    twins = [names for names in ids.values() if len(names) > 1]
    if not twins:
        return ""
    return (
        f"{sum(map(len, twins))} sample ids, {' and '.join(sorted(twins[0])[:2])} among them, have "
        "the spectrum of another sample; they share a fold, and each of them counts"
    )


def check_folds(recipe: TrainingRecipe, soils: Soils, folds: Integers) -> None:
    """Check that every property can be learnt from all soils, and without any of the folds `(n,)`.

    Raises:
        UsageError: a property cannot be learnt, or there are fewer soils than folds, in all or in
            every library.
    """
    scales.make_targets(recipe, soils.values)
    soil = soil_of(soils)
    if (found := np.unique(soil).size) < recipe.folds:
        raise UsageError(
            f"{recipe.folds} folds cannot be made of {found} soils ({_ALIKE}); add soils, or ask "
            "for fewer folds"
        )
    if empty := sorted(set(range(recipe.folds)) - set(folds.tolist())):
        raise UsageError(
            f"fold {empty[0] + 1} of {recipe.folds} is empty, because no library has "
            f"{recipe.folds} soils ({_ALIKE}); ask for fewer folds, or join small files to one"
        )
    for name in recipe.properties:
        values = soils.column(name)
        for number in range(recipe.folds):
            if fault := scales.unlearnable(values[folds != number], recipe.transforms[name]):
                measured = np.unique(soil[~np.isnan(values)]).size
                raise UsageError(
                    f"without fold {number + 1} of {recipe.folds}, {name} {fault}; it was measured "
                    f"in {measured} soils in all ({_ALIKE}), so add soils, change the number of "
                    "folds, or take it out of 'transforms' in the recipe"
                )

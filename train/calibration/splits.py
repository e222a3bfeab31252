"""The splits of a library by which methods are compared: official ones, or folds of places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.folds import grouped
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.catalogue import LIBRARIES
from ccnvr.train.libraries.parts import COUNTRIES, PROFILES, shares_of
from ccnvr.train.libraries.published.icraf import GAPS_NM
from ccnvr.train.libraries.sensor import View
from ccnvr.train.libraries.soils import Soils, Split
from ccnvr.train.recipe import recipe_file as recipes

DEFAULT_RECIPE = Path(__file__).parents[1] / "recipes" / "nirsoil_best_recipe.toml"

OPEN = "open"
"""The name for all open libraries joined, as in the recipe of the default bundle."""

ICRAF, BY_COUNTRY, BY_CHANCE, TO_ORGANIC = WORLD = (
    "icraf",
    "icraf:countries",
    "icraf:chance",
    "icraf:organic",
)
"""ICRAF-ISRIC in folds of whole profiles, of whole countries, or of soils drawn by chance, and from
mineral soils to others. Chance puts horizons of one profile on both sides: it serves to compare
with publications alone.
"""

WORLD_GRID = Grid(410.0, 10.0, 179, GAPS_NM)
WORLD_PROPERTIES = ("OC", "N", "CEC", "pH", "clay")
WORLD_FOLDS = 5

WORLD_SCALES: Mapping[str, str] = {"OC": "log1p", "N": "log1p", "CEC": "log1p"}
"""The scales that ICRAF's properties are scored on; the others are scored as they are.

In its unit, R2 of OC is decided by a few peats with a hundred times the carbon of most soils.
"""

MOST_MINERAL = 50.0
"""The OC in g/kg above which a soil of ICRAF is one to transfer to; few of its soils are peats."""


def splits_of(
    library: str, properties: tuple[str, ...] = (), repetitions: int = 1
) -> tuple[list[Split], ...]:
    """Return the splits of each repetition; one list if all repetitions have the same splits.

    ICRAF's profiles or countries are divided into folds anew in each repetition.

    Args:
        library: one that `official_splits` takes, or one of `WORLD`.
        properties: the properties to predict; none stands for all that were measured, and for
            `WORLD_PROPERTIES` of ICRAF.
        repetitions: the number of repetitions.

    Raises:
        UsageError: the library has no split, or no value of a property.
    """
    if library not in WORLD:
        return (official_splits(library, properties=properties),)
    soils = world_soils()
    _check_measured(library, soils, properties)
    properties = properties or WORLD_PROPERTIES
    if library == TO_ORGANIC:
        return ([split("organic", soils, soils.column("OC") > MOST_MINERAL, properties)],)
    if library == BY_CHANCE:
        soils = replace(soils, sites=None, groups=np.arange(len(soils)))
    label = COUNTRIES if library == BY_COUNTRY else PROFILES
    if label == COUNTRIES:
        # Rivals are tuned, and members choose, with whole countries left out too.
        _, countries = np.unique(np.array(soils.labels["country"]), return_inverse=True)
        soils = replace(soils, groups=countries)
    return tuple(
        [
            split(f"{label}={fold}/{WORLD_FOLDS}/{seed}", soils, shares == fold, properties)
            for fold in range(1, WORLD_FOLDS + 1)
            # A folder may hold soils of fewer countries than there are folds.
            if (shares == fold).any()
        ]
        for seed in range(repetitions)
        for shares in [shares_of(soils, label, WORLD_FOLDS, seed)]
    )


def world_soils(grid: Grid = WORLD_GRID) -> Soils:
    """Return all soils of ICRAF, with the country of each among their labels."""
    return grouped(LIBRARIES[ICRAF].read(View(grid, None), ""))


def official_splits(
    library: str, grid: Grid = libraries.NEAR_INFRARED, properties: tuple[str, ...] = ()
) -> list[Split]:
    """Return the official split of nirsoil, or the ten official folds of a LimeSoDa set.

    Args:
        library: nirsoil, a LimeSoDa set, or `OPEN`, the training parts and the test parts of all
            open libraries.
        grid: the wavelengths.
        properties: the properties to predict; none stands for all that were measured.

    Raises:
        UsageError: the library has no official split, or has no value of a property.
    """
    if library not in ("nirsoil", OPEN, *limesoda.VISNIR_SETS):
        have = (
            f"nirsoil and {', '.join(limesoda.VISNIR_SETS)} have, and {OPEN}, which is all of "
            f"them; {', '.join(WORLD)} have folds"
        )
        raise UsageError(f"library {library!r} has no official split; {have}")
    if library in limesoda.VISNIR_SETS:
        soils, folds = libraries.load_library(library, grid), limesoda.load(library).folds
        held_out = {f"fold {fold}": folds == fold for fold in np.unique(folds)}
    else:
        train, test = (
            ((f"{library}:train",), (f"{library}:test",)) if library != OPEN else _open_parts()
        )
        # Joined and split again, so that soils of both parts have groups numbered alike.
        parts = [libraries.load_library(part, grid) for part in (*train, *test)]
        soils = libraries.join(parts)
        trained_on = sum(len(part) for part in parts[: len(train)])
        held_out = {"official": np.arange(len(soils)) >= trained_on}
    measured = _check_measured(library, soils, properties)
    return [split(name, soils, rows, properties or measured) for name, rows in held_out.items()]


def _check_measured(library: str, soils: Soils, properties: tuple[str, ...]) -> tuple[str, ...]:
    """Return the properties that were measured; all of `properties` must be among them."""
    measured = tuple(name for name in soils.properties if not np.isnan(soils.column(name)).all())
    if unknown := [name for name in properties if name not in measured]:
        raise UsageError(
            f"{library} has no {unknown[0]}, only {', '.join(measured)}; name some of these with "
            "--properties"
        )
    return measured


def _open_parts() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the training parts and the test parts of the open libraries."""
    recipe = recipes.load(DEFAULT_RECIPE)
    return recipe.libraries, recipe.tests


def split(
    name: str, soils: Soils, held_out: NDArray[np.bool_], properties: tuple[str, ...]
) -> Split:
    """Split soils with these properties into those to train on and those held out."""
    soils = grouped(soils).of(properties)
    return Split(name, soils.rows(~held_out), soils.rows(held_out))

"""A user's soils for a fine-tuning: read, checked, and compared with those the base has seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.folds import grouped, soil_of
from ccnvr.train.calibration.recipe_soils import load_soils, shared
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.catalogue import LIBRARIES, library_and_part
from ccnvr.train.libraries.own.files import ENDINGS
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.runs.base import Base, at_hand
from ccnvr.train.runs.folder import with_values

FEWEST_SOILS = 10
"""The number of soils that a property must be measured in: fewer errors have no 90 % quantile."""

PROVED_ON = 200
"""The number of real spectra without which no export is possible."""


def read_soils(base: Base, path: Path, quantity: str) -> tuple[Soils, dict[str, str]]:
    """Read the soils of a file that can teach the base something.

    Returns:
        The soils that have a value, with the properties that can be learnt; and for each other
        property the reason why it is left out.

    Raises:
        UsageError: the file cannot be used, or no property that the base predicts was measured in
            `FEWEST_SOILS`.
        WavelengthError: the file does not cover the base's grid.
    """
    if path.suffix not in ENDINGS:
        raise UsageError(
            f"{path} is not a file of soils; give one that ends in {', '.join(ENDINGS)}"
        )
    # Without the recipe's sensor: they were measured with the instrument that the model is for.
    soils = libraries.load_library(
        str(path), base.recipe.grid, quantity=quantity, properties=base.recipe.definitions
    )
    # Soils are counted and not spectra: ten scans of one soil are one soil.
    soil, left_out = soil_of(soils), {}
    for name in dict.fromkeys((*soils.properties, *base.recipe.properties)):
        values = soils.column(name)
        known = ~np.isnan(values)
        count = len(np.unique(soil[known]))
        if name not in base.recipe.properties:
            if count:
                left_out[name] = f"{base.source} does not predict it"
        elif count < FEWEST_SOILS:
            left_out[name] = f"measured in {count} of your soils, {FEWEST_SOILS} are needed"
        elif values[known].min() == values[known].max():
            left_out[name] = (
                f"{values[known][0]:g} in all of your soils, so there is nothing to learn"
            )
    properties = tuple(name for name in base.recipe.properties if name not in left_out)
    if not properties:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UsageError(
            f"{path} has no property to fine-tune {base.source} for ({reasons}); add soils with "
            "the laboratory's values"
        )
    return grouped(with_values(soils.of(properties))), left_out


@dataclass(frozen=True)
class Overlap:
    """The base's libraries that are on this computer, and which of the user's soils they hold."""

    kept: tuple[str, ...]
    """The libraries of the base's training that an export can be proved on."""

    seen: tuple[str, ...]
    """The sample ids of the user's soils that the base was trained on."""

    not_compared: tuple[str, ...]
    """The libraries of the base that the soils could not be compared with, or not in short time."""

    substitutes: tuple[str, ...]
    """Open libraries to prove an export on, where too few of the base's soils are at hand."""


def overlap(base: Base, soils: Soils) -> Overlap:
    """Compare a user's soils with those that a base was trained on."""
    recipe = base.recipe
    kept = at_hand(recipe.libraries)
    compared = tuple(name for name in kept if not _large(name))
    known = load_soils(compared, recipe)
    before = recipe.pretraining.libraries if recipe.pretraining else ()
    also = tuple(name for name in at_hand(before) if not _large(name))
    # A large library, which is not read here, has enough spectra by itself.
    few = kept == compared and len(known) + len(soils) < PROVED_ON
    return Overlap(
        kept=kept,
        seen=shared(soils, known, load_soils(also, recipe)),
        not_compared=tuple(
            name for name in (*recipe.libraries, *before) if name not in (*compared, *also)
        ),
        substitutes=libraries.open_sets(recipe.grid, recipe.sensor) if few else (),
    )


def _large(name: str) -> bool:
    library = LIBRARIES.get(library_and_part(name)[0])
    return library is not None and library.large

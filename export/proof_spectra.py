"""The model inputs that an export is proved on: real soils, and hostile inputs that no soil has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.catalogue import library_and_part
from ccnvr.train.libraries.published.r_packages import moisture_at_hand
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe.recipe import TrainingRecipe

# With fewer spectra a fault in one gate or scale could stay within the limits; more than a few
# thousand add time and no certainty.
WANTED_SPECTRA = 500
FEWEST_SPECTRA = 200
FEWEST_MIXED = 10
"""The real spectra without which no mixtures are made of them."""

MOST_SPECTRA = 2000


class ProofError(CcnvrError):
    """An export cannot be proved: a model file answers wrongly, or there are too few spectra."""


@dataclass(frozen=True)
class ProofSpectra:
    """Real and hostile model inputs, and what the laboratory measured in the real soils.

    Attributes:
        real: inputs `(n, channels, bands)` of real soils, and of mixtures of them at the end.
        names: the sample id of each real soil, and what each mixture is of.
        properties: the laboratory's values `(n, targets)`, NaN where not measured.
        held_out: how many of the real soils, the first ones, took no part in training.
        hostile: inputs `(1, channels, bands)` that no soil has, by a name that describes them.
        mixtures: how many of the real soils, the last ones, are mixtures of two others.
    """

    real: Float32
    names: list[str]
    properties: Array
    held_out: int
    hostile: dict[str, Float32]
    mixtures: int = 0

    def only(self, columns: Sequence[int]) -> ProofSpectra:
        """Return the same spectra with these columns of `properties` alone."""
        return replace(self, properties=self.properties[:, columns])


def collect_spectra(
    recipe: TrainingRecipe,
    training_soils: Callable[[], Soils],
    correction: Correction | None = None,
) -> ProofSpectra:
    """Return spectra to prove an export on.

    All soils of the recipe's tests come first. If they are fewer than `WANTED_SPECTRA`, the spectra
    of the moisture set follow, where it is at hand: no library contains them, although geeves has
    the same soils. If these do not suffice either, the training soils follow. They say nothing
    about accuracy, but show just as well whether two programs agree. The soils of LimeSoDa, where
    it is installed and covers the grid, stand in where all of these are fewer than
    `FEWEST_SPECTRA`; and mixtures of two soils, where there are still fewer.

    Args:
        recipe: the recipe that the run was trained by.
        training_soils: reads the training soils, which may take minutes; called only if needed.
        correction: the correction that the model's spectra go through.

    Raises:
        ProofError: there are fewer than `FEWEST_MIXED` real spectra.
    """
    names, spectra, properties = _held_out(recipe)
    held_out = len(names)
    if held_out < WANTED_SPECTRA:
        pools = [training_soils()]
        if held_out + len(pools[0].sample_ids) < FEWEST_SPECTRA:
            pools.append(_open_soils(recipe))
        for more in pools:
            names += more.sample_ids
            spectra = np.concatenate([spectra, more.spectra])
            properties = np.concatenate([properties, more.values])
    if len(names) < FEWEST_MIXED:
        raise ProofError(
            f"{len(names)} real spectra are too few to prove an export on, {FEWEST_MIXED} are "
            "needed; train again with more 'tests' in the recipe"
        )
    mixtures = max(0, FEWEST_SPECTRA - len(names))
    if mixtures:
        mixed, more_names = _mixtures(spectra, names, mixtures)
        names, spectra = names + more_names, np.concatenate([spectra, mixed])
        not_measured = np.full((mixtures, properties.shape[1]), np.nan)
        properties = np.concatenate([properties, not_measured])
    # The held-out soils come first, so that none of them is cut off before a training soil.
    rows = slice(0, MOST_SPECTRA)
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths(), correction)
    inputs = preprocess.batch(spectra[rows])
    return ProofSpectra(
        inputs,
        names[rows],
        properties[rows],
        min(held_out, len(inputs)),
        hostile_inputs(inputs),
        mixtures,
    )


def _mixtures(spectra: Array, names: list[str], count: int) -> tuple[Array, list[str]]:
    """Return absorbance `(count, bands)` of mixtures of two soils each, and their names.

    A mixture of two soils is a spectrum that a soil may have, so engines that agree on mixtures
    agree on soils.
    """
    # Seeded, so that two exports are proved on the same inputs.
    rng = np.random.default_rng(0)
    # Two different rows each: the second is at least one row further on, around the end.
    first = rng.integers(len(names), size=count)
    second = (first + rng.integers(1, len(names), size=count)) % len(names)
    share = rng.uniform(0.2, 0.8, size=(count, 1))
    mixed = share * spectra[first] + (1.0 - share) * spectra[second]
    return mixed, [
        f"mixture of {names[one]} and {names[other]}"
        for one, other in zip(first.tolist(), second.tolist(), strict=True)
    ]


def _held_out(recipe: TrainingRecipe) -> tuple[list[str], Array, Array]:
    """Return the names, spectra and values of soils that took no part in training."""
    pool = load_soils(recipe.tests, recipe)
    names, spectra, properties = list(pool.sample_ids), pool.spectra, pool.values
    # The moisture set is read onto a grid alone, not as the bands of a sensor would see its soils.
    if len(names) < WANTED_SPECTRA and recipe.sensor is None:
        for state, moist in (moisture_at_hand(recipe.grid) or {}).items():
            names += [f"moisture, {state}/{row}" for row in range(1, len(moist) + 1)]
            spectra = np.concatenate([spectra, moist])
            not_measured = np.full((len(moist), properties.shape[1]), np.nan)
            properties = np.concatenate([properties, not_measured])
    return names, spectra, properties


def _open_soils(recipe: TrainingRecipe) -> Soils:
    """Return the soils of those LimeSoDa sets that the recipe neither trains nor tests on.

    Sets that the network was pretrained on may be among them.
    """
    named = {library_and_part(name)[0] for name in (*recipe.libraries, *recipe.tests)}
    sets = libraries.open_sets(recipe.grid, recipe.sensor)
    return load_soils(tuple(name for name in sets if name not in named), recipe)


def hostile_inputs(real: Float32) -> dict[str, Float32]:
    """Return model inputs `(1, channels, bands)` that no soil has, by name.

    They probe what real soils leave untouched: saturation of int8 ranges, overflow, underflow, the
    ends of the spectrum, and where one band alone decides.
    """
    # Seeded, so that two exports are proved on the same inputs.
    rng = np.random.default_rng(0)
    shape = real.shape[1:]
    bands = np.arange(shape[1])
    inputs = {
        "zero": np.zeros(shape),
        "constant": np.full(shape, 3.0),
        "saturated": np.minimum(real[0], np.percentile(real[0], 20.0)),
        "clipped at both ends": np.sign(real[0]) * 6.0,
        "alternating": np.broadcast_to(np.where(bands % 2, 5.0, -5.0), shape),
        "a ramp": np.broadcast_to(np.linspace(-10.0, 10.0, shape[1]), shape),
        "a spike": np.where(bands == shape[1] // 2, 1e3, 0.0) * np.ones(shape),
        "the last band": np.where(bands == shape[1] - 1, 50.0, 0.0) * np.ones(shape),
        # Below the least normal float32, where some engines flush numbers to zero.
        "tiny": np.full(shape, 1e-38),
        "huge": np.full(shape, 1e3),
        "huge and negative": np.full(shape, -1e3),
    }
    for sd in (1.0, 10.0, 100.0):
        inputs.update(
            {f"noise of sd {sd:g}, {number}": rng.normal(0.0, sd, shape) for number in range(5)}
        )
    return {
        name: np.ascontiguousarray(value[None], dtype=np.float32) for name, value in inputs.items()
    }

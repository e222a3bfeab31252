"""The training data of members: model inputs of noisy, tilted copies of each soil."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.network.augment import Mixture, VariedInputs
from ccnvr.train.recipe.recipe import TrainingRecipe

COPIES = 2
"""The copies of each soil, each with noise and tilt of its own."""

MOST_COPIED = 1500
"""The most spectra that are copied; of more there is one copy each, to limit time and memory."""


@dataclass(frozen=True, eq=False)
class MemberSoils:
    """What members are fitted to, one row for each copy of a spectrum."""

    inputs: Array
    """Flattened model inputs `(rows, channels x bands)`."""

    values: Array
    """Standardised properties `(rows, targets)`, NaN where not measured."""

    groups: Integers
    """The number of each row's soil, `(rows,)`; copies of a soil share it."""

    channels: int
    """The number of channels that `inputs` holds side by side."""

    wavelengths: Array
    """The wavelengths of each channel in nm, `(bands,)`."""

    first: NDArray[np.bool_]
    """Which rows are the first copy of their spectrum, `(rows,)`."""

    def rows(self, rows: NDArray[np.bool_] | Integers) -> MemberSoils:
        """Return some of the rows."""
        return replace(
            self,
            inputs=self.inputs[rows],
            values=self.values[rows],
            groups=self.groups[rows],
            first=self.first[rows],
        )


def member_soils(
    recipe: TrainingRecipe,
    preprocess: Preprocessor,
    spectra: Array,
    standardised: Array,
    groups: Integers,
    seed: int,
) -> MemberSoils:
    """Return noisy, tilted copies of absorbance `(n, bands)`, by the recipe's augmentation.

    `standardised` `(n, targets)` is NaN where not measured, and `groups` `(n,)` numbers the soils.
    """
    # Shifts of the input stand for nothing that an instrument does, and members need no such help.
    augmentation = replace(recipe.fit.augmentation, input_shift=0.0)
    varied = VariedInputs(preprocess, spectra, augmentation, seed)
    copies = COPIES if len(spectra) <= MOST_COPIED else 1
    rng, every = np.random.default_rng((seed, copies)), np.arange(len(spectra))
    inputs = np.concatenate([varied.batch(Mixture(every), rng) for _ in range(copies)])
    return MemberSoils(
        inputs=inputs.reshape(len(inputs), -1).astype(np.float64),
        values=np.tile(standardised, (copies, 1)),
        groups=np.tile(groups, copies),
        channels=inputs.shape[1],
        wavelengths=recipe.grid.wavelengths(),
        first=np.arange(len(inputs)) < len(spectra),
    )

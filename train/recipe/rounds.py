"""The rounds of a training: what a network learns first, the fit itself, and what a fine-tuning
added.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES
from ccnvr.train.recipe.settings import Augmentation


@dataclass(frozen=True)
class Fit:
    """Optimisation: AdamW under a one-cycle learning rate.

    With `teachers`, a network learns from the mean of so many others as well: `teacher_share` is
    their share in what it is taught of a measured property, `unmeasured_weight` the weight of what
    they alone say, relative to a measured one.

    With `mixing` it learns of no soil itself but of mixtures of two, in shares from a beta
    distribution with both parameters so large, after Zhang et al. 2018 (arXiv:1710.09412): of these
    its teachers know, and of nearly every spectrum in between. The laboratory's share in what it is
    taught is mixed as it is scaled and transformed: right for the transform `identity`.
    """

    epochs: int
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    seed: int = 1
    teachers: int = 0
    teacher_share: float = 0.5
    unmeasured_weight: float = 0.3
    mixing: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name, count in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if count < 1:
                raise ValueError(f"{name} = {count} must be at least 1")
        if self.weight_decay < 0.0:
            raise ValueError(f"weight_decay = {self.weight_decay} must not be negative")
        if not self.learning_rate > 0.0:
            raise ValueError(f"learning_rate = {self.learning_rate} must be above 0")
        for name, value, lowest, highest in (
            ("seed", self.seed, 0, 2**31 - 1),
            ("teachers", self.teachers, 0, 20),
            ("teacher_share", self.teacher_share, 0.0, 1.0),
            ("unmeasured_weight", self.unmeasured_weight, 0.0, 1.0),
        ):
            if not lowest <= value <= highest:
                raise ValueError(f"{name} = {value} is not from {lowest} to {highest}")
        if not (self.mixing == 0.0 or 0.01 <= self.mixing <= 100.0):
            raise ValueError(f"mixing {self.mixing} is not 0, nor from 0.01 to 100")


@dataclass(frozen=True)
class Pretraining:
    """What the network that is kept does first: it learns the soils of `libraries` beside the
    recipe's own, from the laboratories' values alone. Its teachers see the recipe's own soils only.

    `beside` has properties, and their transforms, that it learns of those libraries beside the
    recipe's and then forgets.
    """

    libraries: tuple[str, ...]
    epochs: int
    beside: dict[str, str] = field(default_factory=dict)
    batch_size: int = 64
    learning_rate: float = 4e-3

    def __post_init__(self) -> None:
        if not self.libraries:
            raise ValueError("libraries is empty; name at least one, or leave the table out")
        self.of(Fit(1))

    def of(self, fit: Fit) -> Fit:
        """How, where the recipe's own soils are then learnt by `fit`."""
        return dataclasses.replace(
            fit,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            teachers=0,
            mixing=0.0,
        )


@dataclass(frozen=True)
class Finetuned:
    """A round of fine-tuning that came after the training: of which model (its name and sha256), on
    which file of soils.

    `quantity` is what the file holds. It was measured with the instrument that the model is for, so
    it is read as `predict` reads a file, whatever `instrument` sees of the libraries.
    """

    base: str
    data: str
    quantity: str
    layers: str
    epochs: int
    learning_rate: float
    folds: int
    seed: int

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise ValueError(f"quantity {self.quantity!r} is not one of {', '.join(QUANTITIES)}")

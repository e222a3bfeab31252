"""The parts of a recipe that describe rounds of training: pretraining, fit and fine-tunings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES
from ccnvr.edge.typed import OMITTED_IF_EMPTY
from ccnvr.train.recipe.settings import Augmentation


@dataclass(frozen=True)
class Fit:
    """The optimisation: AdamW under a one-cycle learning rate.

    Raises:
        ValueError: a value is out of range.
    """

    epochs: int = 0
    """Passes over the soils, at least 1; 0 if `steps` is given instead."""

    batch_size: int = 32
    """Soils in a step of the optimiser, at least 1."""

    learning_rate: float = 2e-3
    """The highest learning rate of the one-cycle schedule, above 0."""

    weight_decay: float = 1e-2
    """The weight decay of AdamW, at least 0."""

    seed: int = 1
    """The seed of folds, initial weights, batches and augmentation; 0 to 2**31 - 1."""

    teachers: int = 0
    """The number of networks that are trained first; their mean teaches the network, 0 to 20."""

    teacher_share: float = 0.5
    """The teachers' share in the target value of a measured property, 0 to 1."""

    unmeasured_weight: float = 0.3
    """The weight of a target value that comes from the teachers alone, relative to a measured one.

    From 0 to 1.
    """

    mixing: float = 0.0
    """If not 0, both parameters of the beta distribution that soils are mixed by; 0.01 to 100.

    The network then learns from mixtures of two soils only, after Zhang et al. 2018
    (arXiv:1710.09412), for which its teachers give the values. The laboratory's values are mixed
    as they are transformed and scaled, which is exact for the transform `identity` only.
    """

    augmentation: Augmentation = field(default_factory=Augmentation)
    """The random changes of the training spectra."""

    steps: int = field(default=0, metadata={OMITTED_IF_EMPTY: True})
    """If not 0, the steps of the optimiser, which `for_soils` turns into epochs.

    The epochs that a network needs depend on the number of soils; the steps hardly do.
    """

    displacement: float = field(default=0.0, metadata={OMITTED_IF_EMPTY: True})
    """If not 0, how far spectra are displaced by differences between other soils; up to 10.

    To each spectrum a share of the difference between two others is added, whose standard deviation
    this is. A network with teachers then learns what they predict of such spectra, and the
    laboratory's values through them alone.
    """

    def for_soils(self, count: int) -> Fit:
        """Return the same optimisation with its length in epochs of so many soils."""
        if not self.steps:
            return self
        # Both divisions round up: the last batch of an epoch may be smaller, and the steps are a
        # minimum.
        batches = -(-count // self.batch_size)
        return dataclasses.replace(self, epochs=-(-self.steps // batches), steps=0)

    def __post_init__(self) -> None:
        if self.steps < 0 or (self.steps and self.epochs):
            raise ValueError(
                f"steps = {self.steps} must be at least 1, and stands in place of epochs"
            )
        for name, count in (
            ("epochs", self.epochs or self.steps),
            ("batch_size", self.batch_size),
        ):
            if count < 1:
                raise ValueError(f"{name} = {count} must be at least 1")
        if self.weight_decay < 0.0:
            raise ValueError(f"weight_decay = {self.weight_decay} must not be negative")
        # Not `<= 0.0`, which NaN would pass.
        if not self.learning_rate > 0.0:
            raise ValueError(f"learning_rate = {self.learning_rate} must be above 0")
        for name, value, lowest, highest in (
            ("seed", self.seed, 0, 2**31 - 1),
            ("teachers", self.teachers, 0, 20),
            ("teacher_share", self.teacher_share, 0.0, 1.0),
            ("unmeasured_weight", self.unmeasured_weight, 0.0, 1.0),
        ):
            if not lowest <= value <= highest:
                raise ValueError(f"{name} = {value} must be from {lowest} to {highest}")
        self._check_mixtures()

    def _check_mixtures(self) -> None:
        if not (self.mixing == 0.0 or 0.01 <= self.mixing <= 100.0):
            raise ValueError(f"mixing = {self.mixing} must be 0, or from 0.01 to 100")
        if not 0.0 <= self.displacement <= 10.0:
            raise ValueError(f"displacement = {self.displacement} must be from 0 to 10")
        if self.displacement and self.mixing:
            raise ValueError("mixing and displacement exclude each other; leave one of them out")


@dataclass(frozen=True)
class Pretraining:
    """The pretraining of the network that is kept, on the recipe's soils and others together.

    It learns from the laboratories' values alone. Its teachers only see the recipe's own soils.

    Raises:
        ValueError: there is no library, or a value is out of range.
    """

    libraries: tuple[str, ...]
    """The libraries that are learnt beside the recipe's own."""

    epochs: int
    """Passes over all of these soils, at least 1."""

    beside: dict[str, str] = field(default_factory=dict)
    """Further properties of these libraries to learn, and their transforms; dropped afterwards."""

    batch_size: int = 64
    """Soils in a step of the optimiser, at least 1."""

    learning_rate: float = 4e-3
    """The highest learning rate of the one-cycle schedule, above 0."""

    def __post_init__(self) -> None:
        if not self.libraries:
            raise ValueError("libraries is empty; name at least one, or leave the table out")
        # Building the optimisation checks epochs, batch size and learning rate by the rules of
        # `Fit`.
        self.fit_after(Fit(1))

    def fit_after(self, fit: Fit) -> Fit:
        """Return the optimisation of this pretraining, where `fit` is that of the training."""
        return dataclasses.replace(
            fit,
            epochs=self.epochs,
            steps=0,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            teachers=0,
            mixing=0.0,
        )


@dataclass(frozen=True)
class Finetuned:
    """The record of one round of fine-tuning.

    Its file was measured with the instrument that the model is for, so the recipe's sensor is not
    applied to it.

    Raises:
        ValueError: the quantity is unknown.
    """

    base: str
    """The model that was fine-tuned: its name and the beginning of its sha256."""

    data: str
    """The path of the file of soils."""

    quantity: str
    """What the file holds: reflectance, percent or absorbance."""

    layers: str
    """The layers that were changed, one of `LAYERS`."""

    epochs: int
    """Passes over the soils."""

    learning_rate: float
    """The highest learning rate of the one-cycle schedule."""

    folds: int
    """The number of cross-validation folds that the result was judged by."""

    seed: int
    """The seed of folds, batches and augmentation."""

    kept: str = field(default="", metadata={OMITTED_IF_EMPTY: True})
    """What the model is; empty for a tuned network alone, as it was before there were members."""

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise ValueError(f"quantity {self.quantity!r} is not one of {', '.join(QUANTITIES)}")

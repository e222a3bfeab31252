"""The training recipe: all that decides how a model is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.grid import Grid, WavelengthError, check_wavelengths
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing
from ccnvr.edge.network.shape import NetworkConfig, NetworkShape
from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES
from ccnvr.edge.typed import FILE_KEY, OMITTED_IF_EMPTY
from ccnvr.train.libraries.catalogue import library_and_part
from ccnvr.train.libraries.properties import Property, described
from ccnvr.train.libraries.sensor import Sensor
from ccnvr.train.libraries.standards import Epo
from ccnvr.train.recipe.rounds import Finetuned, Fit, Pretraining
from ccnvr.train.recipe.settings import Kernel, MemberSettings, PlaceSettings

MOST_PROCESSES = 10


@dataclass(frozen=True)
class TrainingRecipe:
    """The training recipe; its fields are the keys of the TOML file.

    Raises:
        ValueError: a value is not possible, or two of them do not fit together.
    """

    name: str
    """The name of the model."""

    libraries: tuple[str, ...]
    """What is trained on: `NAME`, `NAME:PART`, or files of the user's own.

    After a fine-tuning these are the soils that an export is calibrated and proved on: those of
    the rounds in `finetuned`, and the first model's as far as they are on this computer.
    """

    tests: tuple[str, ...]
    """What is only scored."""

    folds: int
    """The number of cross-validation folds that `libraries` are divided into, 2 to 20."""

    grid: Grid
    """The wavelengths that all spectra are resampled to."""

    channels: tuple[Channel, ...]
    """The preprocessing of each input channel of the network."""

    network: NetworkShape
    """The layers of the network that is kept."""

    fit: Fit
    """The optimisation."""

    transforms: dict[str, str] = field(default_factory=dict)
    """The properties to predict, in order, each with the transform of its values: `TRANSFORMS`.

    Those of `definitions` are among them, whether the file names them here or not.
    """

    file_quantity: str = "reflectance"
    """What files of the user's own hold: reflectance (0 to 1), percent or absorbance."""

    sensor: Sensor | None = field(default=None, metadata={FILE_KEY: "instrument"})
    """The sensor that the libraries' spectra are resampled to, before the grid."""

    epo: Epo | None = None
    """The projection that removes a nuisance such as moisture, in training and in use."""

    teacher_networks: tuple[NetworkShape, ...] = ()
    """The layers of the `fit.teachers` in turn; without any they have those of `network`."""

    gaussian_processes: tuple[Kernel, ...] = ()
    """The kernels of Gaussian processes that teach too; each counts as much as a network."""

    pretraining: Pretraining | None = None
    """The soils of other libraries that the network learns first."""

    members: MemberSettings | None = field(default=None, metadata={OMITTED_IF_EMPTY: True})
    """The members that are averaged with the network, or stand in its place."""

    places: PlaceSettings | None = field(default=None, metadata={OMITTED_IF_EMPTY: True})
    """The cross-validation by places, which gives a second interval; none without it."""

    definitions: dict[str, Property] = field(
        default_factory=dict, metadata={FILE_KEY: "properties", OMITTED_IF_EMPTY: True}
    )
    """What the properties to predict are, where more than a transform is to be said of them."""

    finetuned: tuple[Finetuned, ...] = ()
    """The rounds of `ccnvr finetune` that came after the training."""

    def __post_init__(self) -> None:
        further = {
            name: stated.transform
            for name, stated in self.definitions.items()
            if name not in self.transforms
        }
        # The only field that is changed: a table [properties.OC] alone also says what to predict.
        object.__setattr__(self, "transforms", {**self.transforms, **further})
        self.validate()

    def validate(self) -> None:
        """Check that every value is possible and that they fit together.

        Raises:
            ValueError: names the key, its value and what is allowed.
        """
        self._check_values()
        # Building each configuration refuses channels, layers and grids that do not fit together.
        Preprocessing(self.grid, self.channels)
        self.network_config()
        for number in range(self.fit.teachers):
            self.teacher_config(number)
        if self.sensor is not None:
            _check_covered(self.grid, self.sensor)
        changes = self.fit.augmentation
        if self.grid.wavelengths_nm and (changes.shift_nm or changes.broadening_nm):
            raise ValueError(
                "augmentation has shift_nm or broadening_nm, which need neighbouring bands, and "
                "the grid has separate ones (wavelengths_nm); take them out"
            )
        self._check_libraries()
        if self.members is not None:
            self.members.check_ranges(self.grid.wavelengths())
        if self.pretraining is not None:
            self._check_pretraining(self.pretraining)

    def _check_values(self) -> None:
        if self.file_quantity not in QUANTITIES:
            raise ValueError(
                f"file_quantity {self.file_quantity!r} is not one of {', '.join(QUANTITIES)}"
            )
        if not 2 <= self.folds <= 20:
            raise ValueError(f"folds = {self.folds} must be from 2 to 20")
        if not self.transforms:
            raise ValueError("transforms is empty; name at least one property to predict")
        for name, transform in self.transforms.items():
            described(name, self.definitions, transform)
        if len(self.gaussian_processes) > MOST_PROCESSES:
            raise ValueError(
                f"{len(self.gaussian_processes)} gaussian_processes are more than {MOST_PROCESSES}"
            )

    def _check_libraries(self) -> None:
        if not self.libraries:
            raise ValueError("libraries is empty; name at least one")
        # A fine-tuned model is scored on the user's soils, not on those of its recipe.
        if not self.finetuned and (both := self.learnt_before((*self.libraries, *self.tests))):
            raise ValueError(
                f"{both} is scored, and soils of that library are learnt before, in [pretraining]; "
                "take one out"
            )

    def _check_pretraining(self, pretraining: Pretraining) -> None:
        if twice := self.transforms.keys() & pretraining.beside:
            raise ValueError(
                f"{min(twice)} stands in transforms and in pretraining.beside; name it once"
            )
        self.pretraining_recipe().validate()

    @property
    def properties(self) -> tuple[str, ...]:
        """The properties to predict, in order."""
        return tuple(self.transforms)

    def property_of(self, name: str) -> Property:
        """Return the unit, the transform, the range and the method of a property to predict."""
        return described(name, self.definitions, self.transforms[name])

    def only(self, properties: Iterable[str]) -> TrainingRecipe:
        """Return the recipe for some of its properties alone."""
        names = tuple(properties)
        return dataclasses.replace(
            self,
            transforms={name: self.transforms[name] for name in names},
            definitions={
                name: stated for name, stated in self.definitions.items() if name in names
            },
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing that the edge compiles."""
        return Preprocessing(self.grid, self.channels)

    @property
    def all_epochs(self) -> int:
        """The number of epochs of the network, its pretraining and its teachers."""
        before = self.pretraining.epochs if self.pretraining else 0
        return before + self.fit.epochs * (1 + self.fit.teachers)

    def for_soils(self, count: int) -> TrainingRecipe:
        """Return the recipe with the length of its fit in epochs of so many soils."""
        return dataclasses.replace(self, fit=self.fit.for_soils(count)) if self.fit.steps else self

    def pretraining_recipe(self) -> TrainingRecipe:
        """Return the recipe of the pretraining; this recipe's properties come first in it.

        Raises:
            ValueError: there is no pretraining.
        """
        if self.pretraining is None:
            raise ValueError(f"recipe {self.name} has no [pretraining]")
        return dataclasses.replace(
            self,
            libraries=self.pretraining.libraries,
            tests=(),
            transforms={**self.transforms, **self.pretraining.beside},
            fit=self.pretraining.fit_after(self.fit),
            pretraining=None,
        )

    def pretrained_without(self, libraries: Iterable[str]) -> TrainingRecipe:
        """Return the recipe without these libraries, whatever their parts, in `pretraining`.

        If none is left there, the recipe has no pretraining.
        """
        if self.pretraining is None:
            return self
        out = {library_and_part(name)[0] for name in libraries}
        left = tuple(
            name for name in self.pretraining.libraries if library_and_part(name)[0] not in out
        )
        pretraining = dataclasses.replace(self.pretraining, libraries=left) if left else None
        return dataclasses.replace(self, pretraining=pretraining)

    def learnt_before(self, libraries: Iterable[str]) -> str:
        """Return the first of these libraries that `pretraining` has soils of, or "".

        Parts do not count: two parts of a library may hold scans of the same soils.
        """
        if self.pretraining is None:
            return ""
        before = {library_and_part(name)[0] for name in self.pretraining.libraries}
        return next((name for name in libraries if library_and_part(name)[0] in before), "")

    def correction(self) -> Correction | None:
        """Return the projection of `epo`, fitted to its files, or None without `epo`.

        Raises:
            UsageError: the files cannot be used.
        """
        return self.epo.fit(self.grid, self.file_quantity) if self.epo else None

    def network_config(self) -> NetworkConfig:
        """Return the configuration of the network for this recipe's inputs and targets."""
        return self._config(self.network)

    def teacher_config(self, number: int) -> NetworkConfig:
        """Return the configuration of one of its teachers, counted from 0."""
        # The list is repeated, so that two kinds of layers and six teachers give three of each.
        kinds = self.teacher_networks or (self.network,)
        return self._config(kinds[number % len(kinds)])

    def _config(self, shape: NetworkShape) -> NetworkConfig:
        return NetworkConfig(
            in_channels=len(self.channels),
            bands=self.grid.bands,
            outputs=len(self.transforms),
            **vars(shape),
        )


def _check_covered(grid: Grid, sensor: Sensor) -> None:
    try:
        check_wavelengths(np.array(sensor.centres_nm), grid)
    except WavelengthError as error:
        raise ValueError(f"[instrument] cannot see [grid]: {error}") from error

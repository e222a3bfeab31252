"""A training recipe: all choices that make a model, in one TOML file."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.grid import Grid, WavelengthError, check_wavelengths
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing
from ccnvr.edge.chemometrics.targets import TRANSFORMS
from ccnvr.edge.network.shape import NetworkConfig, NetworkShape
from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.catalogue import library_and_part
from ccnvr.train.libraries.properties import PROPERTIES
from ccnvr.train.libraries.sensor import Sensor
from ccnvr.train.libraries.standards import Epo
from ccnvr.train.recipe.rounds import Finetuned, Fit, Pretraining
from ccnvr.train.recipe.settings import Kernel

MOST_PROCESSES = 10

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingRecipe:
    """`libraries` are trained on, by cross-validation in `folds` folds and then all together;
    `tests` are only scored.

    `file_quantity` is what CSV files among them hold: reflectance (0 to 1), percent or absorbance.
    `instrument` sees the libraries' spectra before the model does; `epo` takes a nuisance such as
    moisture out of them, in training and ever after. The `fit.teachers` are of the kinds
    `teacher_networks` in turn, or are networks like the one that they teach; `gaussian_processes`
    of these kernels teach beside them, each as much as a network. `pretraining` says what other
    soils the network has learnt before.

    With rounds `finetuned`, which `ccnvr finetune` writes, `libraries` are the soils that an export
    is calibrated and proved on: those of the rounds, and what was at hand of those that the first
    model was trained on.
    """

    name: str
    libraries: tuple[str, ...]
    tests: tuple[str, ...]
    folds: int
    grid: Grid
    channels: tuple[Channel, ...]
    network: NetworkShape
    fit: Fit
    transforms: dict[str, str]
    file_quantity: str = "reflectance"
    instrument: Sensor | None = None
    epo: Epo | None = None
    teacher_networks: tuple[NetworkShape, ...] = ()
    gaussian_processes: tuple[Kernel, ...] = ()
    pretraining: Pretraining | None = None
    finetuned: tuple[Finetuned, ...] = ()

    def __post_init__(self) -> None:
        if self.file_quantity not in QUANTITIES:
            raise ValueError(
                f"file_quantity {self.file_quantity!r} is not one of {', '.join(QUANTITIES)}"
            )
        if not 2 <= self.folds <= 20:
            raise ValueError(f"folds = {self.folds} is not from 2 to 20")
        if not self.transforms:
            raise ValueError("transforms is empty; name at least one property to predict")
        if unknown := [name for name in self.transforms if name not in PROPERTIES]:
            raise ValueError(f"target {unknown[0]!r} is not one of {', '.join(PROPERTIES)}")
        if unknown := [value for value in self.transforms.values() if value not in TRANSFORMS]:
            raise ValueError(f"transform {unknown[0]!r} is not one of {', '.join(TRANSFORMS)}")
        # Both are built once, so that what does not fit together is refused here.
        self.preprocessing  # noqa: B018
        self.network_config()
        if self.instrument is not None:
            _check_covered(self.grid, self.instrument)
        for number in range(self.fit.teachers):
            self.teacher_config(number)
        if len(self.gaussian_processes) > MOST_PROCESSES:
            raise ValueError(
                f"{len(self.gaussian_processes)} gaussian_processes are more than {MOST_PROCESSES}"
            )
        self._check_libraries()
        self.first_round  # noqa: B018

    def _check_libraries(self) -> None:
        if not self.libraries:
            raise ValueError("libraries is empty; name at least one")
        # After a fine-tuning nothing of these is scored.
        if not self.finetuned and (both := self.learnt_before((*self.libraries, *self.tests))):
            raise ValueError(
                f"{both} is scored, and soils of that library are learnt before, in "
                "[pretraining]; take one out"
            )

    @property
    def properties(self) -> tuple[str, ...]:
        """What is predicted, in order."""
        return tuple(self.transforms)

    @property
    def preprocessing(self) -> Preprocessing:
        """As the edge compiles it."""
        return Preprocessing(self.grid, self.channels)

    @property
    def all_epochs(self) -> int:
        """Of the network and its teachers."""
        before = self.pretraining.epochs if self.pretraining else 0
        return before + self.fit.epochs * (1 + self.fit.teachers)

    @property
    def first_round(self) -> TrainingRecipe | None:
        """The recipe of the pretraining, this one's properties first; None without."""
        if self.pretraining is None:
            return None
        if twice := self.transforms.keys() & self.pretraining.beside:
            raise ValueError(
                f"{min(twice)} stands in transforms and in pretraining.beside; name it once"
            )
        return dataclasses.replace(
            self,
            libraries=self.pretraining.libraries,
            tests=(),
            transforms={**self.transforms, **self.pretraining.beside},
            fit=self.pretraining.of(self.fit),
            pretraining=None,
        )

    def pretrained_without(self, libraries: Iterable[str]) -> TrainingRecipe:
        """The recipe with these libraries, whatever their parts, left out of `pretraining`; without
        that if none is left.
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
        """The first of some libraries of which `pretraining` has soils, whatever their parts; empty
        without any.
        """
        before = (
            {library_and_part(name)[0] for name in self.pretraining.libraries}
            if self.pretraining
            else set()
        )
        return next((name for name in libraries if library_and_part(name)[0] in before), "")

    def correction(self) -> Correction | None:
        """The projection of `epo`, fitted to its files; None without it.

        Raises:
            UsageError: the files cannot be used.
        """
        return self.epo.fit(self.grid, self.file_quantity) if self.epo else None

    def network_config(self) -> NetworkConfig:
        """The network for these inputs and targets."""
        return self._config(self.network)

    def teacher_config(self, number: int) -> NetworkConfig:
        """That of one of its teachers."""
        kinds = self.teacher_networks or (self.network,)
        return self._config(kinds[number % len(kinds)])

    def _config(self, shape: NetworkShape) -> NetworkConfig:
        return NetworkConfig(
            in_channels=len(self.channels),
            bands=self.grid.bands,
            outputs=len(self.transforms),
            **vars(shape),
        )


def _check_covered(grid: Grid, instrument: Sensor) -> None:
    try:
        check_wavelengths(np.array(instrument.centres_nm), grid)
    except WavelengthError as error:
        raise ValueError(f"[instrument] cannot see [grid]: {error}") from error


def write(recipe: TrainingRecipe) -> str:
    """A recipe as TOML, for `parse` to read the same."""
    plain, tables = [], []
    for name, value in dataclasses.asdict(recipe).items():
        if isinstance(value, dict):
            tables += [f"\n[{name}]", *_lines(value)]
        elif isinstance(value, tuple) and value and isinstance(value[0], dict):
            for row in value:
                tables += [f"\n[[{name}]]", *_lines(row)]
        elif value is not None:
            plain += _lines({name: value})
    return "\n".join([*plain, *tables, ""])


def _lines(table: dict[str, Any]) -> list[str]:
    return [f"{name} = {_toml(value)}" for name, value in table.items()]


def _toml(value: Any) -> str:
    """A value on one line; the keys of a recipe's tables are all bare."""
    if isinstance(value, dict):
        return "{ " + ", ".join(_lines(value)) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    # JSON's escapes are TOML's too, but TOML wants DEL escaped, and no surrogates.
    return (
        json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        if isinstance(value, str)
        else repr(value)
    )


def load(path: Path) -> TrainingRecipe:
    """Read a recipe.

    Raises:
        UsageError: it is missing, is no TOML, or does not fit.
    """
    return parse(read(path), path)


def read(path: Path, instrument: Path | None = None) -> str:
    """The text of a recipe, with the file of an instrument as its last table, `[instrument]`.

    Raises:
        UsageError: a file is missing, or is no text.
    """
    recipe = _text(path, "recipe")
    if instrument is None:
        return recipe
    sensor = _text(instrument, "instrument")
    # By itself first, so that what is wrong with it is said of its file.
    _parsed(Sensor, sensor, f"instrument {instrument}")
    return f"{recipe}\n[instrument]\n{sensor}"


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{what} {path} cannot be read ({error.strerror}); give an existing TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} {path}: {error}; correct it and start again") from error


def parse(text: str, path: Path) -> TrainingRecipe:
    """The recipe that stands in `text`, from the file at `path`.

    Raises:
        UsageError: it is no TOML, or does not fit.
    """
    return _parsed(TrainingRecipe, text, f"recipe {path}")


def _parsed(cls: type[T], text: str, source: str) -> T:
    try:
        return build(cls, tomllib.loads(text))
    except (ValueError, RecursionError, UsageError) as error:
        raise UsageError(f"{source}: {error}; correct it and start again") from error

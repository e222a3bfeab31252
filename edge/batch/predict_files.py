"""Files and folders of spectra -> rows of predictions, with what was left out and why."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ccnvr.edge.chemometrics.grid import naming_source
from ccnvr.edge.chemometrics.preprocess import SpectrumError, absorbance
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.inference.models import Model
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.quality.verdict import Tolerances
from ccnvr.edge.spectrum_files.messages import NoSpectra, clean_messages, cleaned, shown
from ccnvr.edge.spectrum_files.read import files_in, may_hold_spectra, nothing_in, read_file
from ccnvr.edge.spectrum_files.spectra_table import SpectraTable
from ccnvr.edge.spectrum_files.tables.layout import AS_IT_SAYS, TableOptions
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError

Row = tuple[str, Prediction]
"""Sample id and prediction."""


@dataclass(frozen=True)
class Predicted:
    """Spectra of one block of a file with their predictions; `absorbance` is `(n, bands)` at
    `wavelengths_nm`, the bands that the model uses.
    """

    path: Path
    model: ProvedModel
    sample_ids: list[str]
    wavelengths_nm: Array
    absorbance: Array
    predictions: list[Prediction]


Watcher = Callable[[Predicted], None]


@dataclass
class Outcome:
    """The rows predicted from files; `passed_over` hold no spectra, `failures` are the messages of
    folders' files that could not be used, and `notes` the choices of readers by their text.
    `targets` are the properties, by name, of all models that predicted.
    """

    rows: list[Row] = field(default_factory=list)
    targets: dict[str, Target] = field(default_factory=dict)
    files: int = 0
    passed_over: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: dict[str, list[Path]] = field(default_factory=dict)

    def note(self, table: SpectraTable) -> None:
        """Keep the notes of a file's reader, each file once."""
        for text in table.reading.notes:
            paths = self.notes.setdefault(text, [])
            if not paths or paths[-1] != table.path:
                paths.append(table.path)


class FilePredictions:
    """Predicts files by one model.

    Args:
        model: the model; of a family, the best one for each file's bands.
        quantity: what files hold that do not say, one of `QUANTITIES`; None means reflectance.
        options: what the user says of tables.
        watch: is given each block with its predictions.
        tolerances: what each soil is judged by; none if empty.
    """

    def __init__(
        self,
        model: Model,
        quantity: str | None = None,
        options: TableOptions = AS_IT_SAYS,
        watch: Watcher | None = None,
        tolerances: Tolerances = MappingProxyType({}),
    ) -> None:
        self._model = model
        self._quantity = quantity
        self._options = options
        self._watch = watch
        self._tolerances = tolerances
        self._bound: tuple[Array, ProvedModel, Predictor] | None = None

    def predict(self, paths: list[Path], refuse: Callable[[Path], None]) -> Outcome:
        """Predict all spectra of files and of folders' files.

        A file of a folder that cannot be used is listed in the outcome and does not stop the
        others. `refuse` is called with each file before it is read, and may raise.

        Raises:
            UsageError: a file that was named itself cannot be used; names it and the sample.
            WavelengthError: its wavelengths do not cover the model's grid; names the file.
        """
        outcome = Outcome()
        for path in paths:
            if os.path.isdir(path):
                self._folder(path, refuse, outcome)
                continue
            refuse(path)
            with clean_messages():
                self._file(path, outcome)
        return outcome

    def _folder(self, folder: Path, refuse: Callable[[Path], None], outcome: Outcome) -> None:
        before = outcome.files + len(outcome.failures)
        for path in files_in(folder):
            if not may_hold_spectra(path):
                outcome.passed_over.append(path)
                continue
            refuse(path)
            try:
                self._file(path, outcome)
            except NoSpectra:
                outcome.passed_over.append(path)
            except CcnvrError as error:
                outcome.failures.append(cleaned(str(error)))
        if outcome.files + len(outcome.failures) == before:
            raise nothing_in(folder)

    def _file(self, path: Path, outcome: Outcome) -> None:
        rows: list[Row] = []
        tables = []
        for table in _read_ahead(read_file(path, self._options)):
            rows += self.rows(table)
            tables = [table]
        # Only now: of a file that fails half way, no row is kept.
        for table in tables:
            outcome.note(table)
            model, _ = self._bind(table)
            for target in model.bundle.manifest.targets:
                outcome.targets.setdefault(target.name, target)
        outcome.rows += rows
        outcome.files += 1

    def rows(self, table: SpectraTable) -> Iterator[Row]:
        """Give the rows of a block of spectra.

        Raises:
            UsageError: a spectrum cannot be used; names its file and its sample.
            WavelengthError: the wavelengths do not cover the model's grid; names the file.
        """
        model, predictor = self._bind(table)
        reflectance = fractions(table, self._quantity, predictor.bands)
        spectra = absorbance(reflectance)
        try:
            # Together first: one by one is several times slower and only needed to name the
            # culprit.
            predictions = predictor.batch(spectra)
        except SpectrumError:
            predictions = _one_by_one(predictor, table, spectra)
        predictions = [prediction.judged(self._tolerances) for prediction in predictions]
        if self._watch is not None:
            used = table.wavelengths_nm[predictor.bands]
            self._watch(Predicted(table.path, model, table.sample_ids, used, spectra, predictions))
        yield from zip(table.sample_ids, predictions, strict=True)

    def _bind(self, table: SpectraTable) -> tuple[ProvedModel, Predictor]:
        """Return model and predictor for a table's bands, the last ones if these are the same."""
        # Binding compiles the preprocessing, which takes longer than a prediction; files of one
        # instrument share it.
        nm = table.wavelengths_nm
        if self._bound is None or not np.array_equal(self._bound[0], nm):
            with naming_source(table.path):
                model = self._model.for_wavelengths(nm)
                self._bound = nm, model, model.bind(nm)
        return self._bound[1:]


def _read_ahead(tables: Iterator[SpectraTable]) -> Iterator[SpectraTable]:
    """Give the same tables, each read while the one before is predicted.

    NumPy and the engines release Python's lock, so that two processors share the work.
    """
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(next, tables, None)
        while (table := waiting.result()) is not None:
            waiting = reader.submit(next, tables, None)
            yield table


def predict_blocks(model: Model, blocks: Iterable[SpectraTable], quantity: str | None) -> list[Row]:
    """Return the rows of all blocks; see `FilePredictions.rows`."""
    predictions = FilePredictions(model, quantity)
    return [row for table in blocks for row in predictions.rows(table)]


def fractions(table: SpectraTable, quantity: str | None, bands: slice | Integers) -> Array:
    """Return a table's reflectance by what it says it holds, or else by `quantity`.

    Raises:
        UsageError: the two disagree, or a spectrum cannot be used.
    """
    held = table.agreed_quantity(quantity, f"--quantity {quantity}")
    return table.reflectance(held, bands)


def _one_by_one(predictor: Predictor, table: SpectraTable, spectra: Array) -> list[Prediction]:
    """Predict each spectrum alone, to name the one that cannot be used."""
    predictions = []
    for number, sample_id, spectrum in zip(table.rows, table.sample_ids, spectra, strict=True):
        try:
            predictions.append(predictor(spectrum))
        except SpectrumError as error:
            raise UsageError(
                f"{table.path} {table.unit} {number}: sample {shown(sample_id)}: {error}"
            ) from error
    return predictions

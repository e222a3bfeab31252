"""A training run: cross-validation, then one network on all training soils, in a folder that can be resumed.

Folder: `recipe.toml`, `inputs.sha256`, `correction.npz` if the recipe has [epo], `fold-K/checkpoint.pt`,
`final/checkpoint.pt`, `domain.f32`, and, last of all, `report.json`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ccnvr.edge import correction as corrections
from ccnvr.edge.correction import Correction
from ccnvr.edge.domain import PART, Domain, DomainShape
from ccnvr.edge.files import make_folder, remove_leftovers, write_atomically
from ccnvr.edge.metrics import AccuracyTable, accuracy
from ccnvr.edge.structure import build
from ccnvr.edge.targets import Target
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train import domain as domains
from ccnvr.train import fit as fitting
from ccnvr.train import intervals, libraries
from ccnvr.train import recipe as recipes
from ccnvr.train.fit import Calibration
from ccnvr.train.folds import check_folds, fold_of, soil_of, twins_of
from ccnvr.train.libraries import Pool
from ccnvr.train.network import parameters
from ccnvr.train.recipe import TrainingRecipe
from ccnvr.train.team import ALONE, Team
from ccnvr.train.training import read_network

Array = NDArray[np.float64]

REPORT = "report.json"
RECIPE = "recipe.toml"
INPUTS = "inputs.sha256"
CHECKPOINT = Path("final") / "checkpoint.pt"


@dataclass(frozen=True)
class Report:
    """What a finished run found; `accuracy` maps a title to a table; `finished` is a date."""

    finished: str
    targets: tuple[Target, ...]
    accuracy: dict[str, AccuracyTable]
    soils: dict[str, Any]
    training: dict[str, Any]
    domain: DomainShape | None = None


def train(recipe_path: Path, folder: Path, instrument_path: Path | None = None, team: Team = ALONE) -> Report:
    """Carry out a recipe in `folder`, or go on where an earlier try ended; `instrument_path` stands for its [instrument].

    Raises:
        UsageError: the folder holds a run of another recipe or other data, a soil is both trained on and tested, or a fold
            leaves too little to train on.
    """
    text = recipes.read(recipe_path, instrument_path)
    recipe = recipes.parse(text, recipe_path)
    if recipe.finetuned:
        raise UsageError(f"recipe {recipe_path} has [[finetuned]], which ccnvr finetune writes into its runs; take it out")
    for name in (*recipe.libraries, *recipe.tests):
        libraries.check(name)
    pool = load_pool(recipe.libraries, recipe)
    held_out = load_pool(recipe.tests, recipe)
    soil = soil_of(pool)
    folds = fold_of(pool, recipe.folds, recipe.fit.seed, soil)
    # What would end the work is refused before the folder is made.
    _check_held_out(pool, held_out)
    check_folds(recipe, pool.targets, soil, folds)
    correction = recipe.correction()
    if team.first:
        if twins := twins_of(pool, soil):
            print(f"warning: {twins}", file=sys.stderr)
        claim(folder, text.encode(), pool, correction)
    team.wait()
    # In a log file, a line a minute.
    pause = 0.1 if sys.stderr.isatty() else 60.0
    epochs = recipe.folds * recipe.fit.epochs + recipe.fit.all_epochs
    with tqdm(total=epochs, unit="epoch", desc="folds", smoothing=0.02, mininterval=pause, disable=not team.first) as bar:
        fits = _Fits(pool, correction, folder, bar, team)
        out_of_fold = _cross_validate(recipe, fits, folds)
        bar.set_description("all soils")
        calibration = fits.fit(recipe, np.arange(len(pool.spectra)), "final", 0)
    accuracy = {
        f"{recipe.folds}-fold cross-validation": accuracy_by_library(recipe, pool, out_of_fold),
        "soils held out from training": _test(recipe, calibration, held_out),
    }
    report, domain = conclude(recipe, calibration, pool, out_of_fold, folds, accuracy)
    report.training["processes"] = team.size
    if team.first:
        keep_report(folder, report, domain)
    return report


def conclude(
    recipe: TrainingRecipe,
    calibration: Calibration,
    pool: Pool,
    out_of_fold: Array,
    folds: NDArray[np.int64],
    accuracy: dict[str, AccuracyTable],
) -> tuple[Report, Domain | None]:
    """The report of a calibration on the soils of a pool, with the domain and the intervals that these soils ask for.

    `out_of_fold` `(n, targets)` are their predictions by networks that were trained without their `folds` `(n,)`.
    """
    fitted = domains.fit(recipe.grid, pool.spectra, pool.origin, folds, calibration.correction)
    report = Report(
        finished=datetime.now(UTC).date().isoformat(),
        targets=intervals.with_intervals(calibration.targets, pool.targets, out_of_fold, folds, fitted),
        domain=None if fitted is None else fitted.domain.shape,
        accuracy=accuracy,
        soils=_soils(recipe, pool),
        training={
            "recipe": dataclasses.asdict(recipe),
            "parameters": parameters(calibration.network),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
        },
    )
    return report, None if fitted is None else fitted.domain


def keep_report(folder: Path, report: Report, domain: Domain | None) -> None:
    """Finish a run: its report is the last of its files."""
    if domain is not None:
        with write_atomically(folder / PART) as stream:
            stream.write(domain.to_bytes())
    with write_atomically(folder / REPORT) as stream:
        stream.write(json.dumps(dataclasses.asdict(report), indent=1).encode())


def load_trained(folder: Path) -> tuple[TrainingRecipe, Calibration, Report]:
    """A finished run of `ccnvr train`, whose cross-validation a study can look at again.

    Raises:
        UsageError: the folder holds none, or one of `ccnvr finetune`.
    """
    recipe, calibration, report = load(folder)
    if recipe.finetuned:
        raise UsageError(
            f"{folder} was fine-tuned, so its intervals and its domain come from {recipe.finetuned[-1].data} alone, too few "
            "soils for this study; name a run of ccnvr train"
        )
    return recipe, calibration, report


def load(folder: Path) -> tuple[TrainingRecipe, Calibration, Report]:
    """A finished run.

    Raises:
        UsageError: the folder holds none.
    """
    try:
        report = build(Report, json.loads((folder / REPORT).read_text()))
        recipe = recipes.load(folder / RECIPE)
        network = read_network(folder / CHECKPOINT, recipe)
    except OSError:
        raise UsageError(f"{folder} holds no finished training run; run ccnvr train with --out {folder}") from None
    except ValueError as error:
        raise UsageError(f"the report of {folder} cannot be read ({error}); run ccnvr train with --out {folder}") from error
    return recipe, Calibration(network, report.targets, _kept_correction(folder, recipe)), report


def _kept_correction(folder: Path, recipe: TrainingRecipe) -> Correction | None:
    """The run's own: the files that it was fitted to may be gone. A model that was fine-tuned may have another's PDS."""
    path = folder / corrections.PART
    if recipe.epo is None and not path.exists():
        return None
    try:
        return corrections.unpack(path.read_bytes(), recipe.grid.bands)
    except Exception as error:  # zipfile and NumPy raise a dozen types on damaged content
        raise CcnvrError(f"{path} is damaged ({error}); run ccnvr train again") from error


def training_pool(folder: Path, recipe: TrainingRecipe, report: Report) -> Pool:
    """The soils of a finished run's libraries, once more.

    Raises:
        UsageError: they are no longer those that the run was trained on.
    """
    pool = load_pool(recipe.libraries, recipe)
    learnt = pool if not recipe.finetuned else with_values(load_pool((recipe.finetuned[-1].data,), recipe))
    now, then = _soils(recipe, learnt), report.soils
    # The sums of spectra are younger than the first runs.
    if any(now[name] != then.get(name, now[name]) for name in ("trained_on", "measured", "sample_ids_sha256", "data_sha256")):
        counts = f"{sum(then['trained_on'].values())} then, {len(learnt.sample_ids)} now"
        raise UsageError(
            f"the soils that {folder} was trained on have changed since ({counts}), in number, spectra or values; put the "
            "files back as they were, or train again with another --out"
        )
    return pool


def with_values(pool: Pool) -> Pool:
    """The soils that have a value, which are those that a fine-tuning learns from."""
    rows = np.flatnonzero(~np.all(np.isnan(pool.targets), axis=1))
    ids, origin = ([column[row] for row in rows] for column in (pool.sample_ids, pool.origin))
    return Pool(ids, origin, pool.spectra[rows], pool.targets[rows], pool.notes)


def load_pool(names: tuple[str, ...], recipe: TrainingRecipe) -> Pool:
    """The named libraries on the recipe's grid, with the recipe's properties; no names give no soils."""
    if not names:
        return Pool([], [], np.empty((0, recipe.grid.bands)), np.empty((0, len(recipe.properties))))
    own = {finetuned.data: finetuned.quantity for finetuned in recipe.finetuned}
    pool = libraries.join(
        libraries.load(name, recipe.grid, own[name])
        if name in own
        else libraries.load(name, recipe.grid, recipe.file_quantity, recipe.instrument)
        for name in names
    )
    columns = [libraries.PROPERTIES.index(name) for name in recipe.properties]
    return dataclasses.replace(pool, targets=pool.targets[:, columns])


def accuracy_by_library(recipe: TrainingRecipe, pool: Pool, predicted: Array) -> AccuracyTable:
    """Figures for each library and property that was measured in it."""
    origin = np.array(pool.origin)
    table: AccuracyTable = {}
    for library in dict.fromkeys(pool.origin):
        rows = origin == library
        figures = {
            name: accuracy(pool.targets[rows, column], predicted[rows, column]) for column, name in enumerate(recipe.properties)
        }
        table[library] = {name: figure.as_dict() for name, figure in figures.items() if figure.n}
    return table


def _check_held_out(pool: Pool, held_out: Pool) -> None:
    if both := set(pool.sample_ids) & set(held_out.sample_ids):
        raise UsageError(
            f"{len(both)} soils, {min(both)} among them, are both in libraries and in tests; "
            "test on soils that are not trained on"
        )


def claim(folder: Path, recipe: bytes, pool: Pool, correction: Correction | None) -> None:
    """Make the folder this recipe's and these soils' own: folds of different data must not be mixed."""
    digest = hashlib.sha256(recipe)
    digest.update("\n".join(pool.sample_ids).encode())
    digest.update(pool.spectra.tobytes() + pool.targets.tobytes())
    packed = corrections.pack(correction) if correction else b""
    digest.update(packed)
    kept, copied = folder / INPUTS, folder / RECIPE
    if not kept.exists() and copied.exists() and copied.read_bytes() != recipe:
        raise UsageError(f"{copied} is another recipe and would be lost; give another --out")
    if kept.exists() and kept.read_text() != digest.hexdigest():
        raise UsageError(f"{folder} holds a run of another recipe or of other data; give another --out, or delete it")
    make_folder(folder)
    with write_atomically(copied) as stream:
        stream.write(recipe)
    if packed:
        with write_atomically(folder / corrections.PART) as stream:
            stream.write(packed)
    with write_atomically(kept) as stream:
        stream.write(digest.hexdigest().encode())


@dataclass(frozen=True)
class _Fits:
    """What all fits of a run share: soils, correction, folder, progress and team."""

    pool: Pool
    correction: Correction | None
    folder: Path
    bar: tqdm[Any]
    team: Team

    def fit(self, recipe: TrainingRecipe, rows: NDArray[np.int64], part: str, offset: int) -> Calibration:
        """Train on some soils, from the checkpoint in the folder's `part` if there is one."""
        folder = self.folder / part
        folder.mkdir(exist_ok=True)
        if self.team.first:
            remove_leftovers(folder)
        done = 0

        def on_epoch(loss: float) -> None:
            nonlocal done
            done += 1
            self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            self.bar.update()

        calibration = fitting.fit(
            recipe,
            self.pool.spectra[rows],
            self.pool.targets[rows],
            recipe.fit.seed * 1000 + offset,
            folder / "checkpoint.pt",
            on_epoch,
            self.team,
            correction=self.correction,
        )
        self.bar.update(recipe.fit.all_epochs - done)
        return calibration


def _cross_validate(recipe: TrainingRecipe, fits: _Fits, folds: NDArray[np.int64]) -> Array:
    """`(n, targets)` predictions of each soil by the network that was trained without its fold.

    These networks are taught by no others, which would multiply the time; a taught one's errors are, if anything, smaller.
    """
    recipe = dataclasses.replace(recipe, fit=dataclasses.replace(recipe.fit, teachers=0))
    predicted = np.empty_like(fits.pool.targets)
    for number in range(recipe.folds):
        held_out = folds == number
        calibration = fits.fit(recipe, np.flatnonzero(~held_out), f"fold-{number}", number + 1)
        predicted[held_out] = fitting.predict(recipe, calibration, fits.pool.spectra[held_out])
    return predicted


def _test(recipe: TrainingRecipe, calibration: Calibration, held_out: Pool) -> AccuracyTable:
    if not held_out.sample_ids:
        return {}
    return accuracy_by_library(recipe, held_out, fitting.predict(recipe, calibration, held_out.spectra))


def _soils(recipe: TrainingRecipe, pool: Pool) -> dict[str, Any]:
    """Which soils were trained on, countable and checkable, and under which licences."""
    origin = np.array(pool.origin)
    # In half precision, so that what another computer's logarithms and sums round otherwise changes nothing.
    data = hashlib.sha256(pool.spectra.astype(np.float16).tobytes() + pool.targets.tobytes())
    names = dict.fromkeys(pool.origin)
    return {
        "trained_on": {library: int(np.sum(origin == library)) for library in names},
        "parts": list(recipe.libraries),
        "not_trained_on": list(recipe.tests),
        "sample_ids_sha256": hashlib.sha256("\n".join(pool.sample_ids).encode()).hexdigest(),
        "data_sha256": data.hexdigest(),
        "measured": {name: int(np.sum(~np.isnan(pool.targets[:, i]))) for i, name in enumerate(recipe.properties)},
        "sources": {name: libraries.source(name, pool.notes.get(name, "")) for name in names},
    }

"""Fine-tunes a trained model on a few soils of the user's own, and judges it on these soils by
cross-validation.

Comes in: a `Base` and a file that `own_files` reads. Goes out: the folder of a run, which `ccnvr
export` and `ccnvr quantize`
take as any other: `recipe.toml`, `inputs.sha256`, `correction.npz` if the base has one,
`final/checkpoint.pt`, `domain.f32`
and, last of all, `report.json`.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ccnvr.edge.atomic_files import check_absent, make_folder, write_atomically
from ccnvr.edge.chemometrics.metrics import AccuracyTable
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.fit import FINETUNING, Calibration
from ccnvr.train.calibration.folds import fold_of, grouped, soil_of
from ccnvr.train.calibration.recipe_soils import doubts, load_soils, shared
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.catalogue import LIBRARIES, library_and_part
from ccnvr.train.libraries.own_files import ENDINGS
from ccnvr.train.libraries.properties import PROPERTIES
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe import recipe as recipes
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Finetuned
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs import run as runs
from ccnvr.train.runs.base import Base, at_hand
from ccnvr.train.runs.folder import RunReport

FEWEST_SOILS = 10
"""In which a property must be measured: with fewer, no 90 % of their errors can be told."""

SOILS_PER_FOLD = 4
"""At least, so that a fold is more than single soils."""

_HEADER = (
    "# Written by ccnvr finetune: the recipe of the model that it started from, and what "
    "came after in [[finetuned]]."
)

PROVED_ON = 200
"""Real spectra: with fewer, no export is possible."""


@dataclass(frozen=True)
class FinetuningSettings:
    """`layers` is one of `fit.LAYERS`; there are never more `folds` than a fourth of the soils."""

    layers: str = "all"
    epochs: int = FINETUNING["epochs"]
    learning_rate: float = FINETUNING["learning_rate"]
    folds: int = 5
    seed: int = 1


@dataclass(frozen=True)
class FinetuningOutcome:
    """A finished fine-tuning: what it did to the accuracy on the user's soils.

    `seen_before` are the sample ids of those that the base was trained on, so that it looks better
    than it is; libraries `not_compared` are not at hand, or take minutes to read, so they may hold
    others. `substitutes` are libraries that an export is proved on because too few of the base's
    soils are at hand.
    """

    report: RunReport
    soils: Soils
    left_out: dict[str, str]
    folds: int
    as_it_is: AccuracyTable
    fine_tuned: AccuracyTable
    seen_before: tuple[str, ...]
    not_compared: tuple[str, ...]
    substitutes: tuple[str, ...]

    @property
    def count(self) -> int:
        """The number of soils, however often each was scanned."""
        return int(np.unique(soil_of(self.soils)).size)

    def no_better(self) -> list[str]:
        """Properties whose RMSE is not lower than that of the model as it is."""
        (before,), (after,) = self.as_it_is.values(), self.fine_tuned.values()
        return [
            name
            for name in after
            if not (after[name]["rmse"] or 0.0) < (before[name]["rmse"] or 0.0)
        ]

    def useless(self) -> list[str]:
        """Properties for which the fine-tuned model does worse than the mean of the soils."""
        (after,) = self.fine_tuned.values()
        return [name for name, merit in after.items() if (merit["r2"] or 0.0) < 0.0]


def finetune(
    base: Base, path: Path, quantity: str, folder: Path, settings: FinetuningSettings
) -> FinetuningOutcome:
    """Fine-tune a base on the soils of a file that holds `quantity`, and keep the result in
    `folder`.

    Raises:
        UsageError: the file cannot be used, holds too few soils, or the folder is there already.
        WavelengthError: the file does not cover the base's grid.
        CcnvrError: the folder cannot be written.
    """
    _check_free(folder)
    own, left_out = read_soils(base, path, quantity)
    for words in doubts(own):
        print(f"warning: {words}", file=sys.stderr)
    kept = at_hand(base.recipe.libraries)
    compared = tuple(name for name in kept if not _large(name))
    known = load_soils(compared, base.recipe)
    before = base.recipe.pretraining.libraries if base.recipe.pretraining else ()
    also = tuple(name for name in at_hand(before) if not _large(name))
    seen = shared(own, known, load_soils(also, base.recipe))
    few = kept == compared and len(known) + len(own) < PROVED_ON
    substitutes = libraries.open_sets(base.recipe.grid, base.recipe.instrument) if few else ()
    base = base.only(own.properties)
    settings = dataclasses.replace(
        settings, folds=min(settings.folds, np.unique(soil_of(own)).size // SOILS_PER_FOLD)
    )
    recipe = _recipe(base, path, quantity, (*kept, *substitutes), settings)
    # Before the minute's work, and not after it, one that cannot be made is refused.
    make_folder(folder)
    folds = fold_of(own, settings.folds, settings.seed)
    calibration, out_of_fold = _fit(base, own, folds, settings)
    as_it_is = runs.accuracy_by_library(
        recipe, own, fitting.predict(recipe, base.calibration, own.spectra)
    )
    fine_tuned = runs.accuracy_by_library(recipe, own, out_of_fold)
    accuracy = {
        f"{settings.folds}-fold cross-validation on the soils of the fine-tuning": fine_tuned,
        f"{base.recipe.name}, before the fine-tuning, on the same soils": as_it_is,
    }
    report, domain = runs.conclude(recipe, calibration, own, out_of_fold, folds, accuracy)
    report.soils.update({"parts": [str(path)], "seen_before": len(seen)})
    report.training["base"] = {"name": base.recipe.name, "sha256": base.digest, **base.history}
    run_folder.claim(
        folder, f"{_HEADER}\n{recipes.write(recipe)}".encode(), own, calibration.correction
    )
    _keep_checkpoint(folder, calibration)
    run_folder.keep_report(folder, report, domain)
    not_compared = tuple(
        name for name in (*base.recipe.libraries, *before) if name not in (*compared, *also)
    )
    return FinetuningOutcome(
        report, own, left_out, settings.folds, as_it_is, fine_tuned, seen, not_compared, substitutes
    )


def read_soils(base: Base, path: Path, quantity: str) -> tuple[Soils, dict[str, str]]:
    """The soils of a file that can teach the base something.

    Raises:
        UsageError: the file cannot be used, or no property that the base predicts was measured in
            `FEWEST_SOILS`.
        WavelengthError: the file does not cover the base's grid.
    """
    if path.suffix not in ENDINGS:
        raise UsageError(f"{path} is no {' or '.join(ENDINGS)} file; give your soils in one")
    # As the edge sees them, and not through the base's [instrument]: they were measured with it.
    pool = libraries.load_library(str(path), base.recipe.grid, quantity=quantity)
    soil, left_out = soil_of(pool), {}
    for name, values in zip(PROPERTIES, pool.values.T, strict=True):
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
    return grouped(run_folder.with_values(pool.of(properties))), left_out


def _fit(
    base: Base, pool: Soils, folds: Integers, settings: FinetuningSettings
) -> tuple[Calibration, Array]:
    """The calibration fine-tuned on all soils, and `(n, targets)` predictions by those tuned
    without each soil's fold.
    """
    chosen = {
        "epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "seed": settings.seed,
    }
    recipe = dataclasses.replace(
        base.recipe, fit=dataclasses.replace(base.recipe.fit, **{**FINETUNING, **chosen})
    )
    # In a log file, a line a minute.
    pause = 0.1 if sys.stderr.isatty() else 60.0
    with tqdm(
        total=(settings.folds + 1) * settings.epochs, unit="epoch", desc="folds", mininterval=pause
    ) as bar:

        def tuned(rows: NDArray[np.bool_], offset: int) -> Calibration:
            soils, seed = (pool.spectra[rows], pool.values[rows]), settings.seed * 1000 + offset
            advance = partial(_advance, bar)
            return fitting.finetune(
                recipe,
                base.calibration,
                *soils,
                seed,
                settings.layers,
                advance,
                soil_of(pool)[rows],
            )

        out_of_fold = np.empty_like(pool.values)
        for number in range(settings.folds):
            held_out = folds == number
            out_of_fold[held_out] = fitting.predict(
                recipe, tuned(~held_out, number + 1), pool.spectra[held_out]
            )
        bar.set_description("all soils")
        calibration = tuned(folds >= 0, 0)
    targets = tuple(
        _reaching(target, column)
        for target, column in zip(calibration.targets, pool.values.T, strict=True)
    )
    return dataclasses.replace(calibration, targets=targets), out_of_fold


def _advance(bar: tqdm[Any], loss: float) -> None:
    bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
    bar.update()


def _reaching(target: Target, values: Array) -> Target:
    """The range seen in training is that of the base's soils and of these."""
    lowest, highest = (
        min(target.lowest, float(np.nanmin(values))),
        max(target.highest, float(np.nanmax(values))),
    )
    return dataclasses.replace(target, lowest=lowest, highest=highest)


def _recipe(
    base: Base, path: Path, quantity: str, others: tuple[str, ...], settings: FinetuningSettings
) -> TrainingRecipe:
    """The base's, with this round at its end. The user's file comes first, so that no export is
    proved without it.
    """
    data = str(path)
    done = Finetuned(
        base=f"{base.recipe.name} {base.digest[:16]}",
        data=data,
        quantity=quantity,
        **dataclasses.asdict(settings),
    )
    return dataclasses.replace(
        base.recipe,
        name=f"{base.recipe.name}+{path.stem}",
        libraries=tuple(dict.fromkeys((data, *others))),
        tests=(),
        finetuned=(*base.recipe.finetuned, done),
    )


def _large(name: str) -> bool:
    source = LIBRARIES.get(library_and_part(name)[0])
    return source is not None and source.large


def _check_free(folder: Path) -> None:
    if not (folder.is_dir() and not any(folder.iterdir())):
        check_absent(folder, "--out")


def _keep_checkpoint(folder: Path, calibration: Calibration) -> None:
    (folder / run_folder.CHECKPOINT).parent.mkdir()
    with write_atomically(folder / run_folder.CHECKPOINT) as stream:
        torch.save({"network": calibration.network.state_dict()}, stream)

"""A training run's folder: whose it is, what it holds at the end, and the soils that it was made
of.

`recipe.toml`, `inputs.sha256`, `correction.npz` if the recipe has [epo], `fold-K/checkpoint.pt`,
`final/checkpoint.pt`, `domain.f32`, and, last of all, `report.json`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from ccnvr.edge.atomic_files import make_folder, write_atomically
from ccnvr.edge.chemometrics import correction as corrections
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import PART, Domain, DomainShape
from ccnvr.edge.chemometrics.metrics import AccuracyTable
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.epochs import read_network
from ccnvr.train.recipe import recipe as recipes
from ccnvr.train.recipe.recipe import TrainingRecipe

REPORT = "report.json"
RECIPE = "recipe.toml"
INPUTS = "inputs.sha256"
CHECKPOINT = Path("final") / "checkpoint.pt"

_SPECTRA_AT_ONCE = 512
_BESIDE = np.pi * 1e-5


@dataclass(frozen=True)
class RunReport:
    """What a finished run found; `accuracy` maps a title to a table; `finished` is a date."""

    finished: str
    targets: tuple[Target, ...]
    accuracy: dict[str, AccuracyTable]
    soils: dict[str, Any]
    training: dict[str, Any]
    domain: DomainShape | None = None


def keep_report(folder: Path, report: RunReport, domain: Domain | None) -> None:
    """Finish a run: its report is the last of its files."""
    if domain is not None:
        with write_atomically(folder / PART) as stream:
            stream.write(domain.to_bytes())
    with write_atomically(folder / REPORT) as stream:
        stream.write(json.dumps(dataclasses.asdict(report), indent=1).encode())


def load_trained(folder: Path) -> tuple[TrainingRecipe, Calibration, RunReport]:
    """A finished run of `ccnvr train`, whose cross-validation a study can look at again.

    Raises:
        UsageError: the folder holds none, or one of `ccnvr finetune`.
    """
    recipe, calibration, report = load(folder)
    if recipe.finetuned:
        raise UsageError(
            f"{folder} was fine-tuned, so its intervals and its domain come from "
            f"{recipe.finetuned[-1].data} alone, too few "
            "soils for this study; name a run of ccnvr train"
        )
    return recipe, calibration, report


def load(folder: Path) -> tuple[TrainingRecipe, Calibration, RunReport]:
    """A finished run.

    Raises:
        UsageError: the folder holds none.
    """
    try:
        report = build(RunReport, json.loads((folder / REPORT).read_text()))
        recipe = recipes.load(folder / RECIPE)
        network = read_network(folder / CHECKPOINT, recipe)
    except OSError:
        way_out = (
            "run the same ccnvr train again, which goes on"
            if (folder / INPUTS).exists()
            else "give that of one"
        )
        raise UsageError(f"{folder} holds no finished training run; {way_out}") from None
    except ValueError as error:
        raise UsageError(
            f"the report of {folder} cannot be read ({error}); run ccnvr train with --out {folder}"
        ) from error
    return recipe, Calibration(network, report.targets, _kept_correction(folder, recipe)), report


def _kept_correction(folder: Path, recipe: TrainingRecipe) -> Correction | None:
    """The run's own: the files that it was fitted to may be gone. A model that was fine-tuned may
    have another's PDS.
    """
    path = folder / corrections.PART
    if recipe.epo is None and not path.exists():
        return None
    try:
        return corrections.unpack(path.read_bytes(), recipe.grid.bands)
    except Exception as error:  # zipfile and NumPy raise a dozen types on damaged content
        raise CcnvrError(f"{path} is damaged ({error}); run ccnvr train again") from error


def export_command(folder: Path) -> str:
    """What makes a bundle of a finished run, for a shell."""
    return f"ccnvr export {quote(str(folder))} --out {quote(f'{folder.resolve().name}.ccnvr')}"


def training_soils(folder: Path, recipe: TrainingRecipe, report: RunReport) -> Soils:
    """The soils of a finished run's libraries, once more.

    Raises:
        UsageError: they are no longer those that the run was trained on.
    """
    pool = load_soils(recipe.libraries, recipe)
    learnt = (
        pool
        if not recipe.finetuned
        else with_values(load_soils((recipe.finetuned[-1].data,), recipe))
    )
    now, then = soils_of(recipe, learnt), report.soils
    # The sums of spectra are younger than the first runs.
    if any(
        now[name] != then.get(name, now[name])
        for name in ("trained_on", "measured", "sample_ids_sha256", "data_sha256")
    ):
        counts = f"{sum(then['trained_on'].values())} then, {len(learnt.sample_ids)} now"
        raise UsageError(
            f"the soils that {folder} was trained on have changed since ({counts}), in number, "
            "spectra or values; put the "
            "files back as they were, or train again with another --out"
        )
    return pool


def with_values(pool: Soils) -> Soils:
    """The soils that have a value, which are those that a fine-tuning learns from."""
    return pool.rows(~np.all(np.isnan(pool.values), axis=1))


def claim(
    folder: Path,
    recipe: bytes,
    pool: Soils,
    correction: Correction | None,
    before: Soils | None = None,
) -> None:
    """Make the folder this recipe's and these soils' own: folds of different data must not be
    mixed.
    """
    digest = hashlib.sha256(recipe)
    for soils in (pool, before):
        if soils is not None:
            digest.update("\n".join(soils.sample_ids).encode())
            digest.update(_data_digest(soils))
    packed = corrections.pack(correction) if correction else b""
    digest.update(packed)
    kept, copied = folder / INPUTS, folder / RECIPE
    if not kept.exists() and copied.exists() and copied.read_bytes() != recipe:
        raise UsageError(f"{copied} is another recipe and would be lost; give another --out")
    if kept.exists() and kept.read_text() != digest.hexdigest():
        raise UsageError(
            f"{folder} holds a run of another recipe or of other data; give another "
            "--out, or delete it"
        )
    make_folder(folder)
    with write_atomically(copied) as stream:
        stream.write(recipe)
    if packed:
        with write_atomically(folder / corrections.PART) as stream:
            stream.write(packed)
    with write_atomically(kept) as stream:
        stream.write(digest.hexdigest().encode())


def _data_digest(pool: Soils) -> bytes:
    """The sha256 of its values and spectra."""
    data = hashlib.sha256(pool.values.tobytes())
    for start in range(0, len(pool.spectra), _SPECTRA_AT_ONCE):
        block = pool.spectra[start : start + _SPECTRA_AT_ONCE]
        # In half precision, so that what another computer, or another number of threads, rounds
        # otherwise in logarithms and sums changes nothing; and beside the middles between its
        # numbers, on which files in single precision often lie.
        data.update((block + _BESIDE).astype(np.float16).tobytes())
    return data.digest()


def soils_of(recipe: TrainingRecipe, pool: Soils, before: Soils | None = None) -> dict[str, Any]:
    """Which soils were trained on, and which `before` these, countable and checkable, and under
    which licences.
    """
    notes = pool.notes if before is None else {**before.notes, **pool.notes}
    counts, first = Counter(pool.origin), Counter(before.origin if before else [])
    return {
        "trained_on": dict(counts),
        "parts": list(recipe.libraries),
        "not_trained_on": list(recipe.tests),
        "sample_ids_sha256": hashlib.sha256("\n".join(pool.sample_ids).encode()).hexdigest(),
        "data_sha256": _data_digest(pool).hex(),
        "measured": {
            name: int(np.sum(~np.isnan(pool.values[:, i])))
            for i, name in enumerate(recipe.properties)
        },
        "sources": {
            name: libraries.source(name, notes.get(name, "")) for name in {**counts, **first}
        },
        **({"learnt_before": dict(first)} if first else {}),
    }

"""The folder of a run: claimed by one recipe and its soils, and read when the run is finished.

It holds `recipe.toml`, `inputs.sha256`, `correction.npz` if the recipe has [epo],
`fold-K/checkpoint.pt`, `final/checkpoint.pt`, `domain.f32` and, written last, `report.json`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from shlex import quote

import numpy as np

from ccnvr.edge.atomic_files import make_folder, write_atomically
from ccnvr.edge.chemometrics import correction as corrections
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import PART, Domain
from ccnvr.edge.typed import build, to_data
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.epochs import read_network, write_network
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs.report import RunReport
from ccnvr.train.runs.run_data import data_digest, soils_of

REPORT = "report.json"
RECIPE = "recipe.toml"
INPUTS = "inputs.sha256"
CHECKPOINT = Path("final") / "checkpoint.pt"

_COMPARED = ("trained_on", "measured", "sample_ids_sha256", "data_sha256")


def claim(
    folder: Path,
    recipe: bytes,
    soils: Soils,
    correction: Correction | None,
    before: Soils | None = None,
) -> None:
    """Make a folder for this recipe and these soils, or check that an existing one is theirs.

    A run that goes on with other data would mix folds of different soils.

    Raises:
        UsageError: the folder belongs to another recipe or to other data.
    """
    digest = hashlib.sha256(recipe)
    for used in (soils, before):
        if used is not None:
            digest.update("\n".join(used.sample_ids).encode())
            digest.update(data_digest(used))
    packed = corrections.pack(correction) if correction else b""
    digest.update(packed)
    kept, copied = folder / INPUTS, folder / RECIPE
    # Without a digest the folder is nobody's run, but the recipe may be the user's own file.
    if not kept.exists() and copied.exists() and copied.read_bytes() != recipe:
        raise UsageError(f"{copied} is another recipe and would be lost; give another --out")
    if kept.exists() and kept.read_text() != digest.hexdigest():
        raise UsageError(
            f"{folder} holds a run of another recipe or of other data; give another --out, or "
            "delete it"
        )
    make_folder(folder)
    with write_atomically(copied) as stream:
        stream.write(recipe)
    if packed:
        with write_atomically(folder / corrections.PART) as stream:
            stream.write(packed)
    # Last: a folder with the digest holds all that the digest is of.
    with write_atomically(kept) as stream:
        stream.write(digest.hexdigest().encode())


def keep_network(folder: Path, network: CCNVR) -> None:
    """Write the network of a run that is not trained further, with any kernel members."""
    checkpoint = folder / CHECKPOINT
    checkpoint.parent.mkdir(exist_ok=True)
    write_network(checkpoint, network)


def keep_report(folder: Path, report: RunReport, domain: Domain | None) -> None:
    """Finish a run; its report is the last of its files to be written."""
    # Before the report, which says that all other files are complete.
    if domain is not None:
        with write_atomically(folder / PART) as stream:
            stream.write(domain.to_bytes())
    with write_atomically(folder / REPORT) as stream:
        stream.write(json.dumps(to_data(report), indent=1).encode())


def load(folder: Path) -> tuple[TrainingRecipe, Calibration, RunReport]:
    """Read a finished run.

    Raises:
        UsageError: the folder holds none.
        CcnvrError: one of its files is damaged.
    """
    try:
        report = build(RunReport, json.loads((folder / REPORT).read_text()))
        recipe = recipe_file.load(folder / RECIPE)
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
    correction = _kept_correction(folder, recipe)
    return recipe, Calibration(network, report.targets, correction), report


def load_trained(folder: Path) -> tuple[TrainingRecipe, Calibration, RunReport]:
    """Read a finished run of `ccnvr train`, whose cross-validation a study can repeat.

    Raises:
        UsageError: the folder holds none, or one of `ccnvr finetune`.
    """
    recipe, calibration, report = load(folder)
    if recipe.finetuned:
        raise UsageError(
            f"{folder} was fine-tuned, so its intervals and its domain come from "
            f"{recipe.finetuned[-1].data} alone, too few soils for this study; name a run of ccnvr "
            "train"
        )
    return recipe, calibration, report


def _kept_correction(folder: Path, recipe: TrainingRecipe) -> Correction | None:
    """Return the run's own correction, since the files that it was fitted to may be gone.

    A fine-tuned run without [epo] may have one too: the standardisation of its base.
    """
    path = folder / corrections.PART
    if recipe.epo is None and not path.exists():
        return None
    try:
        return corrections.unpack(path.read_bytes(), recipe.grid.bands)
    except Exception as error:  # zipfile and NumPy raise a dozen types on damaged content
        raise CcnvrError(f"{path} is damaged ({error}); run ccnvr train again") from error


def export_command(folder: Path) -> str:
    """Return the shell command that makes a bundle of a finished run."""
    return f"ccnvr export {quote(str(folder))} --out {quote(f'{folder.resolve().name}.ccnvr')}"


def training_soils(folder: Path, recipe: TrainingRecipe, report: RunReport) -> Soils:
    """Load the soils of a finished run's libraries again.

    Raises:
        UsageError: they have changed since the run was trained.
    """
    soils = load_soils(recipe.libraries, recipe)
    learnt = soils
    if recipe.finetuned:
        learnt = with_values(load_soils((recipe.finetuned[-1].data,), recipe))
    now, then = soils_of(recipe, learnt), report.soils
    # The first runs have no checksum of their spectra, hence the default.
    if any(now[name] != then.get(name, now[name]) for name in _COMPARED):
        counts = f"{sum(then['trained_on'].values())} then, {len(learnt)} now"
        raise UsageError(
            f"the soils that {folder} was trained on have changed since ({counts}), in number, "
            "spectra or values; put the files back as they were, or train again with another --out"
        )
    return soils


def with_values(soils: Soils) -> Soils:
    """Return the soils that have at least one value; a fine-tuning learns from these."""
    return soils.rows(~np.all(np.isnan(soils.values), axis=1))

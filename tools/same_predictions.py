"""Compare inputs and predictions of single spectra with those of an earlier state of the code.

    git worktree add ../earlier COMMIT
    cp tools/rescore.py tools/same_predictions.py ../earlier/tools
    cp edge/models/*.ccnvr ../earlier/edge/models
    (cd ../earlier; make .ns; PYTHONPATH=.ns python -m tools.same_predictions --keep earlier.npz)
    python -m tools.same_predictions --against ../earlier/earlier.npz --page

Both states of the code need the libraries' files, in the folder that CCNVR_DATA names. The spectra
are real soils: those held out from a model's training, without and with noise, all that it was
trained on, and the libraries in bands of 1 and 2 nm. Inputs are those that training reads, by the
recipes of train/recipes and of the bundles. `--page` writes the tables into docs/accuracy-check.md.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ccnvr.edge.atomic_files import check_writable
from ccnvr.edge.chemometrics.grid import Grid, WavelengthError
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries.load import join, load_library
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs.base import read_base
from tools.exit_code import explained
from tools.rescore import BUNDLES, PAGE, ROOT, as_numbers, largest, moved, written

RECIPES = ("gaussian", "icraf", "nirsoil_best", "paper", "pretrained", "steady", "study")
"""The recipes of train/recipes that name their libraries."""

NOISE = 0.001
"""The standard deviation of the noise in absorbance that is added to soils held out."""

NATIVE = {
    "bands of 1 nm": (
        ("CV.98", "SC.93", "SL.125", "SSP.460", "UL.120", "geeves"),
        Grid(420.0, 1.0, 2079),
    ),
    "bands of 2 nm": (("nirsoil",), Grid(1100.0, 2.0, 700)),
}
"""Libraries in about the bands that they were measured in; models read bands of 4 to 20 nm."""

INPUTS, FLAGS = "inputs, ", ", flags"

Kept = dict[str, Array]


def recipes() -> Iterator[tuple[str, TrainingRecipe]]:
    """Yield the recipes of the study and of the bundles by name."""
    for name in RECIPES:
        file = f"{name}_recipe.toml"
        yield file, recipe_file.load(ROOT / "train" / "recipes" / file)
    for name, path in BUNDLES.items():
        yield f"`{name}`", read_base(str(path)).recipe


def inputs(recipe: TrainingRecipe) -> Array:
    """Return a checksum of the model input of each soil that a recipe names, `(n,)`."""
    soils = load_soils((*recipe.libraries, *recipe.tests), recipe)
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
    return np.array([zlib.crc32(one.tobytes()) for one in preprocess.batch(soils.spectra)], float)


def spectra_sets(path: Path) -> Iterator[tuple[str, Array, Array]]:
    """Yield sets of spectra for a bundle: a name, bands in nm, and absorbance `(n, bands)`."""
    recipe = read_base(str(path)).recipe
    nm, held_out = recipe.grid.wavelengths(), load_soils(recipe.tests, recipe).spectra
    yield "held out", nm, held_out
    noise = np.random.default_rng(0).normal(0.0, NOISE, held_out.shape)
    yield f"held out, noise of {NOISE:g}", nm, held_out + noise
    yield "trained on", nm, load_soils(recipe.libraries, recipe).spectra
    for name, (_, grid) in NATIVE.items():
        yield name, grid.wavelengths(), native(name)


# They are the same for all bundles.
@cache
def native(name: str) -> Array:
    """Return the absorbance `(n, bands)` of one of the sets of `NATIVE`."""
    libraries, grid = NATIVE[name]
    return join(load_library(one, grid) for one in libraries).spectra


def predictions(name: str) -> Kept:
    """Return the predictions of a bundle by set, one spectrum at a time: numbers, and flags."""
    model, kept = ProvedModel(BUNDLES[name]), Kept()
    for title, nm, spectra in spectra_sets(BUNDLES[name]):
        try:
            predictor = model.bind(nm)
        except WavelengthError:
            continue
        found = [predictor(spectrum) for spectrum in spectra]
        kept[f"{name}: {title}"] = as_numbers(found)
        kept[f"{name}: {title}{FLAGS}"] = np.array([" ".join(one.flags) for one in found])
    return kept


def compared_inputs(earlier: Kept, now: Kept) -> Iterator[str]:
    """Yield a table of the spectra whose model input is another, by recipe."""
    yield "| recipe | spectra | other inputs |"
    yield "|---" * 3 + "|"
    for title in (title for title in now if title.startswith(INPUTS)):
        others = np.sum(earlier[title] != now[title])
        yield f"| {title.removeprefix(INPUTS)} | {len(now[title]):,} | {others} |"


def compared(earlier: Kept, now: Kept) -> Iterator[str]:
    """Yield a table of how far predictions are from earlier ones of the same spectra, by model."""
    yield "| model | spectra | values | ends | other flags | other interval | moved to 0 or 100 |"
    yield "|---" * 7 + "|"
    for name in dict.fromkeys(title.split(": ")[0] for title in now if ": " in title):
        titles = [one for one in now if one.startswith(f"{name}: ") and not one.endswith(FLAGS)]
        values, ends = zip(*(largest(earlier[one], now[one]) for one in titles), strict=True)
        flags = sum(np.sum(earlier[one + FLAGS] != now[one + FLAGS]) for one in titles)
        kinds = sum(np.sum((earlier[one] != now[one])[..., 3].any(axis=1)) for one in titles)
        limited = sum(int(moved(earlier[one]).sum()) for one in titles)
        cells = (
            f"{sum(len(now[one]) for one in titles):,}",
            *(f"{max(apart):.0e}" for apart in (values, ends)),
            *map(str, (flags, kinds, limited)),
        )
        yield f"| `{name}` | {' | '.join(cells)} |"


def kept(path: Path) -> Kept:
    """Read a file of `--keep`.

    Raises:
        UsageError: there is none at that path, or it is no such file.
    """
    try:
        with np.load(path) as file:
            return dict(file)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        # NumPy takes a file of another kind for a pickle, and says so.
        reason = (isinstance(error, OSError) and error.strerror) or "it is no .npz file"
        raise UsageError(
            f"{path} cannot be read ({reason}); make it with --keep in a worktree of the earlier "
            "commit, as --help says"
        ) from error


def main() -> None:
    """Predict, and keep or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--keep", type=Path, help="a .npz file to write")
    parser.add_argument("--against", type=Path, help="a file of --keep to compare with")
    parser.add_argument("--page", action="store_true", help=f"write the tables of {PAGE.name}")
    arguments = parser.parse_args()
    if not (arguments.keep or arguments.against):
        parser.error("give --keep FILE to keep predictions, or --against FILE to compare them")
    if arguments.page and not arguments.against:
        parser.error("--page writes a comparison; give --against FILE with it")
    if arguments.keep:
        check_writable(arguments.keep)
    earlier = kept(arguments.against) if arguments.against else Kept()
    now = Kept()
    for name, recipe in tqdm(list(recipes()), desc="inputs"):
        now[f"{INPUTS}{name}"] = inputs(recipe)
    for name in tqdm(BUNDLES, desc="predictions"):
        now |= predictions(name)
    if arguments.keep:
        np.savez_compressed(arguments.keep, allow_pickle=False, **now)
    if arguments.against:
        for title, lines in {"inputs": compared_inputs, "predictions": compared}.items():
            table = list(lines(earlier, now))
            print("\n".join(table), end="\n\n")
            if arguments.page:
                PAGE.write_text(written(PAGE.read_text(), title, table))


if __name__ == "__main__":
    sys.exit(explained(main))

"""Train and export the default family: `python -m tools.family [NAME ...]`, or `make model`.

Each entry of family.toml becomes a training recipe, a run in runs/family and a bundle in
edge/models. A bundle that its recipe has made already is left alone, so an interrupted build goes
on where it ended. A property is left out of a bundle where too little is known of it in new places.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import time
import tomllib
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.archive import Bundle
from ccnvr.edge.bundle.family import FamilyMember
from ccnvr.edge.bundle.manifest import PLACES
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.typed import build, to_data
from ccnvr.export.exporting import export_run
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.libraries.published.icraf import GAPS_NM
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs.folder import RECIPE, REPORT
from ccnvr.train.runs.run import train

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".toml")
MODELS = ROOT / "edge" / "models"
RUNS = ROOT / "runs" / "family"

STEP_NM = 10.0
LEAST_R2 = 0.3
"""The R2 in places held out from which on a property is offered."""

VERSION = 1

Table = dict[str, Any]


def family() -> dict[str, Table]:
    """Return the entries of the family by name."""
    members: dict[str, Table] = _table()["members"]
    return members


def _table() -> Table:
    return tomllib.loads(TABLE.read_text())


def recipe_of(name: str) -> TrainingRecipe:
    """Return the training recipe of a member of the family."""
    entry = family()[name]
    grid = _grid(entry)
    first, last = grid.start_nm, grid.stop_nm
    libraries = [
        library
        for library, (begin, end) in _table()["libraries"].items()
        if begin <= first and last <= end
    ]
    common = _table()["recipe"]
    components, length = entry["process"]
    members = {"most_components": components, "length": float(length)}
    if "soils" in entry:
        members["most_soils"] = entry["soils"]
    data: Table = {
        **common,
        "members": {**common["members"], **members},
        "name": f"ccnvr-{name}-{VERSION}",
        "libraries": libraries,
        "tests": [part.replace(":train", ":test") for part in libraries if ":" in part],
        "grid": to_data(grid),
        "channels": _channels(grid),
        "network": _network(grid),
        "fit": {"epochs": 1, "augmentation": _augmentation(entry)},
    }
    if "fwhm_nm" in entry:
        centres = grid.wavelengths().tolist()
        data["instrument"] = {"centres_nm": centres, "fwhm_nm": float(entry["fwhm_nm"])}
    return build(TrainingRecipe, data)


def _grid(entry: Table) -> Grid:
    if "bands_nm" in entry:
        return Grid(wavelengths_nm=tuple(map(float, entry["bands_nm"])))
    first, last = float(entry["first_nm"]), float(entry["last_nm"])
    gaps = tuple(gap for gap in GAPS_NM if first < gap[0] and gap[1] < last)
    return Grid.between(first, last, STEP_NM, gaps)


def _channels(grid: Grid) -> list[Table]:
    """Return absorbance with and without SNV, and derivatives where bands have neighbours."""
    plain = [{}, {"snv": False}]
    if grid.wavelengths_nm:
        return plain
    first = {"window": 5, "polyorder": 2, "deriv": 1}
    second = {"window": 9, "polyorder": 3, "deriv": 2}
    return [*plain, first, second]


def _network(grid: Grid) -> Table:
    """Return a network that these bands suffice for; the family has none so far."""
    convolution = {"filters": 8, "kernel": 3, "pool": 2}
    return {"convolutions": [convolution], "hidden": 8, "dense": 8}


def _augmentation(entry: Table) -> Table:
    return {"slope": 0.01, "noise": float(entry["noise"]), "input_shift": 0.0}


def make(name: str) -> Bundle:
    """Train and export a member, unless its bundle is there already; return the bundle."""
    recipe, path = recipe_of(name), MODELS / f"{name}.ccnvr"
    if (kept := _made(path, recipe)) is not None:
        return kept
    run = RUNS / name
    # A run goes on by its own recipe only.
    if (run / RECIPE).exists() and (run / RECIPE).read_text() != recipe_file.write(recipe):
        shutil.rmtree(run)
    finished = (run / REPORT).exists()
    report = run_folder.load(run)[2] if finished else train(recipe, run)
    r2 = report.training[PLACES]["r2"]
    offered = [prop for prop in recipe.properties if (r2[prop] or 0.0) >= LEAST_R2]
    if not offered:
        raise CcnvrError(f"{name} knows no property in new places; take it out of {TABLE.name}")
    MODELS.mkdir(exist_ok=True)
    export_run(run, path, profiles=("fp32",), targets=offered)
    return _annotated(path, name, r2)


def _made(path: Path, recipe: TrainingRecipe) -> Bundle | None:
    """Return the bundle at a path if this recipe has made it."""
    if not path.exists():
        return None
    bundle = bundles.read(path)
    stated = bundle.manifest.card.training.get("recipe")
    return bundle if stated == as_stated(recipe) else None


def as_stated(recipe: TrainingRecipe) -> Any:
    """Return a recipe as a bundle's card has it."""
    return _lists(to_data(recipe))


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _annotated(path: Path, name: str, r2: dict[str, float | None]) -> Bundle:
    """Say in a bundle's card for which instruments it is, and what was left out and why."""
    bundle = bundles.read(path)
    card, offered = bundle.manifest.card, [target.name for target in bundle.manifest.targets]
    left_out = {
        prop: f"R2 {value or 0.0:.2f} in places held out, and {LEAST_R2} is needed"
        for prop, value in r2.items()
        if prop not in offered
    }
    training = {**card.training, "instruments": family()[name]["instruments"]}
    if left_out:
        training["left_out"] = left_out
    manifest = dataclasses.replace(
        bundle.manifest, card=dataclasses.replace(card, training=training)
    )
    bundles.write(path, manifest, bundle.parts)
    return bundles.read(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*family(), []], help="members (all)")
    names = parser.parse_args().names or list(family())
    torch.set_num_threads(1)
    started = time.monotonic()
    with tqdm(names, desc="family") as bar:
        for name in bar:
            bar.set_postfix_str(name)
            bundle = make(name)
            size = (MODELS / f"{name}.ccnvr").stat().st_size
            found = FamilyMember(name, bundle.manifest).r2
            figures = ", ".join(f"{prop} {value:.3f}" for prop, value in found.items())
            tqdm.write(f"{name:<12}{size / 1e3:>7.0f} kB  {figures}")
    whole = sum(path.stat().st_size for path in MODELS.glob("*.ccnvr"))
    minutes, busy = (time.monotonic() - started) / 60.0, time.process_time() / 60.0
    took = f"{minutes:.1f} minutes, {busy:.1f} of them of the processor"
    print(f"{len(names)} bundles in {took}; the family has {whole / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

"""Bundles that are scored on ICRAF learn from the other folds and answer as a user's do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.experiments.contenders import WORLD_RECIPE
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from tools import icraf_bundles
from tools.icraf_bundles import ExportedBundle

PART = "profiles=2/5/0"


def soils(names: list[str]) -> Soils:
    """Return soils of two properties, in another order than that of the bundle's answers."""
    grid = Grid(1100.0, 10.0, 4)
    measured = {"pH": np.ones(len(names)), "OC": np.ones(len(names))}
    made = Soils.of_library(
        "icraf", grid, names, np.arange(4.0 * len(names)).reshape(-1, 4), measured
    )
    return dataclasses.replace(made.of(("pH", "OC")), sample_ids=names)


def test_a_bundle_is_trained_without_its_fold_and_asked_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Any] = []

    class Opened:
        def bind(self, nm: Array) -> Any:
            steps.append(("bind", nm.tolist()))
            return lambda spectrum: {
                "OC": Estimate(spectrum[0], "g/kg", None, None),
                "pH": Estimate(spectrum[1], "", None, None),
            }

    def train(recipe: TrainingRecipe, run: Path) -> None:
        steps.append(("train", recipe, run))

    def export(run: Path, path: Path, profiles: tuple[str, ...]) -> None:
        steps.append(("export", run, path, profiles))

    def load(path: Path) -> Opened:
        steps.append(("load", path))
        return Opened()

    monkeypatch.setattr(icraf_bundles, "train", train)
    monkeypatch.setattr(icraf_bundles, "export_run", export)
    monkeypatch.setattr(icraf_bundles, "load_bundle", load)
    learnt = soils(["icraf/1", "icraf/2", "icraf/3"])
    contender = ExportedBundle(
        recipe_file.load(WORLD_RECIPE), tmp_path, {tuple(learnt.sample_ids): PART}
    )
    predicted = contender.fit({}, learnt, seed=3)(learnt.spectra)
    # Columns in the order of the soils' properties: the second band is pH, the first OC.
    assert predicted.tolist() == [[1.0, 0.0], [5.0, 4.0], [9.0, 8.0]]
    (_, recipe, run), (_, exported, path, profiles), (_, loaded), (_, nm) = steps
    assert recipe.libraries == ("icraf:profiles!=2/5/0",) and recipe.tests == (f"icraf:{PART}",)
    assert recipe.fit.seed == 4 and profiles == ("fp32",)
    assert run == exported and path == loaded and path.parent == tmp_path
    assert nm == learnt.grid.wavelengths().tolist()
    # Soils that are no fold's are not trained on by mistake.
    with pytest.raises(KeyError):
        contender.fit({}, soils(["icraf/1"]), seed=0)

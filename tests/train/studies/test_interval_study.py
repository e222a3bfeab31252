"""The study of intervals leaves out what it says, and counts what lies inside."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import PlaceSettings
from ccnvr.train.runs.run_data import RunData
from tools import family, interval_study

LIBRARIES = ("UL.120:train", "SL.125:train", "CV.98:train")


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> TrainingRecipe:
    """Return the recipe of `nir` for three small libraries, which the study then finds."""
    small = dataclasses.replace(
        family.recipe_of("nir").only(["OC", "pH"]),
        libraries=LIBRARIES,
        tests=(),
        folds=2,
        places=PlaceSettings(folds=2),
        grid=Grid(1110.0, 10.0, 130),
    )
    monkeypatch.setattr(interval_study, "recipe_of", lambda name: small)
    return small


def test_each_place_is_predicted_by_models_that_do_not_know_it(
    recipe: TrainingRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[tuple[set[str], set[str]]] = []

    def predict(
        part: TrainingRecipe, data: RunData, rows: Integers, held: Integers, _: int
    ) -> Array:
        origin = np.array(data.soils.origin)
        fits.append((set(origin[rows]), set(origin[held])))
        assert not set(rows) & set(held)
        # The mean of the soils learnt from, and a little of what is asked for, stands for a model.
        learnt = np.nanmean(data.soils.values[rows], axis=0)
        predicted: Array = 0.5 * learnt + 0.5 * data.soils.values[held]
        return predicted

    monkeypatch.setattr(interval_study, "predict_left_out", predict)
    table = interval_study.study("nir", 0)
    names = {library.partition(":")[0] for library in LIBRARIES}
    assert set(table["new places"]) == names
    # Where a place is predicted for the last table, its library is not among those learnt from.
    assert [held for _, held in fits if len(held) == 1] and all(
        not learnt & held for learnt, held in fits if len(held) == 1
    )
    for prop in ("OC", "pH"):
        known = table["known places"][prop]
        assert known["all"]["n"] == sum(known[name]["n"] for name in names) == 309
        assert 0.8 < known["all"]["coverage"] < 1.0
        for place in names:
            found = table["new places"][place][prop]
            assert found["shown"]["width_sd"] >= found["as if known"]["width_sd"]
    assert interval_study.text(table).startswith("known places: coverage")


def test_figures_are_the_share_inside_and_the_mean_width() -> None:
    target = Target("pH", "", "identity", mean=1.0, sd=2.0, lowest=-50.0, highest=50.0)
    inside, outputs = np.array([True, False, True, True]), np.array([0.0, 1.0, 2.0, 3.0])
    halves = np.array([0.5, 1.0, 1.5, 2.0])
    found = interval_study.figures(target, inside, outputs, halves)
    assert found == {"n": 4, "coverage": 0.75, "width_sd": 2.5, "width": 5.0}
    nothing: Any = np.array([])
    assert interval_study.figures(target, nothing, nothing, nothing)["coverage"] is None

"""A recipe that is written is read as the same recipe."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge.typed import build, to_data
from ccnvr.train.libraries.sensor import Sensor
from ccnvr.train.libraries.standards import Epo
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Finetuned, Pretraining
from ccnvr.train.recipe.settings import Kernel
from ccnvr.train.runs import run as runs

FOLDER = Path(runs.__file__).parents[1] / "recipes"
OWN = FOLDER / "own_library_recipe.toml"
"""The one recipe that a user's files complete, see `runs.own_recipe`."""
RECIPES = sorted(set(FOLDER.glob("*_recipe.toml")) - {OWN})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_the_package_are_written_as_they_are_read(path: Path) -> None:
    assert len(RECIPES) == 7
    loaded = recipe_file.load(path)
    assert recipe_file.parse(recipe_file.write(loaded), path) == loaded


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
WHOLE = st.integers(-(2**63) + 1, 2**63 - 1)
ROUNDS = st.builds(
    Finetuned, TEXT, TEXT, st.just("percent"), TEXT, WHOLE, st.floats(0.0, 1.0), WHOLE, WHOLE
)
OTHERS = st.lists(TEXT.map("another {}".format), min_size=1).map(tuple)
BEFORE = st.builds(Pretraining, OTHERS, st.integers(1, 10**6), st.just({"clay": "log1p"}))


@given(
    name=TEXT,
    libraries=st.lists(TEXT, min_size=1, max_size=3),
    rate=st.floats(1e-300, 1e300),
    widths=st.floats(0.1, 900.0) | st.lists(st.floats(0.1, 900.0), min_size=2, max_size=2),
    rounds=st.lists(ROUNDS),
    before=st.none() | BEFORE,
)
def test_any_recipe_is_written_as_it_is_read(
    name: str,
    libraries: list[str],
    rate: float,
    widths: Any,
    rounds: list[Finetuned],
    before: Pretraining | None,
) -> None:
    plain = recipe_file.load(RECIPES[0])
    transforms = {name: value for name, value in plain.transforms.items() if name != "clay"}
    centres = tuple(np.linspace(1100.0, 2500.5, 142).tolist())
    varied = dataclasses.replace(
        plain,
        name=name,
        libraries=tuple(libraries),
        fit=dataclasses.replace(plain.fit, learning_rate=rate),
        sensor=Sensor(centres, tuple(widths * 71) if isinstance(widths, list) else widths),
        epo=Epo("dry.csv", 'wet "1".csv', 2),
        teacher_networks=(plain.network, dataclasses.replace(plain.network, standardise=True)),
        gaussian_processes=(Kernel(0.5, 1e-6), Kernel(100.0, 10.0)),
        transforms=transforms,
        tests=(),
        pretraining=before,
        finetuned=tuple(rounds),
    )
    assert recipe_file.parse(recipe_file.write(varied), RECIPES[0]) == varied
    # As a bundle's card keeps it.
    assert build(TrainingRecipe, json.loads(json.dumps(to_data(varied)))) == varied

"""A recipe that leaves its grid to the user's files, and to its sensor."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import own_recipe
from tests.support.soil_files import write_soils


@pytest.fixture(scope="module")
def soils(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with 350-2500 nm."""
    return write_soils(tmp_path_factory.mktemp("soils") / "mine.csv", "CV.98", count=30)


def completed(soils: Path, more: str) -> TrainingRecipe:
    template = Path(own_recipe.__file__).parents[1] / "recipes" / "own_library_recipe.toml"
    text = template.read_text().replace("my-soils.csv", str(soils)) + more
    return recipe_file.parse(own_recipe.complete(text), template)


def test_the_grid_lies_inside_the_range_of_the_sensor(soils: Path) -> None:
    bands = [900.0 + 3.9 * number for number in range(206)]
    made = completed(soils, f"\n[instrument]\ncentres_nm = {bands}\nfwhm_nm = 10\n")
    assert made.sensor is not None
    assert (made.grid.start_nm, made.grid.step_nm) == (900.0, 8.0)
    assert 1690.0 < made.grid.stop_nm <= bands[-1]


def test_a_sensor_s_gap_is_a_gap_of_the_grid(soils: Path) -> None:
    bands = [*range(1000, 1350, 5), *range(1460, 1780, 5)]
    made = completed(soils, f"\n[instrument]\ncentres_nm = {bands}\nfwhm_nm = 10\n")
    assert len(made.grid.gaps) == 1
    assert made.grid.gaps[0] == pytest.approx((1345.0, 1460.0), abs=0.1)


@pytest.mark.parametrize("centres", ["'all'", "[1200]", "[1300, 1200]", "[[1], [2]]"])
def test_a_sensor_that_is_none_is_left_to_the_reading_of_the_recipe(
    soils: Path, centres: str
) -> None:
    text = f"libraries = ['{soils}']\n[instrument]\ncentres_nm = {centres}\nfwhm_nm = 8\n"
    assert "[grid]" in own_recipe.complete(text)

"""Cross-validation by places, and the half widths for new places that follow from its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.chemometrics.domain_distances import DomainDistances
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import domain as domains
from ccnvr.train.calibration import folds, intervals
from ccnvr.train.calibration.places import ByPlace, place_folds, place_names, place_of
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe import recipe_file
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.studies import intervals as interval_study
from tests.support.helpers import assert_one_sentence, run_ccnvr

GRID = Grid(1104.0, 10.0, 138)

RECIPE = """
name = "places"
libraries = ["CV.98", "SL.125", "UL.120"]
tests = []
folds = 2
transforms = { OC = "log1p", pH = "identity" }
[places]
folds = 5
[members]
kinds = ["matern"]
network = false
repeats = 1
length = 2.0
[grid]
start_nm = 1104.0
step_nm = 10.0
bands = 138
[[channels]]
[network]
convolutions = [{ filters = 8, kernel = 5, pool = 4 }]
hidden = 8
dense = 8
[fit]
epochs = 1
augmentation = { slope = 0.01, noise = 0.00003, input_shift = 0.0 }
"""


def soils_of(sites: list[str] | None, ids: list[str], origin: list[str]) -> Soils:
    grid = Grid(1000.0, 10.0, 2)
    values = np.ones((len(ids), 1))
    return Soils(grid, ids, origin, np.ones((len(ids), 2)), values, ("OC",), sites=sites)


def test_a_place_is_a_country_or_else_a_library() -> None:
    ids = ["icraf/1", "icraf/2", "icraf/3", "UL.120/1", "UL.120/2"]
    sites = ["Kenya/1", "Kenya/2", "Mali/1", "UL.120/1", "UL.120/2"]
    origin = ["icraf"] * 3 + ["UL.120"] * 2
    soils = soils_of(sites, ids, origin)
    assert place_names(soils) == ["Kenya", "Kenya", "Mali", "UL.120", "UL.120"]
    assert len(set(place_of(soils).tolist())) == 3
    assert place_names(soils_of(None, ids, origin)) == origin


def test_all_soils_of_a_place_share_a_fold_and_folds_are_of_about_one_size() -> None:
    counts = {"a": 50, "b": 30, "c": 20, "d": 20, "e": 10}
    sites = [f"{name}/{row}" for name, count in counts.items() for row in range(count)]
    soils = soils_of(sites, [f"icraf/{row}" for row in range(len(sites))], ["icraf"] * len(sites))
    found, places = place_folds(soils, 3), place_of(soils)
    for place in set(places.tolist()):
        assert len(set(found[places == place].tolist())) == 1
    assert sorted(np.bincount(found)) == [40, 40, 50]
    # Never more folds than places.
    assert set(place_folds(soils, 20).tolist()) == set(range(5))
    with pytest.raises(UsageError, match="these come from one"):
        place_folds(soils_of(None, ["x/1", "x/2"], ["x", "x"]), 2)


def half_width(errors: np.ndarray, sure: np.ndarray, places: Integers) -> float:
    target = Target("pH", "pH", "identity", 0.0, 1.0, -9.0, 9.0, 0.5)
    measured = np.linspace(-2.0, 2.0, len(errors))[:, None]
    by_place = ByPlace(measured + errors[:, None], sure, places)
    (found,) = intervals.with_new_places((target,), measured, by_place)
    assert found.half_width_90_new_places is not None
    return found.half_width_90_new_places


def test_the_half_width_for_new_places_holds_90_percent_of_soils_that_are_not_sure() -> None:
    errors, places = np.linspace(0.0, 1.0, 200), np.arange(200) % 4
    nobody = np.zeros(200, dtype=bool)
    assert half_width(errors, nobody, places) == pytest.approx(0.9, abs=0.02)
    # Soils that are taken for known ones get the other interval and do not count.
    assert half_width(errors, errors < 0.5, places) == pytest.approx(0.95, abs=0.02)
    # All are sure: better these errors than none.
    assert half_width(errors, ~nobody, places) == pytest.approx(0.9, abs=0.02)


def test_too_few_places_give_the_width_of_the_soils_own_values() -> None:
    errors, nobody = np.full(200, 0.1), np.zeros(200, dtype=bool)
    assert half_width(errors, nobody, np.arange(200) % 2) == pytest.approx(1.8, abs=0.05)
    unknown = np.full(200, np.nan)
    assert half_width(unknown, nobody, np.arange(200) % 4) == pytest.approx(1.8, abs=0.05)
    # A model without errors still has an interval.
    assert half_width(np.zeros(200), nobody, np.arange(200) % 4) > 0.0


@pytest.fixture(scope="module")
def pool() -> Soils:
    names = ("CV.98", "SL.125", "UL.120", "SSP.460")
    return libraries.join([libraries.load_library(name, GRID) for name in names])


@pytest.mark.parametrize("left_out", ["CV.98", "SL.125", "UL.120", "SSP.460"])
def test_a_strict_domain_knows_its_libraries_and_takes_few_others_for_known(
    pool: Soils, left_out: str
) -> None:
    rows = np.flatnonzero(np.array(pool.origin) != left_out)
    rest, fold_of = pool.rows(rows), folds.fold_of(pool, 5, 1)[rows]
    fitted = domains.fit(GRID, rest.spectra, rest.origin, fold_of, strict=True)
    assert fitted is not None
    assert 0.7 < fitted.held_out.sure.mean() < 0.85
    assert not np.any(fitted.held_out.sure & (fitted.held_out.distance > 1.0))
    others = pool.rows(np.flatnonzero(np.array(pool.origin) == left_out))
    found = domains.positions(fitted.domain, GRID, others.spectra)
    assert found.sure.mean() < 0.25
    # The edge judges as training does.
    strict = fitted.domain.strict
    assert strict is not None
    preprocess = Preprocessor(fitted.domain.shape.preprocessing(GRID), GRID.wavelengths())
    positions = DomainDistances(fitted.domain)(preprocess.batch(others.spectra[:20]))
    assert [one.sure for one in positions] == found.sure[:20].tolist()


def test_a_run_with_places_gives_both_intervals_and_the_accuracy(tmp_path: Path) -> None:
    path, folder = tmp_path / "recipe.toml", tmp_path / "run"
    path.write_text(RECIPE)
    result = run_ccnvr("train", path, "--out", folder)
    assert result.returncode == 0, result.stderr
    assert "places held out" in result.stdout and "all places" in result.stdout
    recipe, _, report = run_folder.load(folder)
    assert recipe == recipe_file.parse(recipe_file.write(recipe), path) and recipe.places
    stated = report.training["places"]
    assert stated["places"] == 3 and set(stated["r2"]) == {"OC", "pH"}
    assert set(report.accuracy["places held out"]) == {"all places", "CV.98", "SL.125", "UL.120"}
    assert report.domain is not None and report.domain.strict is not None
    for target in report.targets:
        assert target.half_width_90 is not None and target.half_width_90_new_places is not None
        assert target.half_width_90_new_places > target.half_width_90
    with pytest.raises(UsageError, match="which a run keeps for no fold"):
        interval_study.coverage_table(folder)
    assert json.loads((folder / "report.json").read_text())["domain"]["strict"]["slope"] is True


def test_one_place_is_refused_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace('"CV.98", "SL.125", "UL.120"', '"UL.120"'))
    result = run_ccnvr("train", path, "--out", tmp_path / "run")
    assert_one_sentence(result, 2, "[places] needs soils of two places")
    assert not (tmp_path / "run").exists()
    path.write_text(RECIPE.replace("[places]\nfolds = 5", "[places]\nfolds = 1"))
    result = run_ccnvr("train", path, "--out", tmp_path / "run")
    assert_one_sentence(result, 2, "folds = 1 of [places] must be from 2 to 20")

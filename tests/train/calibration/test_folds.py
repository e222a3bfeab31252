"""Folds: a soil's spectra stay together, each library is spread evenly, and what leaves too little
is refused.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.cli import main
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.folds import check_folds, fold_of, soil_of
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from tests.support import recipes
from tests.support.soil_files import write_soils


@pytest.fixture
def small(tmp_path: Path) -> TrainingRecipe:
    return recipe_file.load(recipes.write(tmp_path))


def _soils(ids: list[str], origin: list[str], spectra: np.ndarray) -> Soils:
    """Soils with one property, whose values do not matter."""
    grid = Grid(1104.0, 2.0, spectra.shape[1])
    return Soils(grid, ids, origin, spectra, np.zeros((len(ids), 1)), ("OC",))


def _trained_on(path: Path) -> str:
    """The small recipe on a file of the user's alone."""
    own = recipes.SMALL.replace('["UL.120:train", "SL.125:train"]', f'["{path}"]')
    return own.replace(', "UL.120:test", "SL.125:test"', "")


def test_folds_hold_each_library_evenly_and_keep_twins_together(
    small: TrainingRecipe,
) -> None:
    pool = load_soils(("SC.93", "CV.98"), small)
    # As scans of one soil: two more of the first one, under its sample id.
    again = [*range(len(pool.spectra)), 0, 0]
    noise = 1e-3 * np.random.default_rng(1).normal(size=(2, 1))
    spectra = np.concatenate([pool.spectra, pool.spectra[[0, 0]] + noise])
    pool = dataclasses.replace(pool.rows(np.array(again)), spectra=spectra)
    folds = fold_of(pool, 5, seed=1)
    assert len({folds[0], *folds[-2:]}) == 1
    for library in ("SC.93", "CV.98"):
        sizes = np.bincount(folds[np.array(pool.origin) == library], minlength=5)
        assert sizes.max() - sizes.min() <= 4
    _, group, count = np.unique(pool.spectra, axis=0, return_inverse=True, return_counts=True)
    (twin,) = np.flatnonzero(count == 2)
    assert len(set(folds[group == twin])) == 1


def test_spectra_that_a_processor_computed_a_last_bit_apart_are_equal() -> None:
    spectra = np.random.default_rng(3).uniform(0.2, 1.0, size=(4, 300))
    spectra[3] = np.nextafter(spectra[1], 2.0)
    soil = soil_of(_soils(list("abcd"), ["x"] * 4, spectra))
    assert soil[3] == soil[1] and len(set(soil.tolist())) == 3


def test_spectra_of_one_sample_share_a_fold_through_a_chain_of_equal_spectra() -> None:
    bands = np.random.default_rng(3).normal(size=(40, 5))
    # A's second spectrum is B's first, and B's second is C's first: all of them are of one soil.
    spectra = np.concatenate([bands[[0, 1, 1, 2, 2, 3]], bands[4:]])
    ids = ["A", "A", "B", "B", "C", "C", *(f"s{row}" for row in range(36))]
    for order in (np.arange(42), np.arange(42)[::-1]):
        pool = _soils([ids[row] for row in order], ["x"] * 42, spectra[order])
        soil = soil_of(pool)
        assert (
            len(set(soil[np.isin(pool.sample_ids, ["A", "B", "C"])])) == 1 and len(set(soil)) == 37
        )
        assert len(set(fold_of(pool, 5, 1)[np.isin(pool.sample_ids, ["A", "B", "C"])])) == 1


def test_equal_spectra_and_values_in_another_unit_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_soils(
        tmp_path / "mine.csv", "UL.120", 30, OC=limesoda.load("UL.120").properties["OC"] / 10.0
    )
    lines = (tmp_path / "mine.csv").read_text().splitlines()
    spectrum = lines[1].split(",")[4:]
    lines += [
        ",".join([f"again-{number}", str(number), "6", "20", *spectrum]) for number in range(5)
    ]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    text = _trained_on(tmp_path / "mine.csv")
    path = recipes.write(tmp_path, text.replace("epochs = 3", "epochs = 1"))
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 0
    warning = (
        "warning: 6 sample ids, mine.csv/again-0 and mine.csv/again-1 among them, have the "
        "spectrum of another"
    )
    told = capsys.readouterr().err
    assert (
        warning in told
        and "warning: OC of mine.csv is " in told
        and "look whether the unit is right" in told
    )


def test_a_fold_without_a_soil_is_refused(tmp_path: Path) -> None:
    made = recipe_file.load(recipes.write(tmp_path))
    ids = [f"{library}/{row}" for library in "abcdef" for row in range(4)]
    rng = np.random.default_rng(1)
    pool = dataclasses.replace(
        _soils(ids, [name[0] for name in ids], rng.normal(size=(24, 3))),
        values=rng.normal(size=(24, len(made.properties))) + 9.0,
        properties=made.properties,
    )
    five = dataclasses.replace(made, folds=5)
    with pytest.raises(UsageError, match=r"^fold 5 of 5 is empty"):
        check_folds(five, pool, fold_of(pool, 5, 1))


@pytest.mark.parametrize(
    ("soils", "scans", "words"),
    [
        (
            1,
            24,
            "2 folds cannot be made of 1 soils (spectra that have one sample_id, or are equal, "
            "are of one soil)",
        ),
        (
            12,
            1,
            "without fold 1 of 2, OC was measured in 6 spectra to train on, 10 are needed; it was "
            "measured in 12 soils",
        ),
    ],
)
def test_a_fold_that_leaves_too_few_soils_is_refused_before_the_folder_is_made(
    soils: int, scans: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_soils(tmp_path / "mine.csv", "UL.120", soils * scans)
    header, *rows = (tmp_path / "mine.csv").read_text().splitlines()
    rows = [f"soil-{row // scans},{line.partition(',')[2]}" for row, line in enumerate(rows)]
    (tmp_path / "mine.csv").write_text("\n".join([header, *rows]))
    text = _trained_on(tmp_path / "mine.csv")
    assert main(["train", str(recipes.write(tmp_path, text)), "--out", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

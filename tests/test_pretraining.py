"""What a network learns of other soils first: it helps, survives a kill, is told, and is never what is scored."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import recipes
import torch
from helpers import assert_one_sentence, run_ccnvr

from ccnvr.edge.metrics import accuracy
from ccnvr.train import fit as fitting
from ccnvr.train import recipe, run_folder
from ccnvr.train.augment import Augmentation
from ccnvr.train.contenders import Network, contenders
from ccnvr.train.pool import load_pool
from ccnvr.train.recipe import TrainingRecipe
from ccnvr.train.rounds import Fit, Pretraining

BEFORE = """
[pretraining]
libraries = ["SL.125"]
beside = { clay = "identity" }
epochs = 2
"""
SCORED_ALONE = recipes.SMALL.replace('"UL.120:train", "SL.125:train"', '"UL.120:train"').replace(', "SL.125:test"', "")


@pytest.fixture
def small(tmp_path: Path) -> TrainingRecipe:
    return recipe.load(recipes.write(tmp_path, SCORED_ALONE + BEFORE))


def test_a_network_begins_with_what_it_learnt_before(small: TrainingRecipe) -> None:
    """One that then hardly learns knows the property all the same."""
    pool = load_pool(("UL.120:train",), small)
    with_others = dataclasses.replace(
        small,
        pretraining=Pretraining(("SL.125",), 60, {"clay": "identity"}, batch_size=8, learning_rate=1e-2),
        fit=Fit(epochs=1, learning_rate=1e-6, augmentation=Augmentation(slope=0.01, input_shift=0.01)),
    )
    alone = dataclasses.replace(with_others, pretraining=None)
    few, rest = slice(0, None, 4), np.arange(len(pool.spectra)) % 4 > 0

    def missed(of: TrainingRecipe) -> float:
        calibration = fitting.fit(of, pool.spectra[few], pool.targets[few], 1)
        found = accuracy(pool.targets[rest, 0], fitting.predict(of, calibration, pool.spectra[rest])[:, 0])
        assert found.rmse is not None
        return found.rmse

    assert missed(with_others) < 0.9 * missed(alone)


@pytest.mark.parametrize("done", [1, 3])
def test_a_fit_cut_off_before_or_after_goes_on_to_the_same_network(small: TrainingRecipe, tmp_path: Path, done: int) -> None:
    class Killed(Exception):
        pass

    def killed(loss: float) -> None:
        losses.append(loss)
        if len(losses) == done:
            raise Killed

    pool = load_pool(small.libraries, small)
    losses: list[float] = []
    every: list[float] = []
    whole = fitting.fit(small, pool.spectra, pool.targets, 7, None, every.append)
    assert len(every) == small.all_epochs == 5
    with pytest.raises(Killed):
        fitting.fit(small, pool.spectra, pool.targets, 7, tmp_path / "cut.pt", killed)
    rest: list[float] = []
    resumed = fitting.fit(small, pool.spectra, pool.targets, 7, tmp_path / "cut.pt", rest.append)
    assert len(rest) == small.all_epochs - done
    for name, weight in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], weight, rtol=0, atol=0)


def test_a_recipe_with_it_is_written_and_read(small: TrainingRecipe, tmp_path: Path) -> None:
    assert recipe.parse(recipe.write(small), tmp_path) == small


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (BEFORE.replace('["SL.125"]', "[]"), "pretraining: libraries is empty"),
        (BEFORE.replace("SL.125", "UL.120:test"), "UL.120:train is scored, and soils of that library are learnt before"),
        (BEFORE.replace("SL.125", "CV.98"), "CV.98 is scored"),
        (BEFORE.replace("clay", "OC"), "OC stands in transforms and in pretraining.beside"),
        (BEFORE.replace("clay", "sand"), "target 'sand'"),
        (BEFORE.replace("epochs = 2", "epochs = 0"), "pretraining: epochs = 0 must be at least 1"),
        (BEFORE.replace("SL.125", "SL.126"), "library 'SL.126' is not one of"),
    ],
)
def test_one_that_cannot_be_is_refused_before_the_work(tmp_path: Path, before: str, words: str) -> None:
    path = recipes.write(tmp_path, SCORED_ALONE + before)
    assert_one_sentence(run_ccnvr("train", path, "--out", tmp_path / "run"), 2, words)
    assert not (tmp_path / "run").exists()


def test_a_spectrum_that_is_scored_is_not_learnt_before_under_another_name(tmp_path: Path) -> None:
    small = recipe.load(recipes.write(tmp_path, SCORED_ALONE))
    pool = load_pool(("UL.120:train",), small)
    header = ",".join(["sample_id", "OC", *(f"{wavelength:g}" for wavelength in small.grid.wavelengths())])
    soils = [
        ",".join([f"{values[0]:g}", *(f"{value:.4f}" for value in 10.0**-spectrum)])
        for values, spectrum in zip(pool.targets, pool.spectra, strict=True)
    ]
    for name, count in (("mine", 60), ("theirs", 15)):
        lines = [header, *(f"{name}{number},{soil}" for number, soil in enumerate(soils[:count]))]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    text = SCORED_ALONE.replace("UL.120:train", str(tmp_path / "mine.csv")).replace(', pH = "identity"', "")
    before = BEFORE.replace("SL.125", str(tmp_path / "theirs.csv")).replace('beside = { clay = "identity" }', "")
    result = run_ccnvr("train", recipes.write(tmp_path, text + before), "--out", tmp_path / "run")
    assert_one_sentence(result, 2, "15 spectra that are scored", "are in [pretraining] too")


def test_an_experiment_predicts_no_library_that_was_learnt_before(tmp_path: Path) -> None:
    path = recipes.write(tmp_path, SCORED_ALONE + BEFORE.replace('["SL.125"]', '["SL.125:train", "SSP.460"]'))
    out = tmp_path / "out"
    chosen = ("--recipe", path, "--methods", "CCNVR distilled", "--seeds", 1, "--out", out)
    result = run_ccnvr("experiment", "accuracy", "--data", "SL.125", *chosen)
    assert result.returncode == 0, result.stderr
    choices = json.loads((out / "accuracy-SL.125.json").read_text())["choices"]["CCNVR distilled"]
    before = [choice["recipe"]["pretraining"] for choice in choices.values()]
    assert [each["libraries"] for each in before] == [["SSP.460"]] * 10
    assert [each["beside"] for each in before] == [{}] * 10, "what is predicted stands beside nothing"
    both = contenders(("CCNVR distilled",), path, ("SL.125", "SSP.460"))["CCNVR distilled"]
    assert isinstance(both, Network) and both.recipe.pretraining is None
    result = run_ccnvr("experiment", "transfer", "--recipe", path, "--out", out)
    assert_one_sentence(result, 2, "has [pretraining], where --sources say what is learnt")


def test_the_card_tells_of_these_soils_and_whose_they_are(small: TrainingRecipe) -> None:
    soils = run_folder.soils_of(small, load_pool(small.libraries, small))
    assert soils["learnt_before"] == ["SL.125"] and list(soils["trained_on"]) == ["UL.120"]
    assert list(soils["sources"]) == ["UL.120", "SL.125"]
    plain = dataclasses.replace(small, pretraining=None)
    assert "learnt_before" not in run_folder.soils_of(plain, load_pool(plain.libraries, plain))

"""What a network learns of other soils first: it helps, survives a kill, is told, and is never what
is scored.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.edge.cli import main
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.recipe_soils import load_before, load_soils
from ccnvr.train.experiments.contenders import contenders
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Fit, Pretraining
from ccnvr.train.recipe.settings import Augmentation
from ccnvr.train.rivals.contender import Network
from ccnvr.train.runs.run_data import soils_of
from tests.support import recipes
from tests.support.helpers import CCNVR, assert_one_sentence, run_ccnvr

BEFORE = """
[pretraining]
libraries = ["SL.125"]
beside = { clay = "identity" }
epochs = 2
"""
SENSOR = f"\n[instrument]\ncentres_nm = {list(range(1090, 2520, 5))}\nfwhm_nm = 8\n"
BESIDE = 'beside = { clay = "identity" }'
SCORED_GRID = np.arange(1104.0, 1104.0 + 1400.0, 10.0)
SCORED_ALONE = recipes.SMALL.replace('"UL.120:train", "SL.125:train"', '"UL.120:train"').replace(
    ', "SL.125:test"', ""
)


@pytest.fixture
def small(tmp_path: Path) -> TrainingRecipe:
    return recipe_file.load(recipes.write(tmp_path, SCORED_ALONE + BEFORE))


def test_a_network_begins_with_what_it_learnt_before(small: TrainingRecipe) -> None:
    """One that then hardly learns knows the property all the same."""
    pool = load_soils(("UL.120:train",), small)
    with_others = dataclasses.replace(
        small,
        pretraining=Pretraining(
            ("SL.125",), 60, {"clay": "identity"}, batch_size=8, learning_rate=1e-2
        ),
        fit=Fit(
            epochs=1, learning_rate=1e-6, augmentation=Augmentation(slope=0.01, input_shift=0.01)
        ),
    )
    alone = dataclasses.replace(with_others, pretraining=None)
    few, rest = slice(0, None, 4), np.arange(len(pool.spectra)) % 4 > 0

    def missed(of: TrainingRecipe) -> float:
        calibration = fitting.fit(
            Fitting(of, 1), pool.spectra[few], pool.values[few], before=load_before(of)
        )
        found = accuracy(
            pool.values[rest, 0], fitting.predict(of, calibration, pool.spectra[rest])[:, 0]
        )
        assert found.rmse is not None
        return found.rmse

    assert missed(with_others) < 0.9 * missed(alone)


@pytest.mark.parametrize("done", [1, 3])
def test_a_fit_cut_off_before_or_after_goes_on_to_the_same_network(
    small: TrainingRecipe, tmp_path: Path, done: int
) -> None:
    class Killed(Exception):
        pass

    def killed(loss: float) -> None:
        losses.append(loss)
        if len(losses) == done:
            raise Killed

    pool, before = load_soils(small.libraries, small), load_before(small)
    losses: list[float] = []
    every: list[float] = []
    whole = fitting.fit(
        Fitting(small, 7, on_epoch=every.append), pool.spectra, pool.values, before=before
    )
    assert len(every) == small.all_epochs == 5
    with pytest.raises(Killed):
        fitting.fit(
            Fitting(small, 7, checkpoint=tmp_path / "cut.pt", on_epoch=killed),
            pool.spectra,
            pool.values,
            before=before,
        )
    rest: list[float] = []
    resumed = fitting.fit(
        Fitting(small, 7, checkpoint=tmp_path / "cut.pt", on_epoch=rest.append),
        pool.spectra,
        pool.values,
        before=before,
    )
    assert len(rest) == small.all_epochs - done
    for name, weight in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], weight, rtol=0, atol=0)


def test_a_recipe_with_it_is_written_and_read(small: TrainingRecipe, tmp_path: Path) -> None:
    assert recipe_file.parse(recipe_file.write(small), tmp_path) == small


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (BEFORE.replace('["SL.125"]', "[]"), "pretraining: libraries is empty"),
        (
            BEFORE.replace("SL.125", "UL.120:test"),
            "UL.120:train is scored, and soils of that library are learnt before",
        ),
        (BEFORE.replace("SL.125", "CV.98"), "CV.98 is scored"),
        (BEFORE.replace("clay", "OC"), "OC stands in transforms and in pretraining.beside"),
        (BEFORE.replace("clay", "gravel"), "target 'gravel'"),
        (BEFORE.replace("clay", "CEC"), "in [pretraining], CEC was measured in 0 spectra"),
        (BEFORE.replace("epochs = 2", "epochs = 0"), "pretraining: epochs = 0 must be at least 1"),
        (BEFORE.replace("SL.125", "SL.126"), "library 'SL.126' is not one of"),
    ],
)
def test_one_that_cannot_be_is_refused_before_the_work(
    tmp_path: Path, before: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipes.write(tmp_path, SCORED_ALONE + before)
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def _as_file(pool: Soils, path: Path) -> Path:
    """Soils of a pool as a user might have them: other names, reflectance with four decimals, OC
    alone.
    """
    header = ["sample_id", "OC", *(f"{wavelength:g}" for wavelength in SCORED_GRID)]
    rows = [
        [f"soil{number}", f"{values[0]:g}", *(f"{value:.4f}" for value in 10.0**-spectrum)]
        for number, (values, spectrum) in enumerate(zip(pool.values, pool.spectra, strict=True))
    ]
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return path


def test_a_spectrum_that_is_scored_is_not_learnt_before_under_another_name(
    small: TrainingRecipe, tmp_path: Path
) -> None:
    theirs = _as_file(load_soils(("UL.120:test",), small), tmp_path / "theirs.csv")
    before = BEFORE.replace('["SL.125"]', f'["SL.125", "{theirs}"]')
    result = run_ccnvr(
        "train", recipes.write(tmp_path, SCORED_ALONE + before), "--out", tmp_path / "run"
    )
    assert_one_sentence(result, 2, "12 spectra that are scored", "are in [pretraining] too")


def test_a_run_goes_on_with_the_same_soils_only(small: TrainingRecipe, tmp_path: Path) -> None:
    theirs = _as_file(load_soils(("SL.125",), small), tmp_path / "theirs.csv")
    run, text = (
        tmp_path / "run",
        SCORED_ALONE + BEFORE.replace("SL.125", str(theirs)).replace(BESIDE, ""),
    )
    path = recipes.write(tmp_path, text)
    assert run_ccnvr("train", path, "--out", run).returncode == 0
    theirs.write_text("\n".join(theirs.read_text().splitlines()[:-1]) + "\n")
    assert_one_sentence(
        run_ccnvr("train", path, "--out", run), 2, "holds a run of another recipe or of other data"
    )


def test_a_run_killed_while_it_learns_other_soils_ends_as_if_it_had_not_been(
    tmp_path: Path,
) -> None:
    text = SCORED_ALONE.replace("epochs = 3", "epochs = 3\nteachers = 1") + BEFORE.replace(
        "epochs = 2", "epochs = 15"
    )
    path = recipes.write(tmp_path, text)
    cut = subprocess.Popen(
        [*CCNVR, "train", path, "--out", tmp_path / "cut"], stderr=subprocess.DEVNULL
    )
    checkpoint, deadline = tmp_path / "cut" / "final" / "pretrained.pt", time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    cut.kill()
    cut.wait()
    assert not (tmp_path / "cut" / "final" / "checkpoint.pt").exists()
    reports = []
    for name in ("cut", "whole"):
        result = run_ccnvr("train", path, "--out", tmp_path / name)
        assert result.returncode == 0, result.stderr
        reports.append(json.loads((tmp_path / name / "report.json").read_text()))
    assert reports[0] == reports[1]
    assert reports[0]["soils"]["learnt_before"] == {"SL.125": 125}


def test_a_run_with_it_is_exported_and_fine_tuned(small: TrainingRecipe, tmp_path: Path) -> None:
    run, bundle = tmp_path / "run", tmp_path / "made.ccnvr"
    text = SCORED_ALONE.replace('"CV.98", "SC.93", "UL.120:test"', '"SC.93"') + BEFORE.replace(
        "SL.125", "CV.98"
    )
    assert run_ccnvr("train", recipes.write(tmp_path, text), "--out", run).returncode == 0
    result = run_ccnvr("export", run, "--out", bundle, "--profile", "fp32", "--only", "network")
    assert result.returncode == 0, result.stderr
    shown = run_ccnvr("inspect", bundle).stdout
    assert "trained on before these: CV.98 98" in shown and f"{'UL.120':<10}{108:>7}" in shown
    some = load_soils(("CV.98:test",), small)
    theirs = _as_file(
        dataclasses.replace(some, sample_ids=some.sample_ids[:10]), tmp_path / "few.csv"
    )
    result = run_ccnvr("finetune", run, theirs, "--epochs", 2, "--out", tmp_path / "tuned")
    assert result.returncode == 0, result.stderr
    tuned = json.loads((tmp_path / "tuned" / "report.json").read_text())
    assert tuned["soils"]["seen_before"] == 10, "soils that were learnt first were seen, too"


def test_an_experiment_predicts_no_library_that_was_learnt_before(tmp_path: Path) -> None:
    path = recipes.write(
        tmp_path, SCORED_ALONE + BEFORE.replace('["SL.125"]', '["SL.125:train", "SSP.460"]')
    )
    out = tmp_path / "out"
    chosen = ("--recipe", path, "--methods", "CCNVR distilled", "--seeds", 1, "--out", out)
    result = run_ccnvr("experiment", "accuracy", "--data", "SL.125", *chosen)
    assert result.returncode == 0, result.stderr
    choices = json.loads((out / "accuracy-SL.125.json").read_text())["choices"]["CCNVR distilled"]
    before = [choice["recipe"]["pretraining"] for choice in choices.values()]
    assert [each["libraries"] for each in before] == [["SSP.460"]] * 10
    assert [each["beside"] for each in before] == [{}] * 10, (
        "what is predicted stands beside nothing"
    )
    both = contenders(("CCNVR distilled",), path, ("SL.125", "SSP.460"))["CCNVR distilled"]
    assert isinstance(both, Network) and both.recipe.pretraining is None
    result = run_ccnvr("experiment", "transfer", "--recipe", path, "--out", out)
    assert_one_sentence(result, 2, "has [pretraining], but --sources say what is trained on")


def test_an_experiment_goes_on_with_the_same_soils_only(
    small: TrainingRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = _as_file(load_soils(("SL.125",), small), tmp_path / "theirs.csv")
    path = recipes.write(
        tmp_path, SCORED_ALONE + BEFORE.replace("SL.125", str(theirs)).replace(BESIDE, "")
    )
    given = (
        f"--data CV.98 --recipe {path} --methods PLSR --trials 1 --seeds 1 --out {tmp_path / 'out'}"
    )
    again = ["experiment", "accuracy", *given.split()]
    assert main(again) == 0 == main(again)
    theirs.write_text("\n".join(theirs.read_text().splitlines()[:-1]) + "\n")
    assert main(again) == 2
    assert "holds results of other soils in [pretraining]'s files" in capsys.readouterr().err
    theirs.unlink()
    assert main(again) == 2
    assert f"{theirs} cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("experiment", ["accuracy", "noise", "transfer"])
def test_an_experiment_shows_all_methods_the_same_spectra(
    experiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipes.write(tmp_path, SCORED_ALONE + SENSOR)
    assert (
        main(["experiment", experiment, "--recipe", str(path), "--out", str(tmp_path / "out")]) == 2
    )
    assert (
        "has [instrument], which would change CCNVR's spectra and no rival's"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_the_card_tells_of_these_soils_and_whose_they_are(
    small: TrainingRecipe, tmp_path: Path
) -> None:
    path = _as_file(load_soils(("SL.125",), small), tmp_path / "theirs.csv")
    path.write_text(path.read_text().replace("OC", "SOM_pct", 1))
    before = load_soils((str(path), "CV.98"), small)
    soils = soils_of(small, load_soils(small.libraries, small), before)
    assert soils["trained_on"] == {"UL.120": 108} and soils["learnt_before"] == {
        "theirs.csv": 125,
        "CV.98": 98,
    }
    assert list(soils["sources"]) == ["UL.120", "theirs.csv", "CV.98"]
    assert "0.58" in soils["sources"]["theirs.csv"]["values"]
    assert "learnt_before" not in soils_of(small, load_soils(small.libraries, small))

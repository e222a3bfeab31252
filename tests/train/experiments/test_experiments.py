"""The experiments on a small scale: two methods on real soils, through the command line."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.edge.cli import main
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import finetuning, splits
from ccnvr.train.calibration.folds import soil_of
from ccnvr.train.calibration.splits import official_splits
from ccnvr.train.commands import experiment_comparisons
from ccnvr.train.experiments import statistics
from ccnvr.train.experiments.comparison import within_reach
from ccnvr.train.experiments.contenders import BEST, RECIPE, WORLD_RECIPE, WORLD_TERMS, contenders
from ccnvr.train.experiments.ledger import Ledger
from ccnvr.train.libraries.load import load_library
from ccnvr.train.rivals.ccnvr import StackedNetwork
from ccnvr.train.rivals.contender import Network, NetworkRival
from ccnvr.train.rivals.tuning import Budget, TuningSoils, tune
from ccnvr.train.studies import places
from tests.support.helpers import assert_one_sentence, run_ccnvr
from tests.support.icraf_table import write_joined
from tests.support.soil_files import write_soils

WORLD_METHODS = "PLSR,member svr,members,PLSR+member svr"
QUICK = ("--trials", 2, "--folds", 2, "--seeds", 2)


@pytest.fixture
def quick_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a recipe of the study's network, trained for two epochs and fine-tuned for 8."""
    monkeypatch.setitem(finetuning.FINETUNING, "epochs", 8)
    lines = RECIPE.read_text().splitlines()
    path = tmp_path / "quick.toml"
    path.write_text(
        "\n".join("epochs = 2" if line.startswith("epochs") else line for line in lines)
    )
    return path


def experiment(name: str, out: Path, *arguments: object) -> str:
    result = run_ccnvr("experiment", name, "--out", out, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_methods_are_compared_on_official_folds_and_the_comparison_resumes(
    tmp_path: Path, quick_recipe: Path
) -> None:
    arguments = (
        "--data",
        "SC.93",
        "--properties",
        "OC",
        "--methods",
        "PLSR,CCNVR",
        "--recipe",
        quick_recipe,
        *QUICK,
    )
    printed = experiment("accuracy", tmp_path / "out", *arguments)
    assert "PLSR" in printed and "p_value" in printed
    result: dict[str, Any] = json.loads((tmp_path / "out" / "accuracy-SC.93.json").read_text())
    assert result["soils"] == {"predicted": 93, "splits": 10}
    plsr = result["table"]["PLSR"]["OC"]
    assert (
        plsr["n"] == 93
        and plsr["r2_low"] < plsr["r2"] < plsr["r2_high"]
        and 0.0 < plsr["p_value"] <= 1.0
    )
    assert len(result["table"]["CCNVR"]["OC"]["r2_seeds"]) == 2
    assert {choice["OC"]["trials"] for choice in result["choices"]["PLSR"].values()} == {2}
    assert (tmp_path / "out" / "accuracy-SC.93.svg").read_text().startswith("<?xml")
    ledger = tmp_path / "out" / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 2 * 10 * (1 + 2), (
        "the recipe; the choices and predictions of each method, fold and seed"
    )
    # After an interruption in the middle of a line, only what is missing is computed.
    ledger.write_bytes(b"".join(lines[:-4]) + lines[-4][:30])
    again = experiment("accuracy", tmp_path / "out", *arguments)
    assert again == printed
    assert ledger.read_bytes() == b"".join(lines)
    quick_recipe.write_text(quick_recipe.read_text().replace("hidden = 96", "hidden = 32"))
    assert_one_sentence(
        run_ccnvr("experiment", "accuracy", "--out", tmp_path / "out", *arguments),
        2,
        "holds results of another recipe than",
    )


def test_noise_costs_accuracy(tmp_path: Path) -> None:
    arguments = (
        "--data",
        "SL.125",
        "--properties",
        "OC",
        "--methods",
        "PLSR",
        "--trials",
        3,
        "--seeds",
        1,
    )
    printed = experiment("noise", tmp_path / "out", *arguments)
    assert "R2 lost with noise of 0.01 on the test spectra" in printed
    result = json.loads((tmp_path / "out" / "noise-SL.125.json").read_text())
    losses = [result["test_loss"][f"{level:g}"]["PLSR"]["OC"] for level in result["levels"]]
    assert losses[-1] > max(0.02, losses[0])
    assert set(result["calibration_loss"]) == {"0.0003", "0.001", "0.003", "0.01"}
    assert {path.name for path in (tmp_path / "out").glob("*.svg")} == {
        "noise-test-SL.125.svg",
        "noise-calibration-SL.125.svg",
    }


def test_transfer_reports_the_source_alone_and_learning_curves(
    tmp_path: Path, quick_recipe: Path
) -> None:
    which = (
        "--targets",
        "SC.93",
        "--sources",
        "CV.98,SC.93,UL.120",
        "--methods",
        "PLSR,CCNVR distilled",
        "--recipe",
        quick_recipe,
    )
    printed = experiment("transfer", tmp_path / "out", *which, "--trials", 2, "--repeats", 1)
    assert "trained without SC.93" in printed
    result = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert result["trained on the source alone"]["SC.93"]["PLSR"]["n"] == 93
    as_it_is = result["trained on the source alone"]["SC.93"]["CCNVR distilled"]
    curves = result["learning curves"]["SC.93"]
    assert curves["CCNVR as it is"]["10"]["rmse"] == pytest.approx(as_it_is["rmse"], rel=0.2), (
        "the same network, on 83 of 93 soils"
    )
    assert set(curves) == {"PLSR local", "CCNVR as it is", "CCNVR head", "CCNVR all layers"}
    assert set(curves["PLSR local"]) == {"10", "20", "30"}, "at most half of the 93 soils are drawn"
    assert (
        curves["CCNVR as it is"]["30"]["r2"]
        != curves["CCNVR all layers"]["30"]["r2"]
        != curves["CCNVR head"]["30"]["r2"]
    )
    assert (tmp_path / "out" / "transfer.svg").exists()


def test_a_file_in_a_folder_is_a_library_to_transfer_to(tmp_path: Path, quick_recipe: Path) -> None:
    (tmp_path / "sub").mkdir()
    write_soils(tmp_path / "sub" / "mine.csv", "SC.93", 24)
    which = (
        "--targets",
        tmp_path / "sub" / "mine.csv",
        "--sources",
        "UL.120",
        "--methods",
        "PLSR",
        "--recipe",
        quick_recipe,
    )
    printed = experiment("transfer", tmp_path / "out", *which, "--trials", 1, "--repeats", 1)
    assert re.search(r"PLSR +OC +24 ", printed), printed


def test_wrong_use_is_one_sentence(tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    mars = ("--data", "SC.93", "--methods", "MARS")
    assert_one_sentence(
        run_ccnvr("experiment", "accuracy", *out, *mars), 2, "'MARS' is not one of PLSR, SVMR"
    )
    assert_one_sentence(
        run_ccnvr("experiment", "accuracy", *out, "--data", "geeves"),
        2,
        "'geeves' has no official split",
    )
    (tmp_path / "result.json").write_text("[]")
    choices = ("--data", "SC.93", "--choices", tmp_path / "result.json")
    assert_one_sentence(
        run_ccnvr("experiment", "accuracy", *out, *choices),
        2,
        "is not a result of ccnvr experiment accuracy",
    )
    (tmp_path / "result.json").write_text('{"choices": {"CNN": {"official": {"OC": {}}}}}')
    assert_one_sentence(
        run_ccnvr("experiment", "accuracy", *out, *choices),
        2,
        "no choice of CNN's for pH, only for OC",
    )
    earlier = tmp_path / "earlier" / "accuracy-SC.93.json"
    earlier.parent.mkdir()
    earlier.write_text((tmp_path / "result.json").read_text())
    over = ("--data", "SC.93", "--choices", earlier, "--out", earlier.parent)
    assert_one_sentence(
        run_ccnvr("experiment", "accuracy", *over),
        2,
        f"would be written over {earlier}, which --choices reads",
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ledger.jsonl").write_text("{}\n{}\n")
    assert_one_sentence(
        run_ccnvr("experiment", "accuracy", *out, "--data", "SC.93"),
        1,
        "ledger.jsonl line 1 is damaged",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("accuracy --data SL.125 --properties OCC", "'OCC' is not one of OC, N, CEC, pH, clay"),
        ("noise --data SL.125 --properties OC,XX", "'XX' is not one of OC, N, CEC, pH, clay"),
        ("accuracy --data SL.125 --properties N", "SL.125 has no N, only OC, pH, clay"),
        ("transfer --targets UL.120 --sources SL.125 --property OOC", "'OOC'"),
        ("transfer --targets UL.120 --sources SL.125 --property N", "UL.120 has no N"),
        ("transfer --targets UL.120 --sources UL.120", "no library but the target UL.120"),
        ("transfer --targets SL.125,XX --sources UL.120", "library 'XX' is not one of nirsoil"),
    ],
)
def test_what_no_library_holds_is_named_before_anything_is_fetched_or_tuned(
    arguments: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # No library is at hand that would have to be fetched.
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert (
        main(
            ["experiment", *arguments.split(), "--methods", "PLSR", "--out", str(tmp_path / "out")]
        )
        == 2
    )
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("ccnvr: ") and words in line


def test_the_help_states_the_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "accuracy", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "tried per property (30)",
        "no trial is begun (240)",
        "they are tried (3)",
        "repetitions (5)",
    ):
        assert words in shown


def test_a_split_shares_no_soil_between_its_sides() -> None:
    folds = official_splits("SC.93", properties=("OC",))
    assert sum(len(split.test.values) for split in folds) == 93
    for split in folds:
        assert len(split.test.values) + len(split.train.values) == 93
        assert not np.any(np.all(split.test.spectra[0] == split.train.spectra, axis=1))


def test_all_open_libraries_are_compared_on_their_test_parts_by_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "two.toml"
    text = splits.DEFAULT_RECIPE.read_text()
    for key, libraries in (("libraries", "train"), ("tests", "test")):
        replaced = f'{key} = ["CV.98:{libraries}", "SC.93:{libraries}"]'
        text, count = re.subn(rf"(?m)^{key} = \[[^\]]*\]", replaced, text)
        assert count == 1
    recipe.write_text(text)
    monkeypatch.setattr(splits, "DEFAULT_RECIPE", recipe)
    arguments = [
        "--data",
        "open",
        "--methods",
        "PLSR",
        "--trials",
        "1",
        "--folds",
        "2",
        "--seeds",
        "1",
        "--properties",
        "OC,clay",
    ]
    assert main(["experiment", "accuracy", "--out", str(tmp_path / "out"), *arguments]) == 0
    result = json.loads((tmp_path / "out" / "accuracy-open.json").read_text())
    assert result["soils"] == {"predicted": 19, "splits": 1}
    assert {
        library: table["PLSR"]["OC"]["n"] for library, table in result["by library"].items()
    } == {"CV.98": 10, "SC.93": 9}
    assert result["table"]["PLSR"]["clay"]["n"] == 19
    assert "\nSC.93\n" in capsys.readouterr().out


def test_the_study_s_check_prints_r2_alone_on_standard_output(
    nirsoil_data: Path,
    quick_recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(experiment_comparisons, "RECIPE", quick_recipe)
    monkeypatch.setenv("CCNVR_DATA", str(nirsoil_data))
    assert main(["experiment", "check"]) == 0
    printed = capsys.readouterr()
    assert set(json.loads(printed.out)) == {"OC", "N", "CEC"}
    assert "10/10" in printed.err, "two epochs of the network and of each of its four teachers"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide a small ICRAF of four countries, and return the folder for results."""
    write_joined(tmp_path, first_nm=400, last_nm=2450)
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))
    return tmp_path / "out"


def test_folds_of_the_world_keep_places_whole_and_differ_by_repetition(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "MOST_MINERAL", 25.0)
    for library in ("icraf", "icraf:countries"):
        rounds = splits.splits_of(library, ("OC", "pH"), 2)
        held_out = [[set(part.test.sample_ids) for part in folds] for folds in rounds]
        assert all(len(set.union(*folds)) == sum(map(len, folds)) == 120 for folds in held_out)
        assert held_out[0] != held_out[1]
        for part in rounds[1]:
            assert not set(part.train.sites or ()) & set(part.test.sites or ())
    by_chance = splits.splits_of("icraf:chance", ("OC",))[0][0]
    assert set(by_chance.train.sample_ids).isdisjoint(by_chance.test.sample_ids)
    # The parts that a recipe can name are these very folds.
    named = load_library("icraf:countries=2/5/1", splits.WORLD_GRID)
    assert set(named.sample_ids) == held_out[1][1]
    ((organic,),) = splits.splits_of("icraf:organic", ("OC",))
    assert organic.test.values.min() > splits.MOST_MINERAL >= organic.train.values.max()
    with pytest.raises(UsageError, match="icraf has no N, only OC, pH"):
        splits.splits_of("icraf", ("N",))


def test_methods_are_compared_on_the_world_on_a_logarithm_and_in_units(world: Path) -> None:
    arguments = ("--data", "icraf", "--properties", "OC,pH", "--methods", WORLD_METHODS)
    against = ("--against", "members", "--trials", 1, "--folds", 2)
    printed = experiment("accuracy", world, *arguments, *against, "--seeds", 1)
    assert "in units" in printed
    experiment("accuracy", world, *arguments, *against, "--seeds", 2)
    kept = (world / "ledger.jsonl").read_text()
    assert "profiles=1/5/0 | members" in kept and "profiles=1/5/1 | members" in kept
    result = json.loads((world / "accuracy-icraf.json").read_text())
    assert list(result["choices"]["PLSR"]) == ["profiles=1/5/0"], "a choice is made once"
    assert result["scored after"]["OC"] == "log1p" and "pH" not in result["scored after"]
    table, in_units = result["table"], result["in units"]
    assert table["members"]["pH"]["r2"] == in_units["members"]["pH"]["r2"]
    assert table["members"]["OC"]["rmse"] < 1.0 < in_units["members"]["OC"]["rmse"]
    assert len(set(table["member svr"]["OC"]["r2_seeds"])) == 2 and table["PLSR"]["OC"]["n"] == 120
    assert "p_value" in table["PLSR"]["OC"] and "p_value" not in table["members"]["OC"]
    of_two = table["PLSR+member svr"]["OC"]
    assert of_two["rmse"] < max(table[name]["OC"]["rmse"] for name in ("PLSR", "member svr"))
    # A run by another recipe takes the rivals over and computes only what is its own.
    recipe = world.parent / "other.toml"
    recipe.write_text(WORLD_RECIPE.read_text().replace("dropout = 0.0", "dropout = 0.2"))
    by_country = ("--recipe", recipe, "--beside", world, "--seeds", 2)
    experiment("accuracy", world.parent / "second", *arguments, *against, *by_country)
    keys = (world.parent / "second" / "ledger.jsonl").read_text()
    assert "members" in keys and "PLSR |" not in keys
    again = json.loads((world.parent / "second" / "accuracy-icraf.json").read_text())
    assert again["table"]["PLSR"] == table["PLSR"]


def test_a_rival_keeps_its_choice_for_countries_and_one_fold_is_enough_for_noise(
    world: Path,
) -> None:
    quick = ("--methods", "PLSR", "--properties", "OC,pH", "--trials", 1, "--seeds", 1)
    experiment("accuracy", world, "--data", "icraf", "--splits", 1, *quick)
    result = json.loads((world / "accuracy-icraf.json").read_text())
    assert result["soils"]["splits"] == 1
    earlier = ("--choices", world / "accuracy-icraf.json")
    experiment("accuracy", world, "--data", "icraf:countries", *earlier, *quick)
    of_countries = json.loads((world / "accuracy-icraf-countries.json").read_text())
    assert list(of_countries["choices"]["PLSR"].values()) == list(
        result["choices"]["PLSR"].values()
    )
    experiment("noise", world, "--data", "icraf", "--splits", 1, *quick)
    noise = json.loads((world / "noise-icraf.json").read_text())
    assert noise["test_loss"]["0.01"]["PLSR"]["OC"] > 0.0
    assert_one_sentence(
        run_ccnvr(
            "experiment", "accuracy", "--out", world, "--data", "icraf", "--beside", world.parent
        ),
        2,
        "holds no ledger.jsonl",
    )


def test_a_network_among_the_rivals_is_one_for_all_properties_of_the_world(world: Path) -> None:
    cnn = contenders(("CNN",), WORLD_RECIPE, terms=WORLD_TERMS)["CNN"]
    assert isinstance(cnn, NetworkRival)
    soils = splits.splits_of("icraf", ("OC", "pH"))[0][0].train
    method = copy.copy(cnn.method)
    method.first = {**method.first, "epochs": 20}  # type: ignore[misc]
    quick = replace(cnn, method=method)
    choice = quick.choose(soils, Budget(1, 2))
    assert choice["OC"] == choice["pH"] and choice["OC"]["trials"] == 1
    assert quick.fit(choice, soils, 0)(soils.spectra[:3]).shape == (3, 2)


def test_a_country_is_predicted_with_none_and_with_some_of_its_soils(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(places, "SIZES", (10, 15))
    monkeypatch.setitem(finetuning.FINETUNING, "epochs", 2)
    recipe = world.parent / "quick.toml"
    recipe.write_text(WORLD_RECIPE.read_text().replace("steps = 2500", "epochs = 1"))
    arguments = ["--countries", "Kenya", "--methods", "PLSR,members", "--recipe", str(recipe)]
    budget = ["--trials", "1", "--folds", "2", "--finetune", "--out", str(world)]
    assert main(["experiment", "places", *arguments, *budget]) == 0
    result = json.loads((world / "places.json").read_text())
    kenya = result["countries"]["Kenya"]
    assert set(kenya) == {
        "PLSR",
        "members",
        "PLSR, local soils alone",
        "members, local soils alone",
        "CCNVR distilled, fine-tuned",
    }
    assert list(kenya["PLSR"]) == ["0", "10", "15"]
    assert list(kenya["members, local soils alone"]) == ["10", "15"]
    counts = {merit["pH"]["n"] for by_size in kenya.values() for merit in by_size.values()}
    assert counts == {result["predicted"]["Kenya"]} and 0 < max(counts) <= 20
    assert "mean R2 over countries" in capsys.readouterr().out
    assert main(["experiment", "places", *arguments[:1], "Atlantis", *arguments[2:], *budget]) == 2
    assert "Atlantis has 0 soils" in capsys.readouterr().err


def test_no_prediction_leaves_the_reach_of_its_training_soils() -> None:
    trained_on = np.array([[1.0, np.nan], [5.0, 6.0], [3.0, 8.0]])
    predicted = np.array([[1e300, 7.0], [-40.0, np.inf], [2.0, 4.5]])
    np.testing.assert_array_equal(
        within_reach(predicted, trained_on), [[9.0, 7.0], [-3.0, 10.0], [2.0, 4.5]]
    )


def test_a_ledger_computes_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> list[int]:
        calls.append(1)
        return [1, 2]

    assert Ledger(tmp_path).get("a", compute) == Ledger(tmp_path).get("a", compute) == [1, 2]
    assert len(calls) == 1


def test_methods_are_found_by_name() -> None:
    assert {
        "PLSR",
        "SVMR",
        "ANN",
        "CNN",
        "RNN",
        "RF",
        "Cubist",
        "MBL",
        "CCNVR",
        "CCNVR distilled",
    } <= set(contenders())
    assert list(contenders(("CCNVR", "PLSR"))) == ["PLSR", "CCNVR"]
    assert set(contenders((), RECIPE.with_name("gaussian_recipe.toml"))) - set(contenders()) == {
        "CCNVR's teachers"
    }
    # Members that teach are teachers enough.
    network = contenders((BEST,), WORLD_RECIPE)[BEST]
    assert isinstance(network, Network) and network.taught and not network.recipe.fit.teachers


@settings(max_examples=25)  # each of 2,000 resamplings
@given(st.integers(0, 2**32 - 1))
def test_the_interval_of_r2_holds_r2_and_narrows_with_more_soils(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def width(count: int) -> float:
        measured = rng.normal(size=count)
        predicted = measured[None] + rng.normal(0.0, 0.5, (3, count))
        low, high = statistics.r2_interval(measured, predicted)
        middle = float(np.mean([accuracy(measured, each).r2 or 0.0 for each in predicted]))
        assert low < middle < high
        return high - low

    assert width(1000) < width(60)


def test_a_paired_test_tells_a_better_method_from_an_equal_one(rng: np.random.Generator) -> None:
    measured = rng.normal(size=150)
    good, bad = (measured[None] + rng.normal(0.0, sd, (2, 150)) for sd in (0.2, 0.5))
    assert statistics.paired_p_value(measured, good, bad) < 0.01
    equal = measured[None] + rng.normal(0.0, 0.2, (2, 150))
    assert statistics.paired_p_value(measured, good, equal) > 0.02


def test_ccnvr_s_own_configuration_is_searched_as_a_rival_s_is() -> None:
    (split, *_) = official_splits("UL.120", properties=("OC", "clay"))
    soils = split.train
    values = soils.values.copy()
    values[::3, 1] = np.nan
    quick = {"epochs": 1, "filters": 16, "hidden": 32}

    class OneEpoch(StackedNetwork):
        def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> dict[str, Any]:
            return {**super().suggest(trial, bands, soils), **quick}

    method = OneEpoch({"OC": "log1p", "clay": "identity"})
    tuned = TuningSoils(soils.grid, soils.spectra, values, soil_of(soils))
    found = tune(method, tuned, Budget(1, 2))
    assert found.configuration == {**StackedNetwork.first, **quick} and found.r2 < 0.5
    recipe = method.recipe(found.configuration, soils.grid)
    assert (
        recipe.grid.bands == 348
        and recipe.properties == ("OC", "clay")
        and len(recipe.channels) == 4
    )

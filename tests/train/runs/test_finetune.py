"""Fine-tuning on a user's few soils: from a run and from a bundle, through export to predictions;
real soils, tiny networks.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.cli import main
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import beside, finetuning
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries.sensor import Sensor
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.runs import base as bases
from ccnvr.train.runs import finetune, finetune_folds, own_soils
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs.outcome import FinetuningSettings
from tests.support import recipes
from tests.support.helpers import NETWORK_BUNDLE
from tests.support.soil_files import write_soils

QUICK = ("--epochs", "2", "--folds", "2")
ONLY = ("--only", "network,onnx")
TWO = FinetuningSettings(epochs=2, folds=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def few(values: np.ndarray, count: int) -> np.ndarray:
    return np.where(np.arange(len(values)) < count, values, np.nan)


@dataclass(frozen=True)
class Tuned:
    """A folder in which a run was fine-tuned on mine.csv into runs/mine, and exported."""

    folder: Path
    printed: str
    """What `ccnvr finetune` printed."""


@pytest.fixture(scope="module")
def tuned(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """Copy the folder to change it."""
    folder = tmp_path_factory.mktemp("tuned")
    ph = few(limesoda.load("CV.98").properties["pH"], 9)
    write_soils(folder / "mine.csv", "CV.98", pH=ph)
    # Paths in the run are relative, as a user writes them.
    with contextlib.chdir(folder):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            out = ("--out", "runs/mine")
            assert main(["finetune", str(finished_run), "mine.csv", *out, *QUICK]) == 0
        assert main(["quantize", "runs/mine", "--epochs", "1"]) == 0
        assert main(["export", "runs/mine", "--out", "mine.ccnvr", *ONLY]) == 0
    return Tuned(folder, printed.getvalue())


def test_a_fine_tuning_tells_what_was_learnt_and_what_it_gained(tuned: Tuned) -> None:
    for words in (
        "30 soils, 2 folds; fine-tuned for OC",
        "left out: pH (measured in 9 of your soils, 10 are needed)",
        "left out: clay",
        "as it is    OC               30",
        "fine-tuned  OC               30",
        "next, to use the fine-tuned model: ccnvr export runs/mine --out mine.ccnvr",
    ):
        assert words in tuned.printed
    assert "warning: the model was trained on" not in tuned.printed


def test_a_fine_tuned_run_says_what_it_was_made_of(tuned: Tuned) -> None:
    made, _, report = run_folder.load(tuned.folder / "runs/mine")
    assert made.libraries == ("mine.csv", "UL.120:train", "SL.125:train") and made.tests == ()
    assert [(done.data, done.epochs) for done in made.finetuned] == [("mine.csv", 2)]
    assert report.soils["trained_on"] == {"mine.csv": 30}
    assert report.training["base"]["soils"]["trained_on"] == {"UL.120": 108, "SL.125": 113}


def test_a_fine_tuned_run_has_an_interval_and_a_domain_of_its_soils(tuned: Tuned) -> None:
    _, calibration, report = run_folder.load(tuned.folder / "runs/mine")
    (target,) = calibration.targets
    assert target.name == "OC" and target.half_width_90 is not None
    # Of so few soils the width follows the prediction alone.
    assert target.difficulty is not None and target.difficulty.libraries == ()
    assert report.domain is not None and report.domain.libraries == ("mine.csv",)


def test_the_bundle_of_a_fine_tuned_run_predicts_as_its_network_does(
    tuned: Tuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tuned.folder)
    out = tmp_path / "out.csv"
    assert main(["predict", "mine.ccnvr", "mine.csv", "--out", str(out)]) == 0
    with out.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 30 and not any("pH" in column for column in rows[0])
    made, calibration, _ = run_folder.load(Path("runs/mine"))
    pool = load_soils(("mine.csv",), made)
    expected = fitting.predict(made, calibration, pool.spectra)[:, 0]
    np.testing.assert_allclose([float(row["OC (g/kg)"]) for row in rows], expected, rtol=2e-3)


def test_a_run_whose_file_has_changed_since_is_not_exported(
    tuned: Tuned,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(tuned.folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    Path("mine.csv").write_text("\n".join(Path("mine.csv").read_text().splitlines()[:-1]))
    assert main(["export", "runs/mine", "--out", "mine.ccnvr", *ONLY]) == 2
    assert "have changed since (30 then, 29 now)" in capsys.readouterr().err


def test_the_bundle_of_a_fine_tuned_run_is_fine_tuned_once_more(
    tuned: Tuned,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tuned.folder)
    out = tmp_path / "again"
    assert main(["finetune", "mine.ccnvr", "mine.csv", "--out", str(out), *QUICK]) == 0
    assert "warning: the model was trained on 30 of these spectra" in capsys.readouterr().err
    made, _, _ = run_folder.load(Path("runs/mine"))
    again, _, _ = run_folder.load(out)
    assert again.libraries == made.libraries
    assert again.finetuned[0] == made.finetuned[0]
    assert again.finetuned[1].base.startswith(f"{made.name} ")


Refused = Callable[..., None]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """The command in this process, where torch is there already, ends in one sentence on stderr
    with these words.
    """

    def check(code: int, words: tuple[str, ...], *arguments: object) -> None:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("ccnvr: ") and all(word in line for word in words), line

    return check


def test_a_fine_tuned_run_is_no_run_of_training(
    finished_run: Path, tmp_path: Path, refused: Refused
) -> None:
    soils, out = write_soils(tmp_path / "mine.csv", "CV.98", 12), tmp_path / "mine"
    outcome = finetune.finetune(bases.read_base(str(finished_run)), soils, out, TWO)
    assert outcome.report.domain is None
    for study in ("intervals", "domain"):
        words = ("was fine-tuned", str(soils), "name a run of ccnvr train")
        refused(2, words, "experiment", study, out, "--out", tmp_path / "study")
    refused(
        2,
        ("[[finetuned]]", "take it out"),
        "train",
        out / "recipe.toml",
        "--out",
        tmp_path / "other",
    )
    refused(
        2, (f"{out} holds a run of another recipe",), "train", recipes.write(tmp_path), "--out", out
    )
    assert run_folder.load(out)[2].accuracy == outcome.report.accuracy
    assert not (tmp_path / "other").exists()


def test_members_stand_beside_the_default_bundle_s_network_as_it_is(tmp_path: Path) -> None:
    """And the run tells that the bundle has seen these soils, though the file names them anew."""
    soils = write_soils(tmp_path / "mine.csv", "SL.125", 24, step=2)
    base = bases.read_base(NETWORK_BUNDLE)
    out = tmp_path / "mine"
    outcome = finetune.finetune(base, soils, out, FinetuningSettings(folds=2, repeats=2))
    trained = limesoda.load("SL.125").folds[:24] != limesoda.HELD_OUT_FOLD
    assert len(outcome.seen_before) == int(trained.sum())
    assert set(outcome.left_out) == {"N", "CEC"}
    made, calibration, report = run_folder.load(out)
    assert (
        made.properties == ("OC", "pH", "clay") and made.preprocessing == base.recipe.preprocessing
    )
    assert made.finetuned[-1].kept == report.training["members"]["model"]
    before, after = base.calibration.network.state_dict(), calibration.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= {"output.weight", "output.bias", "linear.weight"}
    assert after["output.weight"].shape == (3, 64)
    assert report.training["base"]["sha256"] == bundles.read(NETWORK_BUNDLE).digest


def test_layers_that_are_not_tuned_are_kept(finished_run: Path, tmp_path: Path) -> None:
    soils = write_soils(tmp_path / "mine.csv", "SL.125", 24)
    base = bases.read_base(str(finished_run))
    own, _ = own_soils.read_soils(base, soils, "reflectance")
    recipe = dataclasses.replace(
        base.recipe, fit=dataclasses.replace(base.recipe.fit, epochs=1, batch_size=16)
    )
    tuned = finetuning.finetune(
        Fitting(recipe, 1), base.calibration, own.spectra, own.values, "head"
    )
    before, after = base.calibration.network.state_dict(), tuned.network.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {
        f"{layer}.{kind}" for layer in ("dense", "output") for kind in ("weight", "bias")
    }
    assert all(parameter.requires_grad for parameter in tuned.network.parameters())


def test_a_tuned_network_is_one_more_row(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soils = write_soils(tmp_path / "mine.csv", "CV.98", 12)
    out = tmp_path / "mine"
    tuned = ("--network", "yes", "--layers", "head", *QUICK)
    assert main(["finetune", str(finished_run), str(soils), "--out", str(out), *tuned]) == 0
    printed = capsys.readouterr().out
    for row in (
        "mean of the soils",
        "as it is, with an offset",
        "PLSR",
        "Matern process",
        "SVR",
        "process around the model",
        "tuned network",
        "mean with the tuned network",
    ):
        assert f"  {row}  " in printed or f"* {row}  " in printed
    assert "mean width of the 90 % intervals" in printed


@pytest.mark.parametrize("count", [12, 24])
def test_the_interval_for_new_places_needs_a_domain(
    finished_run: Path, tmp_path: Path, count: int
) -> None:
    """Without one it would be shown for the user's own soils too."""
    soils = write_soils(tmp_path / "mine.csv", "CV.98", count)
    base = bases.read_base(str(finished_run))
    targets = tuple(
        dataclasses.replace(target, half_width_90_new_places=3.0)
        for target in base.calibration.targets
    )
    base = dataclasses.replace(
        base, calibration=dataclasses.replace(base.calibration, targets=targets)
    )
    report = finetune.finetune(base, soils, tmp_path / "mine", TWO).report
    assert (report.domain is None) == (count == 12)
    kept = [target.half_width_90_new_places for target in report.targets]
    assert kept == [None if count == 12 else 3.0] * 2


def test_a_model_of_members_alone_is_fine_tuned(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    refused: Refused,
) -> None:
    """As the bundles for instruments are; it has no network that could be tuned."""
    monkeypatch.chdir(tmp_path)
    text = recipes.SMALL.replace('"UL.120:train", "SL.125:train"', '"UL.120:train"')
    text = text.replace("[grid]", "[members]\nnetwork = false\nrepeats = 2\n[grid]")
    recipes.write(tmp_path, text.replace('"UL.120:test", "SL.125:test"', '"UL.120:test"'))
    write_soils(tmp_path / "mine.csv", "CV.98", 16)
    assert main(["train", "recipe.toml", "--out", "run"]) == 0
    assert main(["export", "run", "--out", "base.ccnvr", *ONLY]) == 0
    words = ("base.ccnvr has kernel members only", "leave out --network yes")
    fine_tune = ("finetune", "base.ccnvr", "mine.csv", "--out", "mine", *QUICK)
    refused(2, words, *fine_tune, "--network", "yes")
    assert not Path("mine").exists()
    assert main([*fine_tune]) == 0
    capsys.readouterr()
    assert main(["export", "mine", "--out", "mine.ccnvr", *ONLY]) == 0
    assert "privacy: the principal components of these soils travel" in capsys.readouterr().out
    assert main(["predict", "mine.ccnvr", "mine.csv", "--out", "out.csv"]) == 0
    made, calibration, report = run_folder.load(Path("mine"))
    assert len(calibration.network.config.kernels) in (2, 3, 5)
    with open("out.csv") as stream:
        found = [float(row["OC (g/kg)"]) for row in csv.DictReader(stream)]
    own = load_soils(("mine.csv",), made)
    np.testing.assert_allclose(
        found, fitting.predict(made, calibration, own.spectra)[:, 0], rtol=2e-3
    )
    assert report.training["members"]["rows"]["as it is"]["OC"]["r2_sd"] == 0.0


def test_fine_tuning_learns_what_the_base_does_not_know(finished_run: Path, tmp_path: Path) -> None:
    """A laboratory whose values are three times the base's: soils that were left out are predicted
    far better.
    """
    carbon = 3.0 * limesoda.load("SL.125").properties["OC"]
    soils = write_soils(tmp_path / "mine.csv", "SL.125", 60, OC=carbon)
    base = bases.read_base(str(finished_run))
    outcome = finetune.finetune(
        base,
        soils,
        tmp_path / "mine",
        FinetuningSettings(epochs=25, learning_rate=0.01, folds=3),
    )
    before, after = (table["mine.csv"]["OC"] for table in (outcome.as_it_is, outcome.fine_tuned))
    assert (
        after["rmse"] is not None
        and before["rmse"] is not None
        and after["rmse"] < 0.6 * before["rmse"]
    )
    assert "OC" not in outcome.no_better()
    oc = outcome.report.targets[0]
    assert oc.highest == pytest.approx(max(base.calibration.targets[0].highest, carbon[:60].max()))
    assert (
        oc.difficulty is not None and oc.half_width_90 != base.calibration.targets[0].half_width_90
    )


def test_an_interrupted_fine_tuning_leaves_nothing_half_written(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soils, out = write_soils(tmp_path / "mine.csv", "CV.98", 12), tmp_path / "out"
    base, fit = bases.read_base(str(finished_run)), beside.fit_beside
    rounds: list[int] = []

    def interrupted(*arguments: Any) -> beside.BesideModel:
        rounds.append(1)
        if len(rounds) == 3:
            raise KeyboardInterrupt
        return fit(*arguments)

    with monkeypatch.context() as changed, pytest.raises(KeyboardInterrupt):
        changed.setattr(finetune_folds, "fit_beside", interrupted)
        finetune.finetune(base, soils, out, TWO)
    assert not list(out.iterdir())
    finetune.finetune(base, soils, out, TWO)
    assert run_folder.load(out)[0].finetuned


@pytest.mark.parametrize(
    ("values", "count", "words"),
    [
        ({}, 9, ("OC: measured in 9 of your soils, 10 are needed", "add soils")),
        (
            {"OC": None, "pH": None},
            30,
            ("no property to fine-tune", "clay: ", "does not predict it"),
        ),
        ({"OC": None, "clay": None, "pH": np.full(98, 6.0)}, 30, ("pH: 6 in all of your soils",)),
        (
            {"OC": None, "clay": None, "pH": None, "P": np.ones(98)},
            30,
            ("none of the columns OC, N",),
        ),
    ],
)
def test_soils_that_teach_nothing_are_refused(
    finished_run: Path, tmp_path: Path, values: dict[str, Any], count: int, words: tuple[str, ...]
) -> None:
    soils = write_soils(tmp_path / "mine.csv", "CV.98", count, **values)
    with pytest.raises(UsageError) as refusal:
        finetune.finetune(bases.read_base(str(finished_run)), soils, tmp_path / "out", TWO)
    assert all(word in str(refusal.value) for word in words), refusal.value
    assert not (tmp_path / "out").exists()


def test_values_in_another_unit_are_doubted_and_what_came_of_them_is_told(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_percent = limesoda.load("CV.98").properties["OC"] / 10.0
    soils = write_soils(tmp_path / "mine.csv", "CV.98", 15, OC=in_percent, pH=None)
    assert (
        main(["finetune", str(finished_run), str(soils), "--out", str(tmp_path / "out"), *QUICK])
        == 0
    )
    told = capsys.readouterr()
    assert (
        "warning: OC of mine.csv is " in told.err and "look whether the unit is right" in told.err
    )
    assert "warning: for OC the mean of your soils would predict better (R2 below 0)" in told.err
    assert "warning" not in told.out
    assert "use the fine-tuned model" in told.out or f"go on using {finished_run}: " in told.out


def test_scans_of_one_soil_count_once(finished_run: Path, tmp_path: Path) -> None:
    soils = write_soils(tmp_path / "mine.csv", "CV.98", 18)
    header, *rows = soils.read_text().splitlines()
    twice = [
        row.replace(f"field-{number},", f"field-{number // 2},", 1)
        for number, row in enumerate(rows)
    ]
    soils.write_text("\n".join([header, *twice]))
    with pytest.raises(UsageError, match="OC: measured in 9 of your soils"):
        own_soils.read_soils(bases.read_base(str(finished_run)), soils, "reflectance")


def test_wrong_use_is_one_sentence_and_leaves_no_folder(
    finished_run: Path, tmp_path: Path, refused: Refused
) -> None:
    soils, out = write_soils(tmp_path / "mine.csv", "CV.98", 12), tmp_path / "out"
    visible = tmp_path / "visible.csv"
    lines = [line.split(",") for line in soils.read_text().splitlines()]
    kept = [
        column for column, name in enumerate(lines[0]) if not name.isdigit() or int(name) < 1000
    ]
    visible.write_text("\n".join(",".join(line[column] for column in kept) for line in lines))
    for code, words, arguments in (
        (2, (f"no model at {tmp_path / 'none'}", "'default'"), (tmp_path / "none", soils)),
        (2, ("holds no finished training run",), (tmp_path, soils)),
        (2, ("SL.125 is not a file of soils", ".csv", ".parquet"), (finished_run, "SL.125")),
        (
            2,
            (f"{soils} row 2", "holds fractions", "--quantity"),
            (finished_run, soils, "--quantity", "percent"),
        ),
        (
            2,
            (f"{soils} row 2", "rises at 1917 nm"),
            (finished_run, soils, "--quantity", "absorbance"),
        ),
        (2, ("--layers", "'tail'"), (finished_run, soils, "--layers", "tail")),
        (2, (f"{visible}: ", "1104", "nm"), (finished_run, visible)),
    ):
        refused(code, words, "finetune", *arguments, "--out", out, *QUICK)
    assert not out.exists()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    refused(2, (f"{out} exists already",), "finetune", finished_run, soils, "--out", out, *QUICK)
    assert [entry.name for entry in out.iterdir()] == ["notes.txt"]


def test_the_user_s_file_is_read_as_the_edge_reads_it(finished_run: Path, tmp_path: Path) -> None:
    """Not once more through the instrument that the base was trained for, and as what it holds."""
    base = bases.read_base(str(finished_run))
    instrument = Sensor(tuple(np.arange(1100.0, 2500.0, 6.0).tolist()), 18.0)
    seen = dataclasses.replace(base, recipe=dataclasses.replace(base.recipe, sensor=instrument))
    soils = write_soils(tmp_path / "mine.csv", "CV.98", 12, step=2)
    outcome = finetune.finetune(seen, soils, tmp_path / "mine", TWO)
    made, _, _ = run_folder.load(tmp_path / "mine")
    assert made.sensor == instrument
    plain = load_soils((str(soils),), dataclasses.replace(made, sensor=None)).spectra
    np.testing.assert_array_equal(load_soils((str(soils),), made).spectra, plain)
    np.testing.assert_array_equal(outcome.soils.spectra, plain)

"""Training: masking, folds, resumption, recipes; tiny networks on real soils."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.edge.cli import main
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.edge.spectrum_files.tables.text_table import read_spectra
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network import ccnvr as networks
from ccnvr.train.network import scales
from ccnvr.train.network.augment import Mixture
from ccnvr.train.network.ccnvr import parameters
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.network.lesson import Lesson
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Fit
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs import run as runs
from ccnvr.train.runs.run_data import soils_of
from tests.support import recipes
from tests.support.helpers import CCNVR, assert_one_sentence, run_ccnvr
from tests.support.soil_files import write_soils

GRID = Grid(1104.0, 10.0, 140)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def small(tmp_path: Path) -> TrainingRecipe:
    return recipe_file.load(recipes.write(tmp_path))


def test_a_soil_teaches_only_the_properties_that_were_measured() -> None:
    outputs = torch.zeros(3, 2, requires_grad=True)
    wanted = torch.tensor([[1.0, 5.0], [2.0, 7.0], [3.0, 9.0]])
    known = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    settings = Fit(epochs=1)
    loss = Lesson(wanted, known).loss(outputs, outputs, Mixture(np.arange(3)), settings)
    assert loss.item() == pytest.approx(2.5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    assert outputs.grad[:, 1].tolist() == [0.0, 0.0, 0.0]
    assert outputs.grad[2, 0] == 0.0
    assert (
        Lesson(wanted, known * 0).loss(outputs, outputs, Mixture(np.arange(3)), settings).item()
        == 0.0
    )


def test_targets_standardise_and_restore(small: TrainingRecipe) -> None:
    values = load_soils(small.libraries, small).values
    targets = scales.make_targets(small, values)
    standardised = scales.standardise(targets, values)
    np.testing.assert_allclose(standardised.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(standardised.std(axis=0), 1.0)
    np.testing.assert_allclose(scales.restore(targets, standardised), values)
    with pytest.raises(CcnvrError, match="OC was measured in 3 spectra to train on, 10 are needed"):
        scales.make_targets(small, values[:3])
    with pytest.raises(CcnvrError, match="OC is 10 in all spectra"):
        scales.make_targets(small, np.full((50, 2), 10.0))


def test_an_interrupted_fit_resumes_to_the_same_network(
    small: TrainingRecipe, tmp_path: Path
) -> None:
    pool = load_soils(small.libraries, small)

    class Killed(Exception):
        pass

    def killed_after_two(loss: float) -> None:
        losses.append(loss)
        if len(losses) == 2:
            raise Killed

    losses: list[float] = []
    whole = fitting.fit(
        Fitting(small, 7, checkpoint=tmp_path / "whole.pt", on_epoch=lambda loss: None),
        pool.spectra,
        pool.values,
    )
    with pytest.raises(Killed):
        fitting.fit(
            Fitting(small, 7, checkpoint=tmp_path / "cut.pt", on_epoch=killed_after_two),
            pool.spectra,
            pool.values,
        )
    rest: list[float] = []
    resumed = fitting.fit(
        Fitting(small, 7, checkpoint=tmp_path / "cut.pt", on_epoch=rest.append),
        pool.spectra,
        pool.values,
    )
    assert len(rest) == 1
    for name, weight in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], weight, rtol=0, atol=0)


def test_training_learns(tmp_path: Path) -> None:
    longer = recipe_file.load(
        recipes.write(
            tmp_path,
            recipes.SMALL.replace(
                "epochs = 3",
                "epochs = 40\nbatch_size = 8\naugmentation = { slope = 0.0, input_shift = 0.0 }",
            ),
        )
    )
    pool = load_soils(("UL.120:train",), longer)
    losses: list[float] = []
    calibration = fitting.fit(
        Fitting(longer, 1, checkpoint=tmp_path / "c.pt", on_epoch=losses.append),
        pool.spectra,
        pool.values,
    )
    assert losses[-1] < 0.8 * losses[0]
    found = accuracy(pool.values[:, 0], fitting.predict(longer, calibration, pool.spectra)[:, 0])
    assert found.r2 is not None and found.r2 > 0.3


def test_a_network_learns_from_teachers_too(tmp_path: Path) -> None:
    """With teachers the result differs, repeats, and their checkpoints serve again."""
    text = recipes.SMALL.replace("epochs = 3", "epochs = 2\nteachers = 2")
    taught = recipe_file.load(recipes.write(tmp_path, text))
    pool = load_soils(("UL.120:train",), taught)
    values = pool.values.copy()
    values[::2, 0] = np.nan
    losses: list[float] = []
    first = fitting.fit(
        Fitting(taught, 3, checkpoint=tmp_path / "checkpoint.pt", on_epoch=losses.append),
        pool.spectra,
        values,
    )
    assert len(losses) == taught.all_epochs == 6
    assert {path.name for path in tmp_path.glob("*.pt")} == {
        "checkpoint.pt",
        "teacher-0.pt",
        "teacher-1.pt",
    }
    (tmp_path / "checkpoint.pt").unlink()
    again = fitting.fit(
        Fitting(taught, 3, checkpoint=tmp_path / "checkpoint.pt"), pool.spectra, values
    )
    alone = fitting.fit(
        Fitting(dataclasses.replace(taught, fit=dataclasses.replace(taught.fit, teachers=0)), 3),
        pool.spectra,
        values,
    )
    predicted = [
        fitting.predict(taught, calibration, pool.spectra) for calibration in (first, again, alone)
    ]
    np.testing.assert_array_equal(predicted[0], predicted[1])
    assert np.abs(predicted[0] - predicted[2]).max() > 1e-3


def test_a_lesson_weighs_laboratory_and_teachers() -> None:
    class Says3(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.full((len(inputs), 2), 3.0)

    lesson = dataclasses.replace(Lesson.of(np.array([[1.0, np.nan]])), teachers=(Says3(),))
    settings = Fit(epochs=1, teachers=1, teacher_share=0.25, unmeasured_weight=0.5)
    loss = lesson.loss(torch.zeros(1, 2), torch.zeros(1, 1), Mixture(np.array([0])), settings)
    assert loss.item() == pytest.approx((1.5**2 + 0.5 * 3.0**2) / 1.5)


def test_of_a_mixture_the_laboratory_says_what_it_says_of_both() -> None:
    lesson = Lesson.of(np.array([[1.0, np.nan], [3.0, 5.0]]))
    outputs = torch.tensor([[2.0, 100.0]])
    mixture = Mixture(np.array([0]), np.array([1]), np.array([0.25]))
    assert lesson.loss(outputs, outputs, mixture, Fit(epochs=1)).item() == pytest.approx(
        (2.0 - 2.5) ** 2
    )
    np.testing.assert_array_equal(lesson.measured(), [[1.0, np.nan], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("cell", "bidirectional"), [("gru", True), ("gru", False), ("lstm", True), ("lstm", False)]
)
def test_every_shape_of_network_runs(cell: str, bidirectional: bool) -> None:
    config = recipes.network_config(cell, bidirectional)
    network = networks.CCNVR(config)
    assert config.steps == 14
    assert network(torch.zeros(2, 2, 140)).shape == (2, 3)
    gates, directions = (3 if cell == "gru" else 4), (2 if bidirectional else 1)
    convolutions = (2 * 4 * 5 + 4) + (4 * 6 * 3 + 6)
    recurrent = directions * gates * (6 * 5 + 5 * 5 + 5 + 5)
    assert parameters(network) == convolutions + recurrent + (5 * directions * 7 + 7) + (7 * 3 + 3)


def test_convolutions_and_their_gradients_are_torch_s_own() -> None:
    torch.manual_seed(1)
    ours, spectra = networks.CCNVR(recipes.network_config()).convolutions, torch.randn(3, 2, 141)
    first, second = torch.nn.Conv1d(2, 4, 5, padding=2), torch.nn.Conv1d(4, 6, 3, padding=1)
    relu, pools = torch.nn.ReLU(), (torch.nn.MaxPool1d(2), torch.nn.MaxPool1d(5))
    plain = torch.nn.Sequential(first, relu, pools[0], second, relu, pools[1])
    plain.load_state_dict(ours.state_dict())
    for layers in (ours, plain):
        layers(spectra).square().sum().backward()
    torch.testing.assert_close(ours(spectra), plain(spectra), rtol=0.0, atol=1e-6)
    for parameter, expected in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("epochs = 3", "epoch = 3"), "unknown key 'fit.epoch'; did you mean 'epochs'"),
        (("epochs = 3", "epochs = 0"), "fit: epochs = 0 must be at least 1"),
        (("folds = 2", "folds = 1"), "folds = 1 must be from 2 to 20"),
        (('"identity"', '"sqrt"'), "transform 'sqrt'"),
        (("pH =", "gravel ="), "target 'gravel'"),
        (("kernel = 7", "kernel = 8"), "convolutions[0].kernel = 8 must be odd"),
        (("hidden = 8", 'hidden = 8\ncell = "rnn"'), "cell 'rnn' is not gru, lstm or none"),
        (("bands = 140", "bands = 10"), "leave no step"),
        (("bands = 140", "bands = 1"), "grid of 1 bands"),
        (("pool = 4", "pool = 0"), "convolutions[0].pool = 0 must be at least 1"),
        (("hidden = 8", "hidden = 0"), "recipe.toml: hidden = 0 must be at least 1"),
        (
            ("hidden = 8", "hidden = 8\ndropout = 3"),
            "recipe.toml: dropout = 3.0 must be at least 0 and below 1",
        ),
        (("window = 5", "window = 4"), "filter of window 4"),
        (("window = 5", "window = 145"), "longer than the grid"),
        (('{ OC = "log1p", pH = "identity" }', "{}"), "transforms is empty"),
        (("epochs = 3", "epochs = 3\nweight_decay = -1.0"), "weight_decay"),
        (("epochs = 3", "epochs = 3\naugmentation = { slope = -1.0 }"), "slope"),
        (('"CV.98", "SC.93"', '"CV.98", "SC.93", "UL.120"'), "are both in libraries and in tests"),
        (('libraries = ["UL.120:train", "SL.125:train"]', "libraries = []"), "libraries is empty"),
        (("[fit]", "[fit"), "correct it"),
    ],
)
def test_a_recipe_that_cannot_be_is_named(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    path = recipes.write(tmp_path, recipes.SMALL.replace(*change))
    assert_one_sentence(run_ccnvr("train", path, "--out", tmp_path / "run"), 2, words)
    assert not (tmp_path / "run").exists()


def test_a_run_killed_in_the_middle_resumes_and_ends_with_a_report(tmp_path: Path) -> None:
    path = recipes.write(tmp_path, recipes.SMALL.replace("epochs = 3", "epochs = 6"))
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [*CCNVR, "train", str(path), "--out", str(folder)], stderr=subprocess.DEVNULL
    )
    checkpoint, deadline = folder / "fold-1" / "checkpoint.pt", time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (folder / "report.json").exists()
    # What it would leave if it had been killed as it wrote.
    (folder / "fold-1" / ".checkpoint.pt.25263.part").write_bytes(b"half")
    finished = shutil.copytree(folder / "fold-0", tmp_path / "fold-0")
    result = run_ccnvr("train", path, "--out", folder)
    assert result.returncode == 0, result.stderr
    assert not list(folder.rglob("*.part"))
    assert "R2" not in result.stdout and "rpiq" in result.stdout
    assert f"ccnvr export {folder}" in result.stdout
    assert (folder / "fold-0" / "checkpoint.pt").read_bytes() == (
        finished / "checkpoint.pt"
    ).read_bytes()
    report = json.loads((folder / "report.json").read_text())
    assert report["soils"]["trained_on"] == {"UL.120": 108, "SL.125": 113}
    assert set(report["accuracy"]["soils held out from training"]) == {
        "CV.98",
        "SC.93",
        "UL.120",
        "SL.125",
    }
    other = recipes.write(tmp_path, recipes.SMALL)
    assert_one_sentence(
        run_ccnvr("train", other, "--out", folder), 2, "holds a run of another recipe"
    )
    checkpoint = folder / "final" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert_one_sentence(
        run_ccnvr("export", folder, "--out", tmp_path / "x.ccnvr"),
        1,
        str(checkpoint),
        "damaged",
        "delete it",
    )


def test_a_run_knows_its_soils_on_another_processor_too(
    small: TrainingRecipe, tmp_path: Path
) -> None:
    pool = load_soils(("UL.120",), small)
    run_folder.claim(tmp_path / "run", b"recipe", pool, None)
    a_last_bit = dataclasses.replace(pool, spectra=np.nextafter(pool.spectra, 2.0))
    run_folder.claim(tmp_path / "run", b"recipe", a_last_bit, None)
    for other in (
        dataclasses.replace(pool, spectra=1.01 * pool.spectra),
        dataclasses.replace(pool, values=1.01 * pool.values),
        dataclasses.replace(pool, sample_ids=pool.sample_ids[::-1]),
    ):
        with pytest.raises(UsageError, match="of other data"):
            run_folder.claim(tmp_path / "run", b"recipe", other, None)


def test_the_recipe_to_start_from_trains_on_a_user_s_file(tmp_path: Path) -> None:
    template = (Path(runs.__file__).parents[1] / "recipes" / "own_library_recipe.toml").read_text()
    for line, change in (
        ('network = "auto"', "network = false"),
        ("folds = 5", "folds = 2"),
        ("repeats = 3", "repeats = 2"),
    ):
        assert line in template
        template = template.replace(line, change)
    soils = limesoda.load("SSP.460")
    rows = [
        f"{number},{oc},{ph}," + ",".join(map(str, spectrum.round(4)))
        # Half of them, which are enough for all that the recipe asks for.
        for number, (oc, ph, spectrum) in enumerate(
            zip(soils.properties["OC"], soils.properties["pH"], soils.reflectance, strict=True)
        )
        if number % 2 == 0
    ]
    header = "sample_id,OC,pH," + ",".join(map(str, soils.wavelengths_nm))
    (tmp_path / "my-soils.csv").write_text("\n".join([header, *rows]))
    (tmp_path / "recipe.toml").write_text(template)
    trained = run_ccnvr("train", "recipe.toml", "--out", "run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    for said in ("PLSR", "Matern process", "SVR", "* mean of the members", "without the network"):
        assert said in trained.stdout
    assert "as a share of the soils' own spread: OC" in trained.stdout
    assert "soils held out from training" not in trained.stdout  # there are no tests
    found = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())
    assert found["grid"] == {"start_nm": 400.0, "step_nm": 4.0, "bands": 513}
    assert list(found["transforms"]) == ["OC", "pH"]
    # Without the moisture set, whose spectra the gate would take where they are at hand.
    alone = {name: value for name, value in os.environ.items() if name != "CCNVR_DATA"} | {
        "XDG_CACHE_HOME": str(tmp_path)
    }
    exported = run_ccnvr("export", "run", "--out", "mine.ccnvr", cwd=tmp_path, env=alone)
    assert exported.returncode == 0, exported.stderr
    assert "230 real spectra, 0 of them held out" in exported.stdout
    assert "RMSE" not in exported.stdout
    assert "the user's own file" in run_ccnvr("inspect", "mine.ccnvr", cwd=tmp_path).stdout


@pytest.mark.parametrize("quantity", ["reflectance", "percent", "absorbance"])
def test_a_file_that_holds_something_else_leaves_no_folder(tmp_path: Path, quantity: str) -> None:
    """Reflectance said to be percent or absorbance, and absorbance said to be reflectance."""
    mine = write_soils(tmp_path / "mine.csv", "CV.98")
    if quantity == "reflectance":
        table = read_spectra(mine)
        rows = [
            [name, "12", *map(str, -np.log10(row))]
            for name, row in zip(table.sample_ids, table.spectra, strict=True)
        ]
        mine.write_text(
            "\n".join(map(",".join, [["sample_id", "OC", *map(str, table.wavelengths_nm)], *rows]))
        )
    changed = recipes.SMALL.replace('"UL.120:train",', f'"UL.120:train", "{mine}",')
    path = recipes.write(tmp_path, f'file_quantity = "{quantity}"\n{changed}')
    with pytest.raises(
        UsageError,
        match=rf"{mine} row 2: sample 'field-0' .*"
        r"\(file_quantity in a recipe",
    ):
        runs.train(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_property_that_nobody_measured_leaves_no_folder(tmp_path: Path) -> None:
    path = recipes.write(tmp_path, recipes.SMALL.replace("pH =", "CEC ="))
    result = run_ccnvr("train", path, "--out", tmp_path / "run")
    assert_one_sentence(
        result, 2, "CEC was measured in 0 spectra to train on", "'transforms'", "column CEC"
    )
    assert not (tmp_path / "run").exists()


def test_a_recipe_in_the_folder_is_not_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = tmp_path / "recipe.toml", tmp_path / "other.toml"
    mine.write_text("mine")
    other.write_text(recipes.SMALL)
    assert main(["train", str(other), "--out", str(tmp_path)]) == 2
    assert f"{mine} is another recipe and would be lost" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_figures_of_merit_by_hand() -> None:
    measured, predicted = (
        np.array([1.0, 2.0, 3.0, 4.0, np.nan]),
        np.array([1.5, 2.0, 3.0, 5.0, 9.0]),
    )
    found = accuracy(measured, predicted)
    assert (found.n, found.mae, found.bias) == (4, 0.375, 0.375)
    assert found.rmse == pytest.approx(np.sqrt(1.25 / 4))
    assert found.r2 == pytest.approx(1 - 1.25 / 5)
    assert found.rpiq == pytest.approx(1.5 / np.sqrt(1.25 / 4))
    assert found.rpd == pytest.approx(np.sqrt(5 / 3) / np.sqrt(1.25 / 4))
    assert accuracy(np.array([np.nan]), np.array([1.0])).rmse is None


def test_the_sum_of_a_run_s_data_survives_another_computer_s_rounding(tmp_path: Path) -> None:
    made = recipe_file.load(recipes.write(tmp_path))
    # As files in single precision hold them: many lie in the middle between two numbers of half
    # precision.
    spectra = (
        np.random.default_rng(2).uniform(0.1, 1.5, (40, 2000)).astype(np.float32).astype(np.float64)
    )
    spectra[:, ::7] = (spectra[:, ::7].astype(np.float16) + np.float16(0.0)).astype(
        np.float64
    ) + 2.0**-12
    pool = Soils(
        Grid(1104.0, 0.5, 2000),
        [str(row) for row in range(40)],
        ["UL.120"] * 40,
        spectra,
        np.ones((40, len(made.properties))),
        made.properties,
    )
    sums = {
        soils_of(made, dataclasses.replace(pool, spectra=changed))["data_sha256"]
        for changed in (spectra, np.nextafter(spectra, 0.0), np.nextafter(spectra, 9.0))
    }
    assert len(sums) == 1
    assert (
        soils_of(made, dataclasses.replace(pool, spectra=spectra + 0.002))["data_sha256"]
        not in sums
    )

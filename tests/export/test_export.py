"""Export: ONNX models against torch for every shape of network, the command, and the bundle."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.metrics import accuracy_table
from ccnvr.edge.cli import main
from ccnvr.edge.engines.litert import LiteRtSession
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.network.shape import Convolution, NetworkConfig
from ccnvr.edge.typed import build
from ccnvr.export import c_array, engines, proof_spectra
from ccnvr.export.model_files import WRITERS
from ccnvr.export.onnx.writer import to_onnx
from ccnvr.export.tflite.writer import to_tflite
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.calibration.splits import DEFAULT_RECIPE
from ccnvr.train.libraries import load as libraries
from ccnvr.train.network.ccnvr import CCNVR, parameters
from ccnvr.train.network.convert import to_arrays
from ccnvr.train.quantization import kept
from ccnvr.train.recipe import recipe_file as training_recipes
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import folder as run_folder
from tests.support import recipes
from tests.support.bundles_of_all import all_profiles
from tests.support.helpers import NETWORK_BUNDLE, assert_one_sentence, run_ccnvr
from tests.support.soil_files import write_soils

SHAPES: list[dict[str, Any]] = [
    *(
        {"cell": cell, "bidirectional": bidirectional}
        for cell in ("gru", "lstm")
        for bidirectional in (True, False)
    ),
    *recipes.SHAPES,
]


def network(**changes: Any) -> CCNVR:
    torch.manual_seed(3)
    net = CCNVR(recipes.network_config(**changes))
    net(3.0 + 2.0 * torch.randn(32, 2, 140))  # so that a network that standardises has statistics
    return net.eval()


def answers(model: bytes, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: inputs})[0])


@pytest.mark.parametrize("changes", SHAPES)
def test_the_graph_answers_as_torch_does(changes: dict[str, Any], rng: np.random.Generator) -> None:
    net, inputs = network(**changes), rng.normal(size=(5, 2, 140)).astype(np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(inputs)).numpy()
    model = to_onnx(to_arrays(net))
    np.testing.assert_allclose(answers(model, inputs), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(answers(model, inputs[:1]), expected[:1], rtol=0, atol=1e-6)
    assert (
        onnx.load_from_string(model).opset_import[0].version,
        onnx.load_from_string(model).ir_version,
    ) == (13, 8)
    assert to_onnx(to_arrays(net)) == model


@pytest.mark.parametrize("changes", SHAPES)
def test_int8_graphs_answer_as_numpy_does(
    changes: dict[str, Any], rng: np.random.Generator
) -> None:
    inputs = rng.normal(0.0, 2.0, (40, 2, 140)).astype(np.float32)
    for profile, data in all_profiles(network(**changes)).items():
        expected = NumpySession(data)(inputs)
        np.testing.assert_allclose(
            answers(to_onnx(data), inputs), expected, rtol=0, atol=1e-6, err_msg=profile
        )
        np.testing.assert_allclose(
            answers(to_onnx(data), inputs[:1]), expected[:1], rtol=0, atol=1e-6, err_msg=profile
        )


@pytest.mark.parametrize("changes", SHAPES)
def test_torch_s_own_exporter_agrees(changes: dict[str, Any], rng: np.random.Generator) -> None:
    net, inputs = network(**changes), rng.normal(size=(1, 2, 140)).astype(np.float32)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.from_numpy(inputs),), stream, dynamo=False)  # type: ignore[arg-type]
    np.testing.assert_allclose(
        answers(to_onnx(to_arrays(net)), inputs),
        answers(stream.getvalue(), inputs),
        rtol=0,
        atol=1e-6,
    )


def test_a_bundle_agrees_with_its_checkpoint_on_real_held_out_soils(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.ccnvr"
    monkeypatch.setattr(proof_spectra, "moisture_at_hand", lambda grid: None)
    assert main(["export", str(finished_run), "--out", str(path)]) == 0
    recipe, calibration, report = run_folder.load(finished_run)
    pool = load_soils(recipe.tests, recipe)
    assert len(pool.spectra) >= 200
    expected = fitting.predict(recipe, calibration, pool.spectra)
    for engine, profile, limit in (
        ("onnx", "fp32", 1e-4),
        ("litert", "weights", 0.02),
        ("numpy", "int8", 0.1),
    ):
        model = ProvedModel(str(path), engine, profile)
        predictor = model.bind(recipe.grid.wavelengths())
        found = np.array(
            [
                [estimate.value for estimate in predictor(spectrum).values()]
                for spectrum in pool.spectra
            ]
        )
        for column, target in enumerate(model.bundle.manifest.targets):
            difference = target.standardise(found[:, column]) - target.standardise(
                expected[:, column]
            )
            assert np.abs(difference).max() < limit
    manifest = model.bundle.manifest
    kinds, profiles = ("network", "onnx", "tflite"), ("fp32", "weights", "int8")
    assert {f"model.{profile}.{kind}" for profile in profiles for kind in kinds} < set(
        manifest.parts
    )
    assert manifest.card.accuracy == report.accuracy
    proof = manifest.card.parity["int8 on onnxruntime, against the NumPy engine"]
    assert (proof["spectra"], proof["held_out"]) == (215 + 221, 215)
    assert proof["largest"] <= 1e-5
    assert set(proof["rmse_inflation"]) == {"OC", "pH"}
    assert all(abs(share) < 0.01 for share in proof["rmse_inflation"].values())
    assert len(manifest.card.parity) == 3 * 4


def test_a_network_with_a_linear_path_is_trained_exported_and_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipes.write(tmp_path, recipes.SMALL.replace("[network]", "[network]\nlinear = true"))
    run, bundle = tmp_path / "run", tmp_path / "linear.ccnvr"
    monkeypatch.setattr(proof_spectra, "moisture_at_hand", lambda grid: None)
    assert main(["train", str(path), "--out", str(run)]) == 0
    assert main(["quantize", str(run), "--sensitivity"]) == 0
    assert re.search(r"^linear\.weight +560 ", capsys.readouterr().out, re.MULTILINE)
    assert main(["export", str(run), "--out", str(bundle), "--c-array", str(tmp_path / "c")]) == 0
    recipe, calibration, _ = run_folder.load(run)
    spectra = load_soils(("SL.125:test",), recipe).spectra
    expected = fitting.predict(recipe, calibration, spectra)
    for engine, profile, limit in (
        ("onnx", "fp32", 1e-4),
        ("litert", "weights", 0.02),
        ("numpy", "int8", 0.1),
    ):
        model = ProvedModel(str(bundle), engine, profile)
        predictor = model.bind(recipe.grid.wavelengths())
        found = np.array(
            [[estimate.value for estimate in predictor(spectrum).values()] for spectrum in spectra]
        )
        for column, target in enumerate(model.bundle.manifest.targets):
            difference = target.standardise(found[:, column]) - target.standardise(
                expected[:, column]
            )
            assert np.abs(difference).max() < limit


def test_an_export_writes_what_was_asked_for(finished_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "ph.ccnvr"
    options = ["--only", "tflite,network", "--profile", "int8", "--targets", "pH"]
    assert main(["export", str(finished_run), "--out", str(path), *options]) == 0
    bundle = bundles.read(path)
    assert {name for name in bundle.parts if name.startswith("model.")} == {
        "model.int8.tflite",
        "model.int8.network",
    }
    assert [target.name for target in bundle.manifest.targets] == ["pH"]
    assert {
        name
        for table in bundle.manifest.card.accuracy.values()
        for row in table.values()
        for name in row
    } == {"pH"}
    assert ProvedModel(str(path), "litert").self_test_difference < 0.05


def test_a_run_that_was_not_quantized_is_quantized_by_the_export(
    finished_run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished_run, tmp_path / "run")
    shutil.rmtree(folder / "quantized")
    assert (
        main(["export", str(folder), "--out", str(tmp_path / "x.ccnvr"), "--only", "network"]) == 0
    )
    kept = (finished_run / "quantized" / "int8.network").read_bytes()
    assert (folder / "quantized" / "int8.network").read_bytes() == kept


def test_an_export_in_fp32_alone_does_not_quantize(finished_run: Path, tmp_path: Path) -> None:
    folder, path = shutil.copytree(finished_run, tmp_path / "run"), tmp_path / "x.ccnvr"
    shutil.rmtree(folder / "quantized")
    options = ["--out", str(path), "--only", "network,onnx", "--profile", "fp32"]
    assert main(["export", str(folder), *options]) == 0
    assert main(["export", str(folder), *options, "--targets", "clay"]) == 2
    assert not (folder / "quantized").exists()
    assert ProvedModel(str(path), "numpy").self_test_difference < 1e-5
    assert all(title.startswith("fp32 on ") for title in bundles.read(path).manifest.card.parity)
    assert main(["export", str(folder), *options, "--c-array", str(tmp_path / "c")]) == 0
    assert (tmp_path / "c" / c_array.HEADER).exists() and (folder / "quantized").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--only", "onnx,torchscript"], "'torchscript' is not one of network, onnx, tflite"),
        (["--profile", "int4"], "'int4' is not one of fp32, weights, int8"),
        (["--targets", "clay"], "was not trained on clay but on OC, pH"),
        (["--targets", "gold"], "was not trained on gold but on OC, pH; name some"),
        (
            ["--tflite-python", "/nowhere/python"],
            "/nowhere/python is not a Python interpreter",
        ),
        (["--tflite-python", __file__], "test_export.py is not a Python interpreter that runs"),
        (
            ["--tflite-python", "/bin/true"],
            "/bin/true does not run tflite-runtime under ccnvr (it printed nothing)",
        ),
        (
            ["--tflite-python", sys.executable],
            "does not run tflite-runtime under ccnvr (the engine tflite needs",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    finished_run: Path,
    tmp_path: Path,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["export", str(finished_run), "--out", str(tmp_path / "x.ccnvr"), *options]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_export_needs_a_finished_run(tmp_path: Path) -> None:
    assert_one_sentence(
        run_ccnvr("export", tmp_path, "--out", tmp_path / "x"), 2, "holds no finished training run"
    )


def test_int8_model_files_of_a_network_of_97_thousand_weights_are_small() -> None:
    config = NetworkConfig(
        convolutions=(Convolution(32, 11, 4), Convolution(64, 7, 4), Convolution(80, 5, 2)),
        cell="gru",
        bidirectional=False,
        hidden=96,
        dense=52,
        in_channels=1,
        bands=2048,
        outputs=4,
    )
    network = CCNVR(config)
    assert (parameters(network), config.steps) == (96_984, 64)
    profiles = all_profiles(network.eval())
    for kind, writer in WRITERS.items():
        size = len(writer(profiles["int8"]))
        assert size <= 130_000, kind
        assert 3 * size <= len(writer(profiles["fp32"])), kind


@pytest.mark.parametrize("measured", [True, False])
def test_the_network_as_c_compiles_and_states_what_firmware_needs(
    finished_run: Path,
    tmp_path: Path,
    measured: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if measured:
        pytest.importorskip("tflite_micro")
    else:
        monkeypatch.setattr(c_array, "is_installed", lambda: False)
        monkeypatch.setattr(engines, "is_installed", lambda: False)
    folder = tmp_path / "c"
    options = ["--only", "tflite", "--profile", "int8", "--c-array", str(folder)]
    assert main(["export", str(finished_run), "--out", str(tmp_path / "x.ccnvr"), *options]) == 0
    printed, header = capsys.readouterr().out, (folder / c_array.HEADER).read_text()
    assert "TFLite Micro" not in str(bundles.read(tmp_path / "x.ccnvr").manifest.card.parity), (
        "whose model it does not hold"
    )
    assert (
        len(bundles.read(tmp_path / "x.ccnvr").manifest.card.parity) == 3
    )  # NumPy, LiteRT, LiteRT without XNNPACK
    assert ("C array on litert" in printed) == (not measured)
    assert ("TFLite Micro  " in printed) == ("CCNVR_MODEL_ARENA_BYTES" in header) == measured
    assert ("arena not measured" in printed) == ("was not measured" in header) == (not measured)
    assert "(resolver).AddMaxPool2D();" in header and "(resolver).AddWhile();" in header
    assert (
        "Input, float32 [1][2][140]: 140 bands, 1104 to 2494 nm by 10 nm, in channels of" in header
    )
    assert "1: absorbance, Savitzky-Golay of 5 bands, order 2, derivative 1 per nm, SNV\n" in header
    assert re.search(r"0: OC in g/kg, exp\(\S+ \+ \S+ \* z\) - 1, and not below 0\n", header)
    source = folder / c_array.SOURCE
    for compiler in (["gcc", "-std=c11"], ["gcc", "-std=c99"], ["gcc", "-x", "c++"]):
        if shutil.which(compiler[0]) is None:
            pytest.skip("no C compiler")
        command = [
            *compiler,
            "-Wall",
            "-Wextra",
            "-Werror",
            "-c",
            str(source),
            "-o",
            str(folder / "model.o"),
        ]
        subprocess.run(command, check=True, timeout=120)
    program = folder / "dump.c"
    program.write_text(
        f'#include <stdio.h>\n#include "{c_array.HEADER}"\n'
        "int main(void) { return fwrite(ccnvr_model, 1, ccnvr_model_bytes, stdout) != "
        "ccnvr_model_bytes; }\n"
    )
    subprocess.run(
        ["gcc", str(program), str(source), "-o", str(folder / "dump")], check=True, timeout=120
    )
    content = subprocess.run(
        [str(folder / "dump")], capture_output=True, check=True, timeout=20
    ).stdout
    recipe, calibration, _ = run_folder.load(finished_run)
    quantized = kept.load(finished_run, calibration)
    assert quantized is not None
    assert content == to_tflite(quantized.networks["int8"], micro=True)
    assert LiteRtSession(content)(np.zeros((1, len(recipe.channels), 140), np.float32)).shape == (
        1,
        2,
    )


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_long_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for out, options, code, words in (
        (
            "x.ccnvr",
            ["--c-array", str(tmp_path / "file" / "c")],
            2,
            "file is not a folder that can be written to; give another",
        ),
        ("file/x.ccnvr", [], 2, "cannot be written because there is no folder"),
        ("nowhere/x.ccnvr", [], 2, "cannot be written because there is no folder"),
        (".", [], 2, "is not a file that can be written; name a file"),
    ):
        # The run does not exist, which is not noticed before the folder is refused.
        assert main(["export", "no-run", "--out", str(tmp_path / out), *options]) == code
        assert words in capsys.readouterr().err


def test_both_files_of_a_c_array_are_written_or_neither(finished_run: Path, tmp_path: Path) -> None:
    recipe, calibration, _ = run_folder.load(finished_run)
    (tmp_path / c_array.HEADER).mkdir()
    model = c_array.MicroModel(b"model", ("ADD",), None)
    with pytest.raises(UsageError, match=c_array.HEADER):
        c_array.write_c_array(tmp_path, model, recipe.preprocessing, calibration.targets)
    assert [path.name for path in tmp_path.iterdir()] == [c_array.HEADER]
    (tmp_path / c_array.HEADER).rmdir()
    c_array.write_c_array(
        tmp_path, model, recipe.preprocessing, calibration.targets, corrected=True
    )
    assert (
        "log10(1/reflectance), after the bundle's correction.\n"
        in (tmp_path / c_array.HEADER).read_text()
    )


def test_tflite_micro_cannot_have_convolutions_stored_as_int8_and_computed_as_floats() -> None:
    with pytest.raises(ValueError, match="use profile fp32 or int8"):
        to_tflite(all_profiles(network())["weights"], micro=True)


def test_the_default_bundle_states_what_it_is(model: ProvedModel) -> None:
    manifest = model.bundle.manifest
    assert sum(part.bytes for part in manifest.parts.values()) < 4.5e6
    assert [target.name for target in manifest.targets] == ["OC", "N", "CEC", "pH", "clay"]
    assert [target.unit for target in manifest.targets] == ["g/kg", "g/kg", "cmol(+)/kg", "pH", "%"]
    assert all(target.half_width_90 for target in manifest.targets)
    card = manifest.card
    cross_validated, held_out = card.accuracy.values()
    assert set(held_out) == {"nirsoil", "CV.98", "SC.93", "SL.125", "SSP.460", "UL.120"}
    assert set(cross_validated) == {*held_out, "geeves"}
    for table in (cross_validated, held_out):
        for properties in table.values():
            for figures in properties.values():
                assert set(figures) == {"n", "r2", "rmse", "mae", "bias", "rpiq", "rpd"}
    assert all(part.endswith(":train") or part == "geeves" for part in card.soils["parts"])
    assert "CC BY-SA" in card.soils["sources"]["CV.98"]["licence"]
    (proof,) = [proof for name, proof in card.parity.items() if "onnx" in name and "fp32" in name]
    assert proof["spectra"] >= 200
    assert proof["largest"] < 1e-4


def test_an_export_is_made_of_the_soils_that_the_run_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(proof_spectra, "moisture_at_hand", lambda grid: None)
    mine = write_soils(Path("mine.csv"), "UL.120", 60)
    text = recipes.SMALL.replace('["UL.120:train", "SL.125:train"]', '["mine.csv"]').replace(
        "epochs = 3", "epochs = 1"
    )
    recipes.write(tmp_path, text.replace(', "SC.93", "UL.120:test", "SL.125:test"', ""))
    assert main(["train", "recipe.toml", "--out", "run"]) == 0
    content = mine.read_text()
    lines = content.splitlines()
    cells = lines[-1].split(",")
    value, band = ([*cells[:column], "0.9", *cells[column + 1 :]] for column in (1, 100))
    for changed in (lines[:-10], [*lines[:-1], ",".join(value)], [*lines[:-1], ",".join(band)]):
        mine.write_text("\n".join(changed))
        for command in (
            "export run --out x.ccnvr",
            "quantize run",
            "experiment domain run --out o",
        ):
            capsys.readouterr()
            assert main(command.split()) == 2
            words = (
                "the soils that run was trained on have changed since (60 then, "
                f"{len(changed) - 1} now)"
            )
            assert words in capsys.readouterr().err
    assert not Path("x.ccnvr").exists() and not Path("run/quantized").exists()
    mine.write_text(content)
    # 158 soils are too few to prove an export on, so those of LimeSoDa stand in.
    assert (
        main(["export", "run", "--out", "x.ccnvr", "--only", "network", "--profile", "fp32"]) == 0
    )
    assert "on 956 real spectra, 98 of them held out" in capsys.readouterr().out
    # Where none of their sets covers the model's wavelengths, mixtures of these soils do.
    monkeypatch.setattr(libraries, "open_sets", lambda *_: ())
    assert (
        main(["export", "run", "--out", "y.ccnvr", "--only", "network", "--profile", "fp32"]) == 0
    )
    assert (
        "158 real spectra, 98 of them held out from training, and 42 mixtures"
        in capsys.readouterr().out
    )


def test_an_export_overwrites_no_file_but_a_bundle(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library, old = tmp_path / "prec.csv", tmp_path / "old.ccnvr"
    library.write_text("sample_id,OC\n")
    assert main(["export", str(finished_run), "--out", str(library)]) == 2
    assert f"{library} exists already and is not a bundle" in capsys.readouterr().err
    assert library.read_text() == "sample_id,OC\n"
    content = bundles.read(NETWORK_BUNDLE)
    bundles.write(old, content.manifest, content.parts)
    assert (
        main(
            [
                "export",
                str(finished_run),
                "--out",
                str(old),
                "--only",
                "network",
                "--profile",
                "fp32",
            ]
        )
        == 0
    )
    assert bundles.read(old).manifest.name == "small"


def test_the_page_of_the_default_bundle_shows_its_accuracy(model: ProvedModel) -> None:
    page = (Path(__file__).parents[2] / "docs" / "default-model.md").read_text()
    for title, table in model.bundle.manifest.card.accuracy.items():
        assert f"{title}\n{accuracy_table(table)}" in page


def test_the_default_bundle_is_what_its_recipe_makes(model: ProvedModel) -> None:
    stated = model.bundle.manifest.card.training["recipe"]
    assert build(TrainingRecipe, stated) == training_recipes.load(DEFAULT_RECIPE)


def test_the_default_bundle_on_nirsoil_s_official_test_part(
    model: ProvedModel, nirsoil_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCNVR_DATA", str(nirsoil_data))
    grid = Grid(1100.0, 2.0, 700)
    test = libraries.load_library("nirsoil:test", grid)
    predictor = model.bind(grid.wavelengths())
    predicted = np.array(
        [predictor(spectrum[predictor.bands])["OC"].value for spectrum in test.spectra]
    )
    known = ~np.isnan(test.values[:, 0])
    measured, predicted = test.values[known, 0], predicted[known]
    r2 = 1.0 - np.sum((measured - predicted) ** 2) / np.sum((measured - measured.mean()) ** 2)
    assert r2 >= 0.90
    stated = model.bundle.manifest.card.accuracy["soils held out from training"]["nirsoil"]["OC"]
    assert stated["n"] == measured.size
    assert stated["r2"] == pytest.approx(r2, abs=2e-3)

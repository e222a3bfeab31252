"""Export: the ONNX graph against torch for every shape, the gate against wrong weights, and the bundle."""

from __future__ import annotations

import dataclasses
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import recipes
import torch
from helpers import assert_one_sentence, run_ccnvr
from onnx import numpy_helper

from ccnvr.edge.metrics import accuracy_table
from ccnvr.edge.onnx_backend import OnnxBackend
from ccnvr.edge.predictor import Model
from ccnvr.edge.preprocess import Grid
from ccnvr.export import parity
from ccnvr.export.onnx_writer import to_onnx
from ccnvr.export.parity import ParityError
from ccnvr.train import libraries
from ccnvr.train import run as runs
from ccnvr.train.network import CCNVR
from ccnvr.train.quantize import as_data

SHAPES: list[dict[str, Any]] = [
    *({"cell": cell, "bidirectional": bidirectional} for cell in ("gru", "lstm") for bidirectional in (True, False)),
    *recipes.SHAPES,
]


def network(**changes: Any) -> CCNVR:
    torch.manual_seed(3)
    net = CCNVR(recipes.network_config(**changes))
    net(3.0 + 2.0 * torch.randn(32, 2, 140))  # so that a network that standardises has seen spectra
    return net.eval()


def answers(model: bytes, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: inputs})[0])


@pytest.mark.parametrize("changes", SHAPES)
def test_the_graph_answers_as_torch_does(changes: dict[str, Any], rng: np.random.Generator) -> None:
    net, inputs = network(**changes), rng.normal(size=(5, 2, 140)).astype(np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(inputs)).numpy()
    model = to_onnx(as_data(net))
    np.testing.assert_allclose(answers(model, inputs), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(answers(model, inputs[:1]), expected[:1], rtol=0, atol=1e-6)
    assert (onnx.load_from_string(model).opset_import[0].version, onnx.load_from_string(model).ir_version) == (13, 8)
    assert to_onnx(as_data(net)) == model


@pytest.mark.parametrize("changes", SHAPES)
def test_torch_s_own_exporter_agrees(changes: dict[str, Any], rng: np.random.Generator) -> None:
    net, inputs = network(**changes), rng.normal(size=(1, 2, 140)).astype(np.float32)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.from_numpy(inputs),), stream, dynamo=False)  # type: ignore[arg-type]
    np.testing.assert_allclose(answers(to_onnx(as_data(net)), inputs), answers(stream.getvalue(), inputs), rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished small run."""
    folder = tmp_path_factory.mktemp("run")
    result = run_ccnvr("train", recipes.write(folder), "--out", folder / "run")
    assert result.returncode == 0, result.stderr
    return folder / "run"


def test_a_bundle_agrees_with_its_checkpoint_on_real_held_out_soils(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.ccnvr"
    result = run_ccnvr("export", finished, "--out", path)
    assert result.returncode == 0, result.stderr
    recipe, calibration, report = runs.load(finished)
    pool = runs.load_pool(recipe.tests, recipe)
    assert len(pool.spectra) >= 200
    model = Model(str(path))
    predictor = model.bind(recipe.grid.wavelengths())
    from ccnvr.train import fit as fitting

    expected = fitting.predict(recipe, calibration, pool.spectra)
    found = np.array([[estimate.value for estimate in predictor(spectrum).values()] for spectrum in pool.spectra])
    for column, target in enumerate(model.bundle.manifest.targets):
        difference = target.standardise(found[:, column]) - target.standardise(expected[:, column])
        assert np.abs(difference).max() < 1e-4
    card = model.bundle.manifest.card
    assert card.accuracy == report.accuracy
    assert card.parity["onnx fp32"]["spectra"] == len(pool.spectra)
    assert card.parity["onnx fp32"]["largest"] < 1e-4


def with_changed_weight(model: bytes, name: str) -> bytes:
    """The model with one weight tensor too large by a hundredth."""
    graph = onnx.load_from_string(model)
    weight = next(tensor for tensor in graph.graph.initializer if tensor.name == name)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), name))
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize(
    "name",
    [
        "convolution0.weight",
        "convolution0.bias",
        "convolution1.weight",
        "recurrent.W.rows",
        "recurrent.R.rows",
        "recurrent.B",
        "dense.weight",
        "output.bias",
    ],
)
def test_the_gate_refuses_a_changed_weight(finished: Path, name: str) -> None:
    recipe, calibration, _ = runs.load(finished)
    inputs, _ = parity.real_inputs(recipe)
    with torch.no_grad():
        # Three epochs leave weights so small that some hardly matter; a trained network's are larger.
        for weight in calibration.network.parameters():
            weight.mul_(2.0)
    expected = parity.torch_outputs(calibration, inputs)
    right = to_onnx(as_data(calibration.network))

    def check(model: bytes) -> parity.Parity:
        return parity.compare(OnnxBackend(model), inputs, expected, recipe.properties, parity.FP32_LIMIT)

    assert check(right).largest < 1e-5
    with pytest.raises(ParityError, match=r"differs from torch by .* on spectrum \d+, target (OC|pH), limit 0.0001"):
        check(with_changed_weight(right, name))


def test_a_failing_gate_writes_nothing(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ccnvr.edge.cli import main

    monkeypatch.setattr(parity, "FP32_LIMIT", -1.0)
    assert main(["export", str(finished), "--out", str(tmp_path / "x.ccnvr")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_export_needs_a_finished_run(finished: Path, tmp_path: Path) -> None:
    assert_one_sentence(run_ccnvr("export", tmp_path, "--out", tmp_path / "x"), 2, "holds no finished training run")


def test_few_held_out_soils_are_topped_up_with_training_soils(finished: Path) -> None:
    recipe, _, _ = runs.load(finished)
    inputs, held_out = parity.real_inputs(dataclasses.replace(recipe, tests=("UL.120:test",)))
    assert (len(inputs), held_out) == (12 + 221, 12)
    with pytest.raises(ParityError, match="120 real spectra are too few"):
        parity.real_inputs(dataclasses.replace(recipe, libraries=("UL.120:train",), tests=("UL.120:test",)))


def test_the_default_bundle_states_what_it_is(model: Model) -> None:
    manifest = model.bundle.manifest
    assert sum(part.bytes for part in manifest.parts.values()) < 1.5e6
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
    assert card.parity["onnx fp32"]["spectra"] >= 200
    assert card.parity["onnx fp32"]["largest"] < 1e-4


def test_the_default_bundle_s_page_shows_its_accuracy(model: Model) -> None:
    page = (Path(__file__).parent.parent / "docs" / "default-model.md").read_text()
    for title, table in model.bundle.manifest.card.accuracy.items():
        assert f"{title}\n{accuracy_table(table)}" in page


def test_the_default_bundle_on_nirsoil_s_official_test_part(
    model: Model, nirsoil_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCNVR_DATA", str(nirsoil_data))
    grid = Grid(1100.0, 2.0, 700)
    test = libraries.load("nirsoil:test", grid)
    predictor = model.bind(grid.wavelengths())
    predicted = np.array([predictor(spectrum[predictor.bands])["OC"].value for spectrum in test.spectra])
    known = ~np.isnan(test.targets[:, 0])
    measured, predicted = test.targets[known, 0], predicted[known]
    r2 = 1.0 - np.sum((measured - predicted) ** 2) / np.sum((measured - measured.mean()) ** 2)
    assert r2 >= 0.90
    stated = model.bundle.manifest.card.accuracy["soils held out from training"]["nirsoil"]["OC"]
    assert stated["n"] == measured.size
    assert stated["r2"] == pytest.approx(r2, abs=2e-3)

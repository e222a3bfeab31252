"""Quantization of a finished run: ranges, rounding, training as int8, and the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ccnvr.edge.cli import main
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.layers import StoredInt8
from ccnvr.edge.network.layout import stored_weights
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.commands import quantize as quantize_command
from ccnvr.train.network.ccnvr import CCNVR, with_outputs
from ccnvr.train.network.convert import to_arrays
from ccnvr.train.network.convert import with_outputs as data_with_outputs
from ccnvr.train.network.epochs import read_network
from ccnvr.train.quantization import kept, ranges, sensitivity
from ccnvr.train.quantization.aware import QuantizationAware
from ccnvr.train.quantization.rounding import input_products, rounded_to
from ccnvr.train.quantization.run import QuantizationSettings, calibration_split, quantize
from ccnvr.train.runs import folder as run_folder
from tests.support import recipes
from tests.support.bundles_of_all import all_profiles

SHAPES: list[dict[str, Any]] = [
    *(
        {"cell": cell, "bidirectional": bidirectional}
        for cell in ("gru", "lstm")
        for bidirectional in (True, False)
    ),
    *recipes.SHAPES,
]


def network_and_inputs(rng: np.random.Generator, **changes: Any) -> tuple[CCNVR, np.ndarray]:
    torch.manual_seed(2)
    network = CCNVR(recipes.network_config(**changes))
    # Like spectra, whose neighbouring bands are correlated.
    inputs = np.cumsum(rng.normal(0.0, 0.3, (80, 2, 140)), axis=2).astype(np.float32)
    network(torch.from_numpy(inputs))
    return network.eval(), inputs


@pytest.mark.parametrize("changes", SHAPES)
def test_training_as_int8_computes_what_numpy_does(
    changes: dict[str, Any], rng: np.random.Generator
) -> None:
    network, inputs = network_and_inputs(rng, **changes)
    profiles = all_profiles(network)
    for profile in ("weights", "int8"):
        student = QuantizationAware(network, dict(enumerate(profiles[profile].activations))).eval()
        with torch.inference_mode():
            found = student(torch.from_numpy(inputs)).numpy()
        difference = found - NumpySession(profiles[profile])(inputs)
        # A value half way between two steps may be rounded either way.
        assert np.sqrt(np.mean(difference**2)) < 2e-4
        assert np.median(np.abs(difference)) < 1e-6


def test_training_as_int8_trains_every_weight_and_keeps_statistics(
    rng: np.random.Generator,
) -> None:
    network, inputs = network_and_inputs(rng, standardise=True, linear=True, dropout=0.5)
    student = QuantizationAware(
        network, dict(enumerate(all_profiles(network)["int8"].activations))
    ).train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    first, second = student(torch.from_numpy(inputs)), student(torch.from_numpy(inputs))
    torch.testing.assert_close(first, second)
    first.square().mean().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().max() > 0
        for parameter in student.parameters()
    )
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert network.dense is not None and network.dense.weight.grad is None


@pytest.mark.parametrize("changes", SHAPES)
def test_rounding_with_compensation_changes_layers_less_than_to_the_nearest(
    changes: dict[str, Any], rng: np.random.Generator
) -> None:
    network, inputs = network_and_inputs(rng, **changes)
    products, tensors = input_products(network, inputs), to_arrays(network).tensors()
    assert set(products) == set(stored_weights(network.config))
    errors, widths = [], []
    for name, product in products.items():
        weight = tensors[name]
        flat = weight.reshape(len(weight), -1).astype(np.float64)
        nearest, compensated = (
            flat - stored.restored().reshape(flat.shape)
            for stored in (StoredInt8.of(weight), rounded_to(weight, product))
        )
        widths.append(flat.shape[1])
        # The squared change of all outputs together: the sum over them of e^T (sum x x^T) e.
        errors.append(
            [
                float(np.einsum("oi,ij,oj->", error, product, error))
                for error in (nearest, compensated)
            ]
        )
    found = np.array(errors)
    assert np.all(found[:, 1] <= 1.001 * found[:, 0])
    # What has more inputs has more to make up for an error with.
    widest = int(np.argmax(widths))
    assert found[widest, 1] < 0.9 * found[widest, 0]


def test_ranges_leave_out_what_lies_beyond_the_percentile(rng: np.random.Generator) -> None:
    network, inputs = network_and_inputs(rng)
    inputs[0, 0, 0] = 1000.0
    (all_of_it,), (most_of_it,) = (
        ranges.ranges(to_arrays(network), inputs, (p,)) for p in (100.0, 99.9)
    )
    assert all_of_it[0].scale > 20 * most_of_it[0].scale
    assert all(scale.zero_point == -128 for scale in most_of_it[1:])
    assert len(most_of_it) == 3


def test_of_an_activation_too_large_to_keep_every_band_is_seen_and_no_extreme_is_lost(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_MOST_NUMBERS", 20 * 280 // 8)
    network, inputs = network_and_inputs(rng)
    inputs = inputs[:20].copy()
    inputs[:, :, 1::2] = (
        np.abs(inputs[:, :, 1::2]) + 20.0
    )  # in every other band, which steps of 8 from 0 never see
    inputs[7, 1, 13] = 1000.0
    inputs[11, 0, 5] = -500.0
    (extremes,), (most,) = (ranges.ranges(to_arrays(network), inputs, (p,)) for p in (100.0, 99.0))
    assert extremes[0].scale == np.float32(1500.0 / 255.0)
    assert 20.0 < 255 * most[0].scale < 50.0


@pytest.mark.parametrize("linear", [False, True])
def test_a_network_with_fewer_outputs_gives_the_same_values(
    linear: bool, rng: np.random.Generator
) -> None:
    network, inputs = network_and_inputs(rng, linear=linear)
    for data in all_profiles(network).values():
        expected = NumpySession(data)(inputs)[:, [2, 0]]
        np.testing.assert_allclose(
            NumpySession(data_with_outputs(data, [2, 0]))(inputs), expected, rtol=0, atol=1e-6
        )
    with torch.inference_mode():
        whole, some = (
            one(torch.from_numpy(inputs)) for one in (network, with_outputs(network, [2, 0]))
        )
    torch.testing.assert_close(some, whole[:, [2, 0]])


def test_a_quantized_run_is_near_its_float_network_and_is_found_again(finished_run: Path) -> None:
    _, calibration, _ = run_folder.load(finished_run)
    quantized = kept.load(finished_run, calibration)
    assert quantized is not None
    report = quantized.report
    chosen = report.candidates[report.chosen]
    assert chosen.difference == min(candidate.difference for candidate in report.candidates) < 0.05
    assert report.weights_difference < 0.01
    assert {network.profile for network in quantized.networks.values()} == {
        "fp32",
        "weights",
        "int8",
    }
    assert (report.calibration_soils, report.validation_soils) == (110, 111)


def test_a_run_trained_again_is_quantized_again(finished_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished_run, tmp_path / "run")
    _, calibration, _ = run_folder.load(folder)
    checkpoint = folder / "final" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes() + b"\0")
    assert kept.load(folder, calibration) is None


def test_damaged_quantized_networks_are_one_clear_error(finished_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished_run, tmp_path / "run")
    _, calibration, _ = run_folder.load(folder)
    network = folder / "quantized" / "int8.network"
    network.write_bytes(network.read_bytes()[:-1])
    with pytest.raises(CcnvrError, match=r"damaged .*; run ccnvr quantize"):
        kept.load(folder, calibration)


def test_networks_that_could_not_all_be_written_are_not_mixed_with_older_ones(
    finished_run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished_run, tmp_path / "run")
    recipe, calibration, _ = run_folder.load(folder)
    assert kept.load(folder, calibration) is not None
    (folder / "quantized" / "int8.network").unlink()
    (
        folder / "quantized" / "int8.network"
    ).mkdir()  # a folder, so that it cannot be written, and the network before it can
    soils = calibration_split(recipe, load_soils(recipe.libraries, recipe))
    with pytest.raises(CcnvrError, match=r"int8.network"):
        quantize(folder, recipe, calibration, soils, QuantizationSettings((99.0,)))
    assert kept.load(folder, calibration) is None
    (folder / "quantized" / "int8.network").rmdir()
    again = quantize(folder, recipe, calibration, soils, QuantizationSettings((99.0,)))
    found = kept.load(folder, calibration)
    assert found is not None and found.report == again.report


def test_the_tests_of_a_recipe_are_not_read(finished_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished_run, tmp_path / "run")
    recipe = folder / "recipe.toml"
    text = recipe.read_text()
    recipe.write_text(text.replace('tests = ["CV.98"', 'tests = ["nowhere.csv"'))
    assert recipe.read_text() != text
    assert main(["quantize", str(folder)]) == 0


def test_the_command_trains_as_int8_and_prints_the_cost_of_each_tensor(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished_run, tmp_path / "run")
    arguments = [
        "quantize",
        str(folder),
        "--epochs",
        "2",
        "--percentile",
        "99.9",
        "--percentile",
        "100",
        "--sensitivity",
    ]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [(one["percentile"], one["epochs"]) for one in result["candidates"]][:2] == [
        (99.9, 0),
        (100.0, 0),
    ]
    assert result["candidates"][2]["epochs"] == 2
    costs = result["sensitivity"]
    names = {cost["tensor"] for cost in costs}
    assert {
        "input",
        "convolution0 output",
        "convolution1 output",
        "convolution0.weight",
        "backward.state_weight",
    } <= names
    differences = [cost["difference"] for cost in costs]
    assert differences == sorted(differences, reverse=True)
    assert all(set(cost["rmse_increase"]) == {"OC", "pH"} for cost in costs)
    assert not list((folder / "quantized").glob("*.pt"))
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "kept" in printed and "next: ccnvr export" in printed


def test_training_as_int8_continues_where_it_was_interrupted(
    finished_run: Path, tmp_path: Path
) -> None:
    recipe, calibration, _ = run_folder.load(finished_run)
    soils = calibration_split(recipe, load_soils(recipe.libraries, recipe))
    settings = QuantizationSettings(epochs=3)
    results = []
    for name in ("whole", "interrupted"):
        folder = shutil.copytree(finished_run, tmp_path / name)
        seen = 0

        def advance(count: int, interrupt: bool = name == "interrupted") -> None:
            nonlocal seen
            seen += count
            if interrupt and seen > 2 * len(soils.train):
                raise KeyboardInterrupt

        if name == "interrupted":
            with pytest.raises(KeyboardInterrupt):
                quantize(folder, recipe, calibration, soils, settings, advance)
            assert list((folder / "quantized").glob("training-*.pt"))
        results.append(quantize(folder, recipe, calibration, soils, settings).report)
    assert results[0] == results[1]


def test_an_interruption_is_reported_with_what_to_do_next(
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quantize_command, "quantize_with_progress", interrupted)
    for options, words in (
        ((), "starts again"),
        (("--epochs", "2"), "continues after the last finished epoch"),
    ):
        assert main(["quantize", str(finished_run), *options]) == 1
        assert f"interrupted; the same command {words}" in capsys.readouterr().err


def test_a_property_that_no_validation_soil_has_is_left_out_of_the_costs(
    finished_run: Path,
) -> None:
    recipe, calibration, _ = run_folder.load(finished_run)
    quantized = kept.load(finished_run, calibration)
    assert quantized is not None
    soils = calibration_split(recipe, load_soils(recipe.libraries, recipe))
    soils.test.values[:, 0] = np.nan
    for cost in sensitivity.costs(recipe, calibration, quantized, soils):
        assert set(cost.rmse_increase) == {"pH"} and np.isfinite(cost.rmse_increase["pH"])


def test_a_checkpoint_of_another_network_or_none_is_one_sentence(
    finished_run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished_run, tmp_path / "run")
    text = (folder / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(text.replace("hidden = 8", "hidden = 9"))
    with pytest.raises(
        CcnvrError,
        match=r"^\S*checkpoint.pt holds another network than its recipe asks for; [^\n]*$",
    ):
        run_folder.load(folder)
    (folder / "recipe.toml").write_text(text)
    (folder / "final" / "checkpoint.pt").unlink()
    with pytest.raises(
        CcnvrError,
        match=r"checkpoint.pt cannot be read \(No such file or directory\); run ccnvr train",
    ):
        run_folder.load(folder)
    assert (
        read_network(
            finished_run / "final" / "checkpoint.pt", run_folder.load(finished_run)[0]
        ).config.hidden
        == 8
    )


def test_wrong_use_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, words in (
        ((), "holds no finished training run"),
        (("--percentile", "20"), "20.0 is out of range; give a number from 50.0 to 100.0"),
    ):
        assert main(["quantize", str(tmp_path), *options]) == 2
        assert words in capsys.readouterr().err

"""Models with kernel members: engines answer as float64 does, and the way to a bundle."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from ccnvr.edge.cli import main
from ccnvr.edge.engines import onnx
from ccnvr.edge.engines.isolated import IsolatedSession
from ccnvr.edge.engines.litert import LiteRtSession
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.network.kernels import KernelMember
from ccnvr.edge.network.layers import NetworkArrays, assemble
from ccnvr.edge.network.members import members_alone
from ccnvr.edge.network.shape import KernelShape
from ccnvr.export import c_array
from ccnvr.export.engines import available
from ccnvr.export.model_files import WRITERS, ModelFile
from ccnvr.export.onnx.writer import to_onnx
from ccnvr.export.parity import Gate
from ccnvr.export.proof_spectra import ProofError, ProofSpectra, hostile_inputs
from ccnvr.export.tflite.writer import to_tflite
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import finetuning
from ccnvr.train.network.ccnvr import CCNVR, network_outputs, with_outputs
from ccnvr.train.network.convert import as_torch, to_arrays
from ccnvr.train.network.convert import with_outputs as arrays_with_outputs
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs.base import read_base
from tests.support import kernel_members, recipes
from tests.support.bundles_of_all import all_profiles
from tests.support.helpers import assert_one_sentence, run_ccnvr

SMALL_LIMIT = 2e-5
PROMISED = 3e-4
"""The largest difference from float64, in sd, that an exported model may have."""

ENGINES: dict[str, Callable[[NetworkArrays], Any]] = {
    "numpy": NumpySession,
    "onnxruntime": lambda network: onnx.open_model(to_onnx(network)),
    "litert": lambda network: LiteRtSession(to_tflite(network)),
    "litert without XNNPACK": lambda network: LiteRtSession(to_tflite(network), xnnpack=False),
}

kinds = st.lists(
    st.builds(
        KernelShape,
        kind=st.sampled_from(("matern32", "rbf")),
        length=st.floats(0.01, 100.0),
        components=st.integers(1, 20),
        soils=st.one_of(st.integers(1, 60), st.integers(120, 300)),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=40)
@given(kinds, st.integers(1, 3), st.integers(1, 40), st.integers(1, 4), st.booleans())
def test_every_engine_answers_as_float64_does(
    shapes: list[KernelShape], channels: int, bands: int, outputs: int, linear: bool
) -> None:
    network = kernel_members.alone(channels, bands, outputs, tuple(shapes), linear)
    inputs = np.random.default_rng(3).normal(size=(5, channels, bands)).astype(np.float32)
    exact = network_outputs(as_torch(network), inputs)
    for name, engine in ENGINES.items():
        found = engine(network)(inputs)
        assert found.dtype == np.float32 and found.shape == exact.shape
        assert np.abs(found - exact).max() <= SMALL_LIMIT, name


@pytest.mark.parametrize("changes", [{}, {"cell": "lstm"}, *recipes.SHAPES])
def test_members_beside_a_network_are_written_in_every_profile(
    changes: dict[str, Any], rng: np.random.Generator
) -> None:
    torch.manual_seed(1)
    network = CCNVR(recipes.network_config(**changes)).eval()
    both = kernel_members.with_kernels(network)
    inputs = rng.normal(size=(4, 2, 140)).astype(np.float32)
    for profile, arrays in all_profiles(both).items():
        expected = NumpySession(arrays)(inputs)
        for name in ("onnxruntime", "litert", "litert without XNNPACK"):
            limit = SMALL_LIMIT
            if profile == "int8" and name != "onnxruntime":
                limit += 0.25 * max((one.scale for one in arrays.activations), default=0.0)
            assert np.abs(ENGINES[name](arrays)(inputs) - expected).max() <= limit, (profile, name)


def test_tflite_runtime_answers_as_numpy_does(tflite_python: Path) -> None:
    network = fitted(391, 32, "matern32")
    inputs = some_inputs(40)
    with IsolatedSession("tflite", to_tflite(network), python=tflite_python) as session:
        found = session(inputs)
    assert np.abs(found - network_outputs(as_torch(network), inputs)).max() <= PROMISED


def test_it_holds_builtin_operators_only_and_one_copy_of_each_array() -> None:
    network = fitted(391, 32, "rbf")
    content = to_tflite(network)
    assert to_tflite(network) == content and to_onnx(network) == to_onnx(network)
    codes = schema.ModelT.InitFromPackedBuf(content, 0).operatorCodes
    assert schema.BuiltinOperator.CUSTOM not in {code.builtinCode for code in codes}
    arrays = sum(value.nbytes for value in network.tensors().values())
    for written in (content, to_onnx(network)):
        assert arrays < len(written) < arrays + 12_000


CHANNELS, BANDS, OUTPUTS = 4, 150, 3


@cache
def soils() -> tuple[np.ndarray, np.ndarray]:
    """Model inputs of 3,000 soils that vary in few ways as spectra do, and three properties."""
    rng = np.random.default_rng(11)
    ways = np.cumsum(np.cumsum(rng.normal(size=(120, CHANNELS * BANDS)), axis=1), axis=1)
    ways /= ways.std(axis=1, keepdims=True)
    amounts = rng.normal(size=(3000, 120)) / np.arange(1, 121) ** 1.2
    spectra = 0.5 + amounts @ ways + rng.normal(0.0, 1e-3, (3000, CHANNELS * BANDS))
    values = np.stack([amounts[:, 0], np.tanh(amounts[:, 1] * 3.0), amounts[:, 2] ** 2], axis=1)
    values += rng.normal(0.0, 0.3, values.shape)
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    return spectra.astype(np.float32), values


@cache
def fitted(count: int, components: int, kind: str, noise: float = 0.15) -> NetworkArrays:
    """A process on half-whitened components, its length the median distance, as one member."""
    spectra, values = soils()
    known = spectra[:count].astype(np.float64)
    centre = known.mean(axis=0)
    _, sizes, ways = np.linalg.svd(known - centre, full_matrices=False)
    half = np.sqrt(sizes[:components] / np.sqrt(count))
    directions = ways[:components] / half[:, None]
    placed = (known - centre) @ directions.T
    norms = (placed**2).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms - 2.0 * placed @ placed.T, 0.0)
    length = float(np.sqrt(np.median(squares)))
    root = np.sqrt(3.0 * squares) / length
    similar = (
        (1.0 + root) * np.exp(-root) if kind == "matern32" else np.exp(-squares / 2.0 / length**2)
    )
    weights = np.linalg.solve(similar + noise * np.eye(count), values[:count])
    arrays = [
        np.ascontiguousarray(array, dtype=np.float32)
        for array in (centre, directions, placed, weights, np.zeros(OUTPUTS))
    ]
    return members_alone(CHANNELS, BANDS, [KernelMember(kind, length, *arrays)])


def some_inputs(count: int) -> np.ndarray:
    """Inputs of soils that were not fitted and, as many, that were."""
    spectra, _ = soils()
    return np.concatenate([spectra[-count:], spectra[:count]]).reshape(-1, CHANNELS, BANDS)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["matern32", "rbf"])
@pytest.mark.parametrize(("count", "components"), [(391, 32), (2700, 64)])
def test_a_process_of_many_soils_is_within_what_is_promised(
    count: int, components: int, kind: str, engine: str
) -> None:
    network, inputs = fitted(count, components, kind), some_inputs(200)
    exact = network_outputs(as_torch(network), inputs)
    assert np.abs(ENGINES[engine](network)(inputs) - exact).max() <= PROMISED


def test_some_of_the_outputs_can_be_kept(rng: np.random.Generator) -> None:
    network = kernel_members.alone(linear=True)
    inputs = rng.normal(size=(3, 2, 140)).astype(np.float32)
    all_outputs = NumpySession(network)(inputs)
    few = arrays_with_outputs(network, [2, 0])
    np.testing.assert_allclose(NumpySession(few)(inputs), all_outputs[:, [2, 0]], atol=1e-5)
    narrow = with_outputs(as_torch(network), [2, 0])
    np.testing.assert_allclose(network_outputs(narrow, inputs), all_outputs[:, [2, 0]], atol=1e-5)


def test_firmware_gets_no_kernel_members() -> None:
    with pytest.raises(UsageError, match=r"cannot write a model with kernel members.*31 soils"):
        c_array.micro_model(kernel_members.alone())


def with_members(run: Path, folder: Path, alone: bool) -> Path:
    """A copy of a finished run whose network has kernel members beside it, or gives way to them."""
    shutil.copytree(run, folder)
    _, calibration, _ = run_folder.load(folder)
    config = calibration.network.config
    network = kernel_members.with_kernels(calibration.network)
    if alone:
        kernels = to_arrays(network).kernels
        network = as_torch(members_alone(config.in_channels, config.bands, kernels))
    run_folder.keep_network(folder, network)
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["beside a network", "alone"])
def run_with_members(
    request: pytest.FixtureRequest, finished_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return with_members(finished_run, tmp_path_factory.mktemp("run") / "run", request.param)


@pytest.mark.slow
def test_a_run_with_members_is_exported_inspected_and_run(
    run_with_members: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "x.ccnvr"
    assert main(["export", str(run_with_members), "--out", str(bundle)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("litert without XNNPACK") == 3
    shown = run_ccnvr("inspect", bundle).stdout
    alone = run_folder.load(run_with_members)[1].network.config.members_only
    words = "predicts with the sum of " + ("" if alone else "a network, ")
    words += "a kernel (matern32) of 20 spectra in 7 components, a kernel (rbf) of 11"
    assert words in shown
    assert "privacy: the principal components of these soils travel in the file" in shown
    assert "kernel_members:" not in shown
    for engine in ("onnx", "litert", "numpy"):
        for profile in ("fp32", "weights", "int8"):
            model = ProvedModel(str(bundle), engine, profile)
            assert model.self_test_difference < (1e-3 if alone or profile != "int8" else 0.2)


@pytest.mark.slow
def test_quantizing_says_what_cannot_be_trained(run_with_members: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run_with_members, tmp_path / "run")
    done = run_ccnvr("quantize", folder, "--epochs", 1)
    if run_folder.load(folder)[1].network.config.members_only:
        assert_one_sentence(done, 2, "kernel members only", "leave --epochs out")
        assert run_ccnvr("quantize", folder, "--sensitivity").returncode == 0
    else:
        assert done.returncode == 0, done.stderr
        assert main(["export", str(folder), "--out", str(tmp_path / "x.ccnvr")]) == 0


@pytest.mark.slow
def test_c_source_is_refused_before_the_long_work(run_with_members: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "x.ccnvr", "--c-array", tmp_path / "c"]
    refused = run_ccnvr("export", run_with_members, *out)
    assert_one_sentence(refused, 2, "kernel members", "leave --c-array out")
    assert list(tmp_path.iterdir()) == []


def _sign(name: str) -> Callable[[dict[str, Any]], None]:
    """The largest number of an array, with the other sign."""

    def change(tensors: dict[str, Any]) -> None:
        place = np.unravel_index(int(np.argmax(np.abs(tensors[name]))), tensors[name].shape)
        tensors[name][place] *= -1.0

    return change


def _soils_reversed(tensors: dict[str, Any]) -> None:
    tensors["kernel0.soils"] = np.ascontiguousarray(tensors["kernel0.soils"][::-1])


def _outputs_reversed(tensors: dict[str, Any]) -> None:
    tensors["kernel0.weights"] = np.ascontiguousarray(tensors["kernel0.weights"][:, ::-1])


def _bias(tensors: dict[str, Any]) -> None:
    tensors["kernel0.bias"] = tensors["kernel0.bias"] + np.float32(1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "layer"),
    [
        (_sign("kernel0.weights"), "kernel0"),
        (_sign("kernel0.soils"), "kernel0.similarities"),
        (_sign("kernel0.centre"), "kernel0.components"),
        (_sign("kernel0.components"), "kernel0.components"),
        # A folded member sorts its soils, which are the right ones; they have others' weights.
        (_soils_reversed, "kernel0"),
        (_outputs_reversed, "kernel0"),
        (_bias, "properties"),
    ],
)
def test_the_gate_catches_faults_of_members_and_names_the_layer(
    change: Callable[[dict[str, Any]], None], layer: str
) -> None:
    network, inputs = fitted(391, 32, "matern32"), some_inputs(100)
    spectra = ProofSpectra(
        inputs,
        [str(number) for number in range(len(inputs))],
        np.full((len(inputs), OUTPUTS), np.nan),
        0,
        hostile_inputs(inputs),
    )
    gate = Gate(as_torch(network), {"fp32": network}, spectra, ("a", "b", "c"))
    tensors = {name: value.copy() for name, value in network.tensors().items()}
    change(tensors)
    wrong = assemble(network.config, "fp32", (), tensors)
    for engine in available():
        gate.prove(engine, ModelFile("fp32", engine.format, WRITERS[engine.format](network)))
        with pytest.raises(ProofError, match=rf"first in layer {layer};"):
            gate.prove(engine, ModelFile("fp32", engine.format, WRITERS[engine.format](wrong)))


@pytest.mark.slow
def test_fine_tuning_keeps_the_members_or_says_that_there_is_no_network(
    run_with_members: Path, tmp_path: Path, soils_csv: Path
) -> None:
    base = read_base(str(run_with_members))
    if base.calibration.network.config.members_only:
        out = tmp_path / "out"
        words = ("--network", "yes", "--out", out)
        refused = run_ccnvr("finetune", run_with_members, soils_csv, *words)
        assert_one_sentence(refused, 2, "network")
        assert not out.exists()
        return
    rng = np.random.default_rng(2)
    spectra = 0.5 + 0.01 * np.cumsum(rng.normal(size=(12, base.recipe.grid.bands)), axis=1)
    values = rng.uniform(3.0, 8.0, (12, len(base.calibration.targets)))
    recipe = base.recipe
    context = Fitting(dataclasses.replace(recipe, fit=dataclasses.replace(recipe.fit, epochs=1)), 0)
    tuned = finetuning.finetune(context, base.calibration, spectra, values)
    before, after = to_arrays(base.calibration.network), to_arrays(tuned.network)
    assert pack_of(after.kernels) == pack_of(before.kernels)
    assert not np.array_equal(after.tensors()["dense.weight"], before.tensors()["dense.weight"])


def pack_of(members: tuple[KernelMember, ...]) -> list[bytes]:
    return [value.tobytes() for member in members for value in member.tensors().values()]

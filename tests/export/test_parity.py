"""The parity gate: right model files pass on every engine, faults are caught and located."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccnvr.edge.cli import main
from ccnvr.edge.network.layers import NetworkArrays
from ccnvr.edge.network.layout import PROFILES
from ccnvr.export import parity, proof_spectra
from ccnvr.export.engines import (
    LITERT,
    LITERT_PLAIN,
    NUMPY,
    ONNXRUNTIME,
    TFLITE_RUNTIME,
    ProofEngine,
    available,
)
from ccnvr.export.model_files import WRITERS, ModelFile
from ccnvr.export.parity import Gate
from ccnvr.export.proof_spectra import ProofError, ProofSpectra
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Fit
from ccnvr.train.recipe.settings import Augmentation
from ccnvr.train.runs import folder as run_folder
from tests.support.bundles_of_all import all_profiles
from tests.support.mutations import (
    LINEAR,
    MUTATIONS,
    STORED,
    Mutation,
    mutated,
    onnx_attribute,
    onnx_constant,
    onnx_operator,
    onnx_without,
    tflite_changed,
    with_activation,
)

ENGINES = {engine.name: engine for engine in available()}
NAMES = (NUMPY, ONNXRUNTIME, LITERT, LITERT_PLAIN)


@dataclass(frozen=True)
class Bench:
    """A gate with real spectra, and the networks that it compares model files with."""

    gate: Gate
    network: CCNVR
    networks: dict[str, NetworkArrays]
    spectra: ProofSpectra

    def write(self, profile: str, engine: str) -> ModelFile:
        return written(self.networks[profile], profile, engine)

    def refuses(self, engine: str, file: ModelFile, layers: tuple[str, ...] = ()) -> str:
        """Return the gate's message about a wrong model file, which must name one of the layers."""
        with pytest.raises(
            ProofError, match=r"differs from .* on spectrum .*, target (OC|pH), limit .*"
        ) as caught:
            self.gate.prove(ENGINES[engine], file)
        message = str(caught.value)
        assert not layers or any(f"first in layer {layer};" in message for layer in layers), message
        return message


def written(network: NetworkArrays, profile: str, engine: str) -> ModelFile:
    """Return a network as the model file that an engine reads, right or wrong."""
    name = ENGINES[engine].format
    return ModelFile(profile, name, WRITERS[name](network))


@pytest.fixture(scope="module")
def bench(finished_run: Path) -> Bench:
    return made_bench(finished_run)


@pytest.fixture(scope="module")
def linear_bench(finished_run: Path) -> Bench:
    """Return a bench of a network with a linear path, which hides faults in the other path."""
    return made_bench(finished_run, linear=True)


def made_bench(finished_run: Path, linear: bool = False) -> Bench:
    recipe, _, _ = run_folder.load(finished_run)
    # Larger and trained for longer than the run's: many weights of a network that has learnt little
    # hardly matter.
    longer = dataclasses.replace(
        recipe,
        network=dataclasses.replace(
            recipe.network, hidden=16, dense=32, dropout=0.0, linear=linear
        ),
        fit=Fit(
            epochs=30,
            batch_size=16,
            learning_rate=5e-3,
            augmentation=Augmentation(slope=0.0, input_shift=0.0),
        ),
    )
    pool = load_soils(recipe.libraries, recipe)
    network = fitting.fit(Fitting(longer, 0), pool.spectra, pool.values).network
    spectra = proof_spectra.collect_spectra(recipe, lambda: pool)
    few = dataclasses.replace(spectra, real=spectra.real[:150], names=spectra.names[:150])
    networks = all_profiles(network)
    return Bench(Gate(network, networks, few, recipe.properties), network, networks, few)


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize("profile", PROFILES)
def test_right_model_files_pass(bench: Bench, profile: str, engine: str) -> None:
    found, outputs = bench.gate.prove(ENGINES[engine], bench.write(profile, engine))
    limit = parity.LIMITS[profile, engine]
    assert found.largest <= limit.largest and found.rms <= limit.rms
    assert (found.spectra, outputs.shape) == (150, (150, 2))
    assert found.hostile > 0.0 or engine == NUMPY


def test_tflite_runtime_in_an_environment_of_its_own_passes(
    bench: Bench, tflite_python: Path
) -> None:
    engine = next(engine for engine in available(tflite_python) if engine.name == TFLITE_RUNTIME)
    for profile in PROFILES:
        found, _ = bench.gate.prove(engine, bench.write(profile, LITERT))
        assert found.rms <= parity.LIMITS[profile, TFLITE_RUNTIME].rms


@pytest.mark.parametrize("engine", [NUMPY, ONNXRUNTIME, LITERT])
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_faults_of_float_model_files_are_caught(
    bench: Bench, mutation: Mutation, engine: str
) -> None:
    wrong = written(mutated(bench.networks["fp32"], mutation), "fp32", engine)
    assert "differs from torch" in bench.refuses(engine, wrong, mutation.layers)


@pytest.mark.parametrize(("profile", "engine"), [("int8", ONNXRUNTIME), ("weights", LITERT)])
@pytest.mark.parametrize("mutation", [*MUTATIONS, *STORED], ids=lambda mutation: mutation.name)
def test_faults_of_int8_weights_are_caught(
    bench: Bench, mutation: Mutation, profile: str, engine: str
) -> None:
    wrong = written(mutated(bench.networks[profile], mutation), profile, engine)
    assert "differs from the NumPy engine" in bench.refuses(engine, wrong, mutation.layers)


# Without the quantized networks on NumPy, which are compared with torch and so have room for the
# cost of rounding.
@pytest.mark.parametrize(
    ("profile", "engine"),
    [
        ("fp32", NUMPY),
        *(
            (profile, engine)
            for profile in PROFILES
            for engine in (ONNXRUNTIME, LITERT, LITERT_PLAIN)
        ),
    ],
)
def test_faults_of_a_linear_path_are_caught(linear_bench: Bench, profile: str, engine: str) -> None:
    linear_bench.gate.prove(ENGINES[engine], linear_bench.write(profile, engine))
    for mutation in LINEAR:
        wrong = written(mutated(linear_bench.networks[profile], mutation), profile, engine)
        # Each engine rounds int8 convolutions in its way, so the gate may name one of these before
        # it comes to the linear path.
        exact = profile != "int8" or engine == ONNXRUNTIME
        linear_bench.refuses(engine, wrong, mutation.layers if exact else ())


@pytest.mark.parametrize("engine", NAMES)
def test_a_linear_path_whose_sum_comes_to_nothing_passes(linear_bench: Bench, engine: str) -> None:
    """Engines add up in different orders, so such a sum consists of rounding errors."""
    network, inputs = linear_bench.network, 1e3 * np.random.default_rng(4).normal(size=(1, 280))
    weight = linear_bench.networks["fp32"].linear
    assert isinstance(weight, np.ndarray)
    inputs -= np.linalg.lstsq(weight, weight @ inputs[0], rcond=None)[0]
    assert (
        np.abs(weight @ inputs[0]).max() < 1e-2 < 1e3 < (np.abs(weight) @ np.abs(inputs[0])).min()
    )
    hostile = {"cancelling": inputs.reshape(1, 2, 140).astype(np.float32)}
    gate = Gate(
        network,
        linear_bench.networks,
        dataclasses.replace(linear_bench.spectra, hostile=hostile),
        ("OC", "pH"),
    )
    gate.prove(ENGINES[engine], linear_bench.write("fp32", engine))


# LiteRT's int8 kernels round elsewhere, so it is given more room, in which a fault of a single
# weight could hide.
@pytest.mark.parametrize(
    "mutation",
    [one for one in (*MUTATIONS, *STORED) if not one.slight],
    ids=lambda mutation: mutation.name,
)
def test_faults_of_int8_convolutions_on_litert_are_caught(bench: Bench, mutation: Mutation) -> None:
    wrong = written(mutated(bench.networks["int8"], mutation), "int8", LITERT)
    bench.refuses(LITERT, wrong, mutation.layers)


@pytest.mark.parametrize("engine", [ONNXRUNTIME, LITERT])
@pytest.mark.parametrize(
    ("number", "factor", "shift"),
    [(0, 1.6, 0), (0, 1.0, 40), (1, 1.6, 0), (2, 1.6, 0), (2, 0.5, 0)],
)
def test_a_wrong_scale_or_zero_point_is_caught(
    bench: Bench, engine: str, number: int, factor: float, shift: int
) -> None:
    wrong = with_activation(bench.networks["int8"], number, factor, shift)
    bench.refuses(
        engine,
        written(wrong, "int8", engine),
        ("convolution0", "convolution1", "pooled"),
    )


ONNX_FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "the reset gate before the recurrent matrix": lambda model: onnx_attribute(
        model, "GRU", "linear_before_reset", 0
    ),
    "no ReLU": lambda model: onnx_without(model, "Relu"),
    "the mean of a pool": lambda model: onnx_operator(model, "MaxPool", "AveragePool"),
    "padding on one side": lambda model: onnx_attribute(model, "Conv", "pads", [0, 6]),
    "gates from the other end": lambda model: onnx_constant(
        model, "recurrent.W.rows", lambda weight: weight[::-1]
    ),
    "biases of other gates": lambda model: onnx_constant(
        model, "recurrent.B", lambda bias: np.roll(bias, 8, axis=1)
    ),
}


@pytest.mark.parametrize("name", ONNX_FAULTS)
def test_faults_of_an_onnx_graph_are_caught(bench: Bench, name: str) -> None:
    right = bench.write("fp32", ONNXRUNTIME)
    wrong = dataclasses.replace(right, content=ONNX_FAULTS[name](right.content))
    bench.refuses(ONNXRUNTIME, wrong)


def _no_activation(model: Any) -> None:
    for operator in model.subgraphs[0].operators:
        if hasattr(operator.builtinOptions, "strideW") and hasattr(
            operator.builtinOptions, "dilationWFactor"
        ):
            operator.builtinOptions.fusedActivationFunction = 0


def _forward_twice(model: Any) -> None:
    options = [operator.builtinOptions for operator in model.subgraphs[0].operators]
    first, second = [one for one in options if hasattr(one, "bodySubgraphIndex")]
    second.bodySubgraphIndex = first.bodySubgraphIndex


def _wrong_activation_scale(model: Any) -> None:
    tensor = next(tensor for tensor in model.subgraphs[0].tensors if tensor.name == b"quantized")
    tensor.quantization.scale = tensor.quantization.scale * np.float32(1.2)


@pytest.mark.parametrize(
    ("profile", "change"),
    [("fp32", _no_activation), ("fp32", _forward_twice), ("int8", _wrong_activation_scale)],
)
def test_faults_of_a_tflite_graph_are_caught(
    bench: Bench, profile: str, change: Callable[[Any], None]
) -> None:
    right = bench.write(profile, LITERT)
    copied, wrong = (
        dataclasses.replace(right, content=tflite_changed(right.content, changed))
        for changed in (lambda model: None, change)
    )
    bench.gate.prove(ENGINES[LITERT], copied)
    bench.refuses(LITERT, wrong)


def test_an_output_that_is_not_a_number_is_caught(bench: Bench) -> None:
    def silent(model: bytes) -> Any:
        return lambda inputs: np.full((len(inputs), 2), np.nan, dtype=np.float32)

    with pytest.raises(ProofError, match="differs from torch by inf sd"):
        bench.gate.prove(ProofEngine(NUMPY, "network", silent), bench.write("fp32", NUMPY))


def test_the_output_for_a_hostile_spectrum_must_be_a_number_even_without_a_limit(
    bench: Bench,
) -> None:
    def silent_when_it_is_much(model: bytes) -> Any:
        session = ENGINES[NUMPY].open_model(model)
        return lambda inputs: np.where(
            np.abs(inputs).max(axis=(1, 2))[:, None] > 500.0, np.float32(np.nan), session(inputs)
        )

    assert parity.LIMITS["int8", NUMPY].hostile is None
    one_by_one = ProofEngine(NUMPY, "network", silent_when_it_is_much)
    with pytest.raises(
        ProofError, match=r"by inf sd on spectrum '(a spike|huge|huge and negative|noise.*)'"
    ):
        bench.gate.prove(one_by_one, bench.write("int8", NUMPY))


def test_a_difference_on_a_hostile_spectrum_alone_is_caught(bench: Bench) -> None:
    """An engine is refused that agrees on real spectra and differs where inputs are extreme."""
    inner = ENGINES[ONNXRUNTIME]

    def clipping(model: bytes) -> Any:
        session = inner.open_model(model)
        return lambda inputs: session(np.clip(inputs, -20.0, 20.0))

    with pytest.raises(
        ProofError, match=r"on spectrum '(a spike|huge|huge and negative|noise of sd 100, \d|.*)'"
    ):
        bench.gate.prove(
            ProofEngine(ONNXRUNTIME, "onnx", clipping), bench.write("fp32", ONNXRUNTIME)
        )


def test_a_failing_gate_writes_nothing(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = dataclasses.replace(parity.LIMITS["int8", LITERT], largest=-1.0)
    monkeypatch.setitem(parity.LIMITS, ("int8", LITERT), strict)
    assert (
        main(
            [
                "export",
                str(finished_run),
                "--out",
                str(tmp_path / "x.ccnvr"),
                "--c-array",
                str(tmp_path / "c"),
            ]
        )
        == 1
    )
    assert list(tmp_path.iterdir()) == []


def test_few_held_out_spectra_are_topped_up_with_the_moisture_set_s_and_then_with_training_soils(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, _, _ = run_folder.load(finished_run)
    few = dataclasses.replace(recipe, tests=("UL.120:test",))
    monkeypatch.setattr(proof_spectra, "moisture_at_hand", lambda grid: None)

    def training_soils(made: TrainingRecipe = few) -> Soils:
        return load_soils(made.libraries, made)

    spectra: ProofSpectra = proof_spectra.collect_spectra(few, training_soils)
    assert (len(spectra.real), spectra.held_out) == (12 + 221, 12)
    assert spectra.properties.shape == (233, 2) and spectra.names[0].startswith("UL.120/")
    # Too few even so: the soils of those sets stand in that the recipe does not name.
    fewer = dataclasses.replace(few, libraries=("UL.120:train",))
    spectra = proof_spectra.collect_spectra(fewer, partial(training_soils, fewer))
    assert (len(spectra.real), spectra.held_out) == (120 + 98 + 93 + 125 + 460, 12)
    assert [name.partition("/")[0] for name in spectra.names[118:122]] == [
        "UL.120",
        "UL.120",
        "CV.98",
        "CV.98",
    ]
    # Mixtures of two of them stand in where no set covers the grid, the same each time.
    with monkeypatch.context() as without:
        without.setattr(libraries, "open_sets", lambda grid, instrument: ())
        mixed, again = (
            proof_spectra.collect_spectra(fewer, partial(training_soils, fewer)) for _ in range(2)
        )
        assert (len(mixed.real), mixed.held_out, mixed.mixtures) == (200, 12, 80)
        assert mixed.names[120].startswith("mixture of ")
        assert np.isnan(mixed.properties[120:]).all()
        np.testing.assert_array_equal(mixed.real, again.real)
        without.setattr(proof_spectra, "FEWEST_MIXED", 121)
        with pytest.raises(ProofError, match=r"120 real spectra are too few .* 121 are needed"):
            proof_spectra.collect_spectra(fewer, partial(training_soils, fewer))
    moist = {
        state: np.random.default_rng(0).random((100, recipe.grid.bands))
        for state in ("drying", "wet")
    }
    monkeypatch.setattr(proof_spectra, "moisture_at_hand", lambda grid: moist)
    spectra = proof_spectra.collect_spectra(few, training_soils)
    assert (len(spectra.real), spectra.held_out) == (12 + 200 + 221, 212)
    assert spectra.names[12] == "moisture, drying/1" and np.isnan(spectra.properties[12:212]).all()

"""TFLite model files: LiteRT, with and without XNNPACK, and tflite-runtime agree with NumPy."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from ccnvr.edge.engines.isolated import IsolatedSession
from ccnvr.edge.engines.litert import LiteRtSession
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.shape import Convolution, NetworkConfig
from ccnvr.export import c_array
from ccnvr.export.tflite.writer import to_tflite
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.convert import to_arrays
from tests.support import recipes
from tests.support.bundles_of_all import all_profiles

FLOAT_LIMIT = 2e-6
INT8_STEPS = 0.25
"""Now and then a convolution's output differs by a step of int8 between two engines; this share of
a step reaches an output of the network.
"""

convolutions = st.lists(
    st.builds(
        Convolution,
        filters=st.integers(1, 9),
        kernel=st.sampled_from((1, 3, 5, 11)),
        pool=st.integers(1, 4),
    ),
    max_size=3,
)


@st.composite
def configurations(draw: st.DrawFn) -> NetworkConfig:
    """Draw small networks of every kind that a recipe allows."""
    layers = tuple(draw(convolutions))
    pools = int(np.prod([layer.pool for layer in layers])) if layers else 1
    patch = draw(st.integers(1, 3))
    return NetworkConfig(
        convolutions=layers,
        standardise=draw(st.booleans()),
        linear=draw(st.booleans()),
        cell=draw(st.sampled_from(("gru", "lstm", "none"))),
        bidirectional=draw(st.booleans()),
        hidden=draw(st.integers(1, 9)),
        patch=patch,
        dense=draw(st.integers(1, 9)),
        in_channels=draw(st.sampled_from((1, 2, 4))),
        bands=pools * patch * draw(st.integers(1, 9)) + draw(st.integers(0, pools * patch - 1)),
        outputs=draw(st.integers(1, 5)),
    )


def a_network(config: NetworkConfig, seed: int = 1) -> tuple[CCNVR, Any]:
    """The network and four inputs for it."""
    torch.manual_seed(seed)
    network = CCNVR(config).eval()
    if network.scale is not None:
        assert network.scale.running_mean is not None and network.scale.running_var is not None
        network.scale.running_mean.normal_()
        network.scale.running_var.uniform_(0.5, 2.0)
    inputs = torch.randn(4, config.in_channels, config.bands)
    return network, inputs


@settings(max_examples=40)
@given(configurations(), st.integers(0, 99))
def test_litert_answers_as_numpy_and_torch_do(config: NetworkConfig, seed: int) -> None:
    network, inputs = a_network(config, seed)
    with torch.inference_mode():
        exact = network(inputs).numpy()
    for profile, data in all_profiles(network).items():
        model, expected = to_tflite(data), NumpySession(data)(inputs.numpy())
        for xnnpack in (True, False):
            found = LiteRtSession(model, xnnpack=xnnpack)(inputs.numpy())
            assert found.shape == exact.shape and found.dtype == np.float32
            limit = (
                FLOAT_LIMIT if profile != "int8" else FLOAT_LIMIT + INT8_STEPS * largest_step(data)
            )
            assert np.abs(found - expected).max() <= limit
        if profile == "fp32":
            assert np.abs(expected - exact).max() <= FLOAT_LIMIT


def largest_step(data: Any) -> float:
    """Return the largest step of all activations, in the units of their values."""
    return float(max((activation.scale for activation in data.activations), default=0.0))


@pytest.mark.parametrize("changes", [{}, {"cell": "lstm"}, *recipes.SHAPES])
def test_tflite_runtime_answers_as_numpy_does(changes: dict[str, Any], tflite_python: Any) -> None:
    network, inputs = a_network(recipes.network_config(**changes))
    for profile, data in all_profiles(network).items():
        with IsolatedSession("tflite", to_tflite(data), python=tflite_python) as session:
            found = session(inputs.numpy())
        limit = FLOAT_LIMIT if profile != "int8" else FLOAT_LIMIT + INT8_STEPS * largest_step(data)
        assert np.abs(found - NumpySession(data)(inputs.numpy())).max() <= limit


@pytest.mark.parametrize("changes", [{}, {"cell": "lstm"}, *recipes.SHAPES])
def test_the_model_for_tflite_micro_answers_as_numpy_does(changes: dict[str, Any]) -> None:
    network, inputs = a_network(recipes.network_config(**changes))
    profiles = all_profiles(network)
    for data in (profiles["fp32"], profiles["int8"]):
        model, expected = to_tflite(data, micro=True), NumpySession(data)(inputs.numpy())
        engines: list[Any] = [LiteRtSession(model, xnnpack=False)]
        if c_array.is_installed():
            engines.append(c_array.MicroSession(model))
        for engine in engines:
            limit = FLOAT_LIMIT + INT8_STEPS * largest_step(data)
            assert np.abs(engine(inputs.numpy()) - expected).max() <= limit


@pytest.mark.parametrize("changes", [{}, {"cell": "lstm"}])
def test_litert_torch_s_own_conversion_agrees(changes: dict[str, Any]) -> None:
    """An independent converter from torch to TFLite agrees.

    It needs transformers and jax, so it is not part of the development environment.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        litert_torch = pytest.importorskip("litert_torch")
        network, inputs = a_network(recipes.network_config(**changes))
        converted = litert_torch.convert(network, (inputs[:1],))
        expected = np.concatenate([converted(one[None]) for one in inputs])
    found = LiteRtSession(to_tflite(to_arrays(network)))(inputs.numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT_LIMIT)


def read(model: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))


@pytest.mark.parametrize("cell", ["gru", "lstm", "none"])
def test_it_holds_builtin_operators_only_and_one_copy_of_each_weight(cell: str) -> None:
    network, _ = a_network(recipes.network_config(cell=cell, hidden=64, dense=64, linear=True))
    profiles = all_profiles(network)
    for profile, data in profiles.items():
        model = to_tflite(data)
        assert to_tflite(data) == model
        codes = {code.builtinCode for code in read(model).operatorCodes}
        assert schema.BuiltinOperator.CUSTOM not in codes
        assert (schema.BuiltinOperator.WHILE in codes) == (cell != "none")
        weights = sum(tensor.nbytes for tensor in data.tensors().values())
        # The format stores a zero point of 8 bytes beside each scale.
        weights += sum(
            8 * len(tensor) for name, tensor in data.tensors().items() if name.endswith(".scales")
        )
        assert weights < len(model) < weights + 16_000, profile


def test_constants_are_aligned_as_kernels_load_them() -> None:
    network, _ = a_network(recipes.network_config())
    model = to_tflite(all_profiles(network)["int8"])
    root = schema.Model.GetRootAs(model, 0)
    for index in range(root.BuffersLength()):
        buffer = root.Buffers(index)
        if buffer.DataLength():
            offset = buffer._tab.Vector(buffer._tab.Offset(4))
            assert offset % 16 == 0


def test_xnnpack_is_on_and_can_be_left_out() -> None:
    network, _ = a_network(recipes.network_config())
    for data in all_profiles(network).values():
        model = to_tflite(data)
        for xnnpack in (True, False):
            operators = [
                step["op_name"]
                for step in LiteRtSession(model, xnnpack=xnnpack).interpreter._get_ops_details()
            ]
            assert ("DELEGATE" in operators) == xnnpack


def test_a_call_does_not_depend_on_the_call_before() -> None:
    network, inputs = a_network(recipes.network_config(cell="lstm"))
    session = LiteRtSession(to_tflite(all_profiles(network)["fp32"]))
    once = session(inputs.numpy())
    np.testing.assert_array_equal(session(inputs.numpy()), once)
    np.testing.assert_array_equal(session(inputs.numpy()[::-1]), once[::-1])

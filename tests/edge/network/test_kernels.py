"""Kernel members: their file, malformed members, and their arithmetic."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.file import pack, unpack
from ccnvr.edge.network.kernels import KernelMember, similarities
from ccnvr.edge.network.layers import NetworkArrays, assemble
from ccnvr.edge.network.layout import PROFILES, layout, stored_weights
from ccnvr.edge.network.members import members_alone, with_members, without_members
from ccnvr.edge.network.shape import KernelShape
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.network.ccnvr import CCNVR, network_outputs
from ccnvr.train.network.convert import as_torch, to_arrays
from tests.support import kernel_members, recipes
from tests.support.bundles_of_all import all_profiles

shapes = st.lists(
    st.builds(
        KernelShape,
        kind=st.sampled_from(("matern32", "rbf")),
        length=st.floats(0.01, 100.0),
        components=st.integers(1, 9),
        soils=st.integers(1, 30),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60)
@given(shapes, st.integers(1, 3), st.integers(1, 40), st.integers(1, 4), st.booleans())
def test_members_alone_survive_their_file_and_torch(
    kinds: list[KernelShape], channels: int, bands: int, outputs: int, linear: bool
) -> None:
    network = kernel_members.alone(channels, bands, outputs, tuple(kinds), linear)
    content = pack(network)
    again = unpack(content)
    assert again.config == network.config and pack(again) == content
    assert pack(to_arrays(as_torch(network))) == content
    inputs = np.random.default_rng(3).normal(size=(5, channels, bands)).astype(np.float32)
    expected = in_double(network, inputs)
    np.testing.assert_allclose(NumpySession(again)(inputs), expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(
        network_outputs(as_torch(network), inputs), expected, rtol=1e-6, atol=1e-6
    )


def in_double(network: NetworkArrays, inputs: np.ndarray) -> np.ndarray:
    """The formula of `KernelMember` in double precision, soil by soil."""
    flat = inputs.reshape(len(inputs), -1).astype(np.float64)
    total = np.zeros((len(inputs), network.config.outputs))
    if isinstance(network.linear, np.ndarray):
        total += flat @ network.linear.astype(np.float64).T
    for member in network.kernels:
        components = (flat - member.centre) @ member.components.astype(np.float64).T
        for soil, weight in zip(member.soils, member.weights, strict=True):
            distance = np.linalg.norm(components - soil, axis=1) / member.length
            root = np.sqrt(3.0) * distance
            similar = {
                "matern32": (1.0 + root) * np.exp(-root),
                "rbf": np.exp(-(distance**2) / 2.0),
            }[member.kind]
            total += similar[:, None] * weight
        total += member.bias
    return total


@pytest.mark.parametrize("changes", [{}, *recipes.SHAPES])
def test_members_beside_a_network_add_to_it(
    changes: dict[str, Any], rng: np.random.Generator
) -> None:
    torch.manual_seed(5)
    network = CCNVR(recipes.network_config(**changes)).eval()
    both = kernel_members.with_kernels(network)
    inputs = rng.normal(size=(4, 2, 140)).astype(np.float32)
    members = NumpySession(members_alone(2, 140, to_arrays(both).kernels))(inputs)
    for profile, arrays in all_profiles(both).items():
        assert without_members(arrays.config) == network.config
        assert pack(unpack(pack(arrays))) == pack(arrays)
        expected = NumpySession(all_profiles(network)[profile])(inputs) + members
        # The linear path is not rounded beside members.
        limit = 2e-2 if arrays.config.linear and profile != "fp32" else 1e-5
        assert np.abs(NumpySession(arrays)(inputs) - expected).max() < limit
        for name in ("kernel0.soils", "kernel1.weights"):
            np.testing.assert_array_equal(arrays.tensors()[name], to_arrays(both).tensors()[name])


def test_a_network_without_members_keeps_the_bytes_of_its_file() -> None:
    torch.manual_seed(5)
    network = to_arrays(CCNVR(recipes.network_config()).eval())
    header = pack(network).split(b"\n")[1]
    assert b"kernels" not in header and b"members_only" not in header
    assert with_members(with_members(network, kernel_members.alone().kernels), ()) is not None
    assert pack(with_members(network, ())) == pack(network)


def test_all_profiles_of_members_alone_are_the_same_floats() -> None:
    network = kernel_members.alone(linear=True)
    profiles = all_profiles(as_torch(network))
    assert set(profiles) == set(PROFILES) and not stored_weights(network.config)
    for arrays in profiles.values():
        assert {name: value.tobytes() for name, value in arrays.tensors().items()} == {
            name: value.tobytes() for name, value in network.tensors().items()
        }
        assert list(layout(arrays.config, arrays.profile)) == list(arrays.tensors())


def changed_kernel(content: bytes, config: dict[str, Any], **changes: Any) -> bytes:
    magic, header, body = content.split(b"\n", 2)
    table = json.loads(header)
    table["config"].update(config)
    table["config"]["kernels"][0].update(changes)
    return b"\n".join([magic, json.dumps(table).encode(), body])


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        ({}, {"soils": 21}, "bytes of weights where its header makes them"),
        ({}, {"soils": 10**7}, "larger than any CCNVR"),
        ({}, {"components": 10**9}, "larger than any CCNVR"),
        ({}, {"soils": 0}, "0 soils is not possible"),
        ({}, {"components": -1}, "-1 components"),
        ({}, {"kind": "linear"}, "'linear' is not matern32 or rbf"),
        ({}, {"length": 0.0}, "length 0.0 of a kernel"),
        ({}, {"length": 1e40}, "length 1e\\+40 of a kernel"),
        ({}, {"width": 1}, "unknown key"),
        ({"cell": "gru"}, {}, "has no convolutions and cell 'none'"),
        ({"members_only": False}, {}, "bytes of weights where its header makes them"),
    ],
)
def test_impossible_members_are_refused(
    config: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        unpack(changed_kernel(pack(kernel_members.alone()), config, **changes))


def test_too_many_members_and_none_at_all_are_refused() -> None:
    member = kernel_members.alone().kernels[0]
    with pytest.raises(UsageError, match="17 kernel members are more than 16"):
        members_alone(2, 140, [member] * 17)
    with pytest.raises(UsageError, match="at least one kernel member"):
        members_alone(2, 140, [])


def test_members_that_do_not_fit_their_configuration_are_refused() -> None:
    network = kernel_members.alone()
    first, second = network.kernels
    with pytest.raises(ValueError, match="kernel members are not of the kinds"):
        dataclasses.replace(network, kernels=(second, first))
    with pytest.raises(ValueError, match="kernel members are not of the kinds"):
        dataclasses.replace(network, kernels=(first,))
    with pytest.raises(ValueError, match=r"tensor kernel0\.soils is float32 \(19, 7\)"):
        few = dataclasses.replace(first, soils=first.soils[1:])
        dataclasses.replace(network, kernels=(few, second))
    tensors = dict(network.tensors())
    tensors["kernel1.weights"] = np.full_like(tensors["kernel1.weights"], np.nan)
    with pytest.raises(ValueError, match=r"kernel1\.weights holds a number that is not finite"):
        assemble(network.config, "fp32", (), tensors)


def test_a_soil_that_is_measured_again_is_like_itself() -> None:
    """Rounding leaves the square of the distance to itself near 0, on either side."""
    member = kernel_members.alone().kernels[0]
    # The input whose components are those of the first soil.
    back = np.linalg.pinv(member.components.astype(np.float64)) @ member.soils[0]
    inputs = (member.centre + back).astype(np.float32).reshape(1, 2, 140)
    layers = dict(NumpySession(members_alone(2, 140, [member])).layers(inputs))
    first = member.order.tolist().index(0)
    assert layers["kernel0.similarities"][0, first] == pytest.approx(1.0, abs=1e-5)


def test_weights_that_cancel_are_near_each_other_in_a_folded_member() -> None:
    """An engine that adds up in float32, product by product, then loses fewer digits."""
    rng = np.random.default_rng(1)
    soils = rng.normal(size=(800, 6)) * np.array([4.0, 2.0, 1.0, 1.0, 0.5, 0.5])
    squares = np.sum((soils[:, None] - soils) ** 2, axis=2)
    alike = similarities("matern32", 3.0 * squares / 25.0)
    # A process of values that change smoothly, with little noise.
    values = np.sin(soils[:, :1]) + 0.1 * rng.normal(size=(800, 1))
    weights = np.linalg.solve(alike + 1e-3 * np.eye(800), values)
    arrays = [np.zeros(6), np.eye(6), soils, weights, np.zeros(1)]
    member = KernelMember("matern32", 5.0, *(array.astype(np.float32) for array in arrays))
    folded = member.folded()
    assert np.all(np.diff(folded.minus_twice[:, 0]) <= 0.0)

    def error(order: np.ndarray) -> float:
        products = (alike[:, order] - member.usual[order]) * weights[order, 0]
        exact = products.sum(axis=1)
        one_by_one = np.cumsum(products.astype(np.float32), axis=1, dtype=np.float32)[:, -1]
        return float(np.sqrt(np.mean((one_by_one - exact) ** 2)))

    assert error(member.order) < 0.6 * error(np.arange(800))
    np.testing.assert_array_equal(folded.weights[0], member.weights[member.order, 0])
    np.testing.assert_array_equal(folded.usual, member.usual[member.order])


def test_extreme_inputs_give_the_bias() -> None:
    network = kernel_members.alone()
    inputs = np.full((1, 2, 140), 1e6, dtype=np.float32)
    bias = sum(member.bias for member in network.kernels)
    np.testing.assert_allclose(NumpySession(network)(inputs)[0], bias, atol=1e-5)

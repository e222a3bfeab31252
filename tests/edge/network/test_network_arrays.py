"""Networks as arrays: their file, malformed files, and the arithmetic of int8."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.file import pack, unpack
from ccnvr.edge.network.layers import Activation, NetworkArrays, StoredInt8, assemble
from ccnvr.edge.network.layout import PROFILES, layout
from ccnvr.train.network.ccnvr import CCNVR
from ccnvr.train.network.convert import to_arrays
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


def profiles(**changes: Any) -> dict[str, NetworkArrays]:
    torch.manual_seed(5)
    return all_profiles(CCNVR(recipes.network_config(**changes)).eval())


@pytest.mark.parametrize("changes", SHAPES)
def test_a_network_survives_its_file(changes: dict[str, Any], rng: np.random.Generator) -> None:
    inputs = rng.normal(size=(3, 2, 140)).astype(np.float32)
    for profile, network in profiles(**changes).items():
        content = pack(network)
        again = unpack(content)
        assert (again.config, again.profile, again.activations) == (
            network.config,
            profile,
            network.activations,
        )
        assert pack(again) == content
        np.testing.assert_array_equal(NumpySession(again)(inputs), NumpySession(network)(inputs))


@given(arrays(np.float32, (3, 7), elements=st.floats(-1e3, 1e3, width=32)))
def test_int8_weights_are_within_half_a_step(weight: np.ndarray) -> None:
    stored = StoredInt8.of(weight)
    assert np.all(np.abs(stored.restored() - weight) <= 0.5001 * stored.scales[:, None])
    assert stored.values.min() >= -127


@given(st.floats(-1e4, 1e4), st.floats(0.0, 1e4))
def test_an_activation_holds_zero_exactly_and_its_range_within_a_step(
    low: float, width: float
) -> None:
    activation = Activation.of_range(low, low + width)
    low, high = min(low, 0.0), max(low + width, 0.0)
    held = [activation.scale * (end - activation.zero_point) for end in (-128, 127)]
    assert held[0] <= 0.0 <= held[1]
    assert held[0] <= low + activation.scale and held[1] >= high - activation.scale


def changed_header(content: bytes, **changes: Any) -> bytes:
    magic, header, body = content.split(b"\n", 2)
    table = json.loads(header)
    for key, value in changes.items():
        (table["config"] if key in table["config"] else table)[key] = value
    return b"\n".join([magic, json.dumps(table).encode(), body])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden": 6}, "bytes of weights where its header makes them"),
        ({"hidden": 10**9}, "weights is larger than any CCNVR"),
        ({"hidden": 10**40}, "is too large a number"),
        ({"bands": 10**9, "cell": "none"}, "larger than any CCNVR"),
        ({"bands": 10**8}, "numbers in a tensor is larger than any CCNVR"),
        ({"bands": 1}, "leave no step"),
        ({"in_channels": 0}, "0 channels"),
        ({"outputs": -3}, "-3 outputs"),
        ({"cell": "rnn"}, "'rnn' is not gru"),
        ({"convolutions": [{"filters": 2, "kernel": 4, "pool": 1}]}, "must be odd"),
        ({"profile": "int4"}, "profile 'int4' is not one of"),
        ({"activations": []}, "0 activations where profile int8 has 3"),
        ({"activations": [{"scale": 0.0, "zero_point": 0}] * 3}, "scale 0.0 of an activation"),
        ({"activations": [{"scale": 0.1, "zero_point": 0}] * 3}, "must be a float32"),
        ({"activations": [{"scale": 0.5, "zero_point": 128}] * 3}, "zero point 128"),
        ({"linear": True}, "bytes of weights where its header makes them"),
        ({"linear": True, "outputs": 50_000}, "weights is larger than any CCNVR"),
        ({"linear": 1}, "linear"),
        ({"surprise": 1}, "unknown key"),
    ],
)
def test_an_impossible_header_is_one_clear_error(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unpack(changed_header(pack(profiles()["int8"]), **changes))


@pytest.mark.parametrize(
    "content",
    [b"", b"ccnvr network 2\n{}\n", b"ccnvr network 1\n", b"ccnvr network 1\n" + b"[" * 70_000],
)
def test_what_is_no_network_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="does not begin like a ccnvr network"):
        unpack(content)


def test_truncated_and_padded_files_are_refused() -> None:
    content = pack(profiles()["weights"])
    for wrong in (content[:-1], content + b"\0"):
        with pytest.raises(ValueError, match="bytes of weights"):
            unpack(wrong)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("dense.bias", np.nan, "not finite"),
        ("dense.bias", 1e30, "not finite, or not below"),
        ("dense.weight", -128, "holds -128"),
        ("dense.weight.scales", 0.0, "not positive"),
        ("standardisation.factor", -1.0, "not positive"),
        ("linear.weight", -128, "holds -128"),
        ("linear.weight.scales", 0.0, "not positive"),
        ("linear.weight.scales", np.nan, "not finite"),
    ],
)
def test_impossible_numbers_are_refused(name: str, value: float, words: str) -> None:
    network = profiles(standardise=True, linear=True)["weights"]
    tensors = {key: tensor.copy() for key, tensor in network.tensors().items()}
    tensors[name].flat[0] = value
    with pytest.raises(ValueError, match=words):
        assemble(network.config, network.profile, network.activations, tensors)


def test_tensors_of_another_shape_or_missing_are_refused() -> None:
    network = profiles()["fp32"]
    tensors = network.tensors()
    with pytest.raises(
        ValueError, match=r"tensor dense.bias is float32 \(6,\) and must be float32 \(7,\)"
    ):
        assemble(network.config, "fp32", (), {**tensors, "dense.bias": tensors["dense.bias"][1:]})
    with pytest.raises(ValueError, match=r"tensor 'forward\.state_weight' is missing"):
        assemble(
            network.config,
            "fp32",
            (),
            {name: value for name, value in tensors.items() if name != "forward.state_weight"},
        )
    with pytest.raises(ValueError, match="differ in backward"):
        dataclasses.replace(network, directions=network.directions[:1])


def test_a_linear_calibration_is_there_where_the_configuration_has_one_and_of_its_shape() -> None:
    plain, network = profiles()["fp32"], profiles(linear=True)["fp32"]
    tensors = network.tensors()
    with pytest.raises(ValueError, match=r"differ in linear\.weight"):
        dataclasses.replace(plain, linear=network.linear)
    with pytest.raises(ValueError, match=r"differ in linear\.weight"):
        dataclasses.replace(network, linear=None)
    with pytest.raises(ValueError, match=r"tensor 'linear\.weight' is missing"):
        assemble(
            network.config,
            "fp32",
            (),
            {name: value for name, value in tensors.items() if name != "linear.weight"},
        )
    with pytest.raises(
        ValueError, match=r"linear\.weight is float32 \(280, 3\) and must be float32 \(3, 280\)"
    ):
        assemble(
            network.config, "fp32", (), {**tensors, "linear.weight": tensors["linear.weight"].T}
        )
    with pytest.raises(ValueError, match="bytes of weights where its header makes them"):
        unpack(changed_header(pack(network), linear=False))


def test_the_layout_is_that_of_the_tensors() -> None:
    for profile, network in profiles(cell="lstm", standardise=True, linear=True).items():
        wanted = layout(network.config, profile)
        assert list(wanted) == list(network.tensors())
    assert set(PROFILES) == {"fp32", "weights", "int8"}


def test_a_large_batch_is_that_of_single_spectra(rng: np.random.Generator) -> None:
    network = profiles()["int8"]
    inputs = rng.normal(size=(700, 2, 140)).astype(np.float32)
    session = NumpySession(network)
    session._most_rows = 64
    single = np.concatenate([session(inputs[row : row + 1]) for row in range(0, 700, 50)])
    np.testing.assert_allclose(session(inputs)[::50], single, rtol=0, atol=1e-6)


def test_sums_too_large_for_float32_stay_exact(rng: np.random.Generator) -> None:
    """A convolution with sums above 2^24 is computed in float64, so its int8 values are exact."""
    from ccnvr.edge.network.shape import Convolution

    config = recipes.network_config(
        convolutions=(Convolution(2, 139, 1), Convolution(600, 1, 1), Convolution(2, 139, 10))
    )
    torch.manual_seed(1)
    network = all_profiles(CCNVR(config).eval())["int8"]
    tensors = {name: value.copy() for name, value in network.tensors().items()}
    tensors["convolution2.weight"] = rng.integers(100, 128, (2, 600, 139)).astype(np.int8)
    network = assemble(config, "int8", network.activations, tensors)
    layers = dict(
        NumpySession(network).layers(rng.normal(0.0, 5.0, (1, 2, 140)).astype(np.float32))
    )
    before, after = network.activations[2:]
    inputs = np.rint(layers["convolution1"][0] / before.scale).astype(np.int64)
    padded = np.pad(inputs, ((0, 0), (69, 69)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 139, axis=1)
    sums = np.einsum("cbk,fck->fb", windows, tensors["convolution2.weight"].astype(np.int64))
    assert np.abs(sums).max() > 2**24
    sums = sums.reshape(2, 14, 10).max(axis=2) + tensors["convolution2.bias"][:, None]
    factor = (
        np.float32(before.scale) * tensors["convolution2.weight.scales"] / np.float32(after.scale)
    )
    whole = np.clip(np.rint(sums.astype(np.float32) * factor[:, None]), 0, 127 - after.zero_point)
    np.testing.assert_array_equal(
        layers["convolution2"][0], whole.astype(np.float32) * np.float32(after.scale)
    )


def test_torch_s_weights_come_over_unchanged() -> None:
    network = CCNVR(recipes.network_config(cell="lstm", standardise=True, linear=True))
    network(torch.randn(40, 2, 140))
    data = to_arrays(network.eval())
    count = sum(parameter.numel() for parameter in network.parameters())
    assert (
        sum(
            value.size
            for name, value in data.tensors().items()
            if not name.startswith("standardisation")
        )
        == count
    )

"""Counts come back bit for bit, and compactly where they are sums of integers."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ccnvr.edge.storage.counts import CountsFormat, decode, encode

AVERAGES = st.integers(1, 10_000)


@given(arrays(np.float64, array_shapes(max_dims=1, max_side=600)), AVERAGES)
def test_any_numbers_come_back_bit_for_bit(counts: np.ndarray, averages: int) -> None:
    form, data = encode(counts, averages)
    assert decode(form, data, averages).tobytes() == counts.tobytes()


@given(
    arrays(np.int64, 512, elements=st.integers(-(2**31) + 1, 2**31 - 1)),
    AVERAGES,
)
def test_means_of_integers_are_kept_as_their_sums(sums: np.ndarray, averages: int) -> None:
    form, data = encode(sums / averages, averages)
    assert form is CountsFormat.SUMS
    assert decode(form, data, averages).tobytes() == (sums / averages).tobytes()


def test_reflectance_is_kept_as_float32_only_where_that_is_exact() -> None:
    single = np.linspace(0.1, 0.9, 512, dtype=np.float32).astype(np.float64)
    double = np.linspace(0.1, 0.9, 512)
    assert encode(single, 1)[0] is CountsFormat.FLOAT32
    assert encode(double, 1)[0] is CountsFormat.FLOAT64


def test_a_smooth_spectrum_of_sums_takes_a_quarter_of_float64() -> None:
    source = np.random.default_rng(1)
    smooth = 300_000 + 40_000 * np.sin(np.arange(512) / 80)
    counts = np.rint(smooth + source.normal(0, 60, 512)) / 16
    assert len(encode(counts, 16)[1]) < 512 * 8 / 4


@pytest.mark.parametrize("step", [1, 2, 7, 16])
@pytest.mark.parametrize("noise", [1.0, 3.0, 30.0, 80.0, 2_000.0])
def test_sums_of_any_noise_are_plain_zlib_and_about_as_short_as_its_own(
    noise: float, step: int
) -> None:
    """Earlier versions read what this one writes, and other programs do."""
    source = np.random.default_rng(1)
    smooth = 300_000 + 40_000 * np.sin(np.arange(512) / 80)
    sums = (np.rint((smooth + source.normal(0, noise, 512)) / step) * step).astype("<i4")
    form, data = encode(sums / 16, 16)
    differences = np.diff(sums.view("<u4"), prepend=np.zeros(1, "<u4"))
    plain = differences.view(np.uint8).reshape(-1, 4).T.tobytes()
    assert form is CountsFormat.SUMS and zlib.decompress(data) == plain
    assert len(data) <= 1.1 * len(zlib.compress(plain, 6)) + 10


@pytest.mark.parametrize("pixels", [0, 1, 70_000])
def test_spectra_of_unusual_lengths_come_back(pixels: int) -> None:
    sums = np.random.default_rng(1).integers(0, 2**31 - 1, pixels)
    form, data = encode(sums / 16, 16)
    assert form is CountsFormat.SUMS
    assert (decode(form, data, 16) == sums / 16).all()


@pytest.mark.parametrize(
    ("form", "data"),
    [(9, b""), (1, b"no zlib"), (1, encode(np.ones(9), 1)[1][:-3]), (3, encode(np.ones(9), 1)[1])],
)
def test_what_is_no_form_of_counts_is_refused(form: int, data: bytes) -> None:
    with pytest.raises(ValueError, match="counts"):
        decode(form, data, 1)

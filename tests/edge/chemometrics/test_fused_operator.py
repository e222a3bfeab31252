"""The fused operator and the compiled domain equal the steps that they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import savgol_filter

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain, DomainShape
from ccnvr.edge.chemometrics.domain_distances import DomainDistances
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing, Preprocessor, snv

GRIDS = (
    Grid(1104.0, 4.0, 90),
    Grid(1110.0, 10.0, 61, gaps=((1360.0, 1450.0),)),
    Grid(410.0, 5.0, 40),
)
CHANNELS = (
    Channel(),
    Channel(snv=False),
    Channel(5, 2, 1),
    Channel(9, 3, 2),
    Channel(15, 2, 1, snv=False),
    Channel(21, 3, 2),
)


def stepwise(
    spectra: np.ndarray,
    wavelengths: np.ndarray,
    grid: Grid,
    channel: Channel,
    correction: Correction | None,
) -> np.ndarray:
    """Return one channel by NumPy's interpolation and SciPy's filter, step by step."""
    there = np.array([np.interp(grid.wavelengths(), wavelengths, one) for one in spectra])
    if correction is not None:
        there = correction(there)
    for segment in grid.segments():
        if channel.window > 1:
            there[:, segment] = savgol_filter(
                there[:, segment],
                channel.window,
                channel.polyorder,
                channel.deriv,
                grid.step_nm,
                mode="interp",
            )
    return snv(there) if channel.snv else there


def random_correction(rng: np.random.Generator, bands: int) -> Correction:
    window, rank = int(rng.choice([1, 3, 7])), int(rng.integers(0, 3))
    weights = rng.normal(size=(bands, window)) * 0.1
    weights[:, window // 2] += 1.0
    directions = np.linalg.qr(rng.normal(size=(bands, rank)))[0]
    return Correction(weights, directions, rng.normal(size=bands) * 0.01)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(GRIDS),
    st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=4),
    st.lists(st.sampled_from(CHANNELS), max_size=2),
    st.booleans(),
    st.sampled_from([1, 2, 33]),
)
def test_it_equals_interpolation_correction_and_filters_one_after_the_other(
    seed: int,
    grid: Grid,
    channels: list[Channel],
    beside: list[Channel],
    corrected: bool,
    count: int,
) -> None:
    rng = np.random.default_rng(seed)
    first, last = grid.wavelengths()[[0, -1]]
    wavelengths = first - 6.0 + np.cumsum(rng.uniform(0.5, 5.0, 1500))
    wavelengths = wavelengths[: np.searchsorted(wavelengths, last) + 1]
    spectra = 0.5 + np.cumsum(rng.normal(size=(count, wavelengths.size)), axis=1) * 0.01
    correction = random_correction(rng, grid.bands) if corrected else None
    preprocess = Preprocessor(
        Preprocessing(grid, tuple(channels)), wavelengths, correction, tuple(beside)
    )
    inputs, others = preprocess.with_beside(spectra)
    for number, channel in enumerate(channels):
        expected = stepwise(spectra, wavelengths, grid, channel, correction)
        # The model's input is float32.
        np.testing.assert_allclose(inputs[:, number], expected, rtol=2e-6, atol=2e-6)
    for number, channel in enumerate(beside):
        plain = Channel(channel.window, channel.polyorder, channel.deriv, snv=False)
        expected = stepwise(spectra, wavelengths, grid, plain, correction)
        np.testing.assert_allclose(others[:, number], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(preprocess.batch(spectra), inputs)
    # Those of one spectrum in a buffer, whose former content must not show through.
    for spectrum, together in zip(spectra[:3], inputs, strict=False):
        np.testing.assert_allclose(preprocess(spectrum), together, rtol=1e-6, atol=1e-6)


def random_domain(rng: np.random.Generator, shape: DomainShape, bands: int) -> Domain:
    libraries, views = len(shape.libraries), shape.view_count
    sizes = (libraries, views)
    loadings = np.array(
        [
            np.linalg.qr(rng.normal(size=(bands, shape.components)))[0].T
            for _ in range(libraries * views)
        ]
    ).reshape(*sizes, shape.components, bands)
    return Domain(
        shape,
        rng.normal(size=(*sizes, bands)),
        loadings,
        rng.uniform(0.1, 2.0, (*sizes, shape.components)),
        rng.uniform(5.0, 500.0, (*sizes, 2)),
    )


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.one_of(st.none(), st.integers(1, 5)),
    st.sampled_from([1, 2, 17]),
)
def test_positions_follow_from_the_distances_of_the_definition(
    seed: int, libraries: int, strict_libraries: int | None, count: int
) -> None:
    rng, grid = np.random.default_rng(seed), GRIDS[0]
    names = tuple("abcde")
    strict = None
    if strict_libraries is not None:
        strict = DomainShape(5, 2, 6, names[:strict_libraries], 0.2, slope=True)
    shape = DomainShape(9, 2, 3, names[:libraries], 0.04, strict=strict)
    domain = random_domain(rng, shape, 45)
    if strict is not None:
        inner = random_domain(rng, strict, 45)
        domain = Domain(
            shape, domain.means, domain.loadings, domain.variances, domain.limits, inner
        )
    spectra = np.cumsum(rng.normal(size=(count, grid.bands)), axis=1) * 0.3
    smoothed = Preprocessor(shape.preprocessing(grid), grid.wavelengths()).filter(spectra)
    ratios = domain.ratios(shape.views(smoothed[:, 0])).max(axis=(2, 3))
    known = np.ones(count, dtype=bool)
    if domain.strict is not None and strict is not None:
        near = domain.strict.ratios(strict.views(smoothed[:, 1])).max(axis=(2, 3))
        known = near.min(axis=1) <= 1.0
    by_name = domain.ratios(shape.views(smoothed[:, 0])).max(axis=2)
    for row, found in enumerate(DomainDistances(domain)(smoothed)):
        assert found.nearest == np.argmin(ratios[row])
        assert found.distance == pytest.approx(ratios[row].min(), rel=1e-9)
        beyond = by_name[row, found.nearest] > 1.0
        assert found.flags == tuple(
            f"out_of_domain:{name}" for name, far in zip(("Q", "T2"), beyond, strict=True) if far
        )
        assert found.sure == (known[row] and not found.flags)

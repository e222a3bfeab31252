"""Grids with gaps: preprocessing stays inside a segment, and nothing reads what lies in a gap."""

from __future__ import annotations

import dataclasses
import itertools
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import savgol_filter

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.manifest import parse
from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.domain import Domain
from ccnvr.edge.chemometrics.grid import (
    Grid,
    WavelengthError,
    bands_read,
    check_wavelengths,
    resampling_matrix,
)
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing, Preprocessor, absorbance, snv
from ccnvr.edge.inference.pipeline import Pipeline, References
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.typed import build, to_data
from ccnvr.export.c_array import _input_and_output
from ccnvr.firmware_bridge.arrays import Array, Float32
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Quantity, Scan
from ccnvr.firmware_bridge.simulators.bench import made_up_soils
from ccnvr.train.libraries.sensor import Sensor, View, bands_used
from ccnvr.train.libraries.standards import Pairs, fit_pds
from ccnvr.train.network.augment import Mixture, VariedInputs
from ccnvr.train.recipe.settings import Augmentation
from tests.support.helpers import NETWORK_BUNDLE

WATER = Grid(1104.0, 4.0, 293, ((1360.0, 1450.0), (1800.0, 1912.0)))
CHANNELS = (
    Channel(),
    Channel(5, 2, 1),
    Channel(9, 3, 2),
    Channel(window=7, polyorder=2, snv=False),
)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Grids of one to four segments of at least ten bands."""
    step = draw(st.sampled_from([1.0, 2.5, 10.0]))
    start = draw(st.sampled_from([400.0, 1104.0, 1350.5]))
    counts = draw(st.lists(st.integers(10, 25), min_size=1, max_size=4))
    missing = draw(st.lists(st.integers(1, 30), min_size=3, max_size=3))
    gaps, step_number = [], 0
    for count, left_out in zip(counts[:-1], missing, strict=False):
        first = step_number + count
        inside = draw(st.floats(0.0, 0.9))
        gaps.append((start + step * (first - inside), start + step * (first + left_out - 1)))
        step_number = first + left_out
    return Grid(start, step, sum(counts), tuple(gaps))


def instrument(grid: Grid, rng: np.random.Generator) -> Array:
    """Uneven bands that cover the grid, those in its gaps included."""
    step = min(grid.step_nm, 5.0)
    even = np.arange(grid.start_nm - 3.0 * step, grid.stop_nm + 3.0 * step, step)
    return even + rng.uniform(-0.3, 0.3, even.size) * step


def step_by_step(grid: Grid, wavelengths: Array, spectra: Array) -> Array:
    """Preprocess by SciPy, segment by segment."""
    resampled = np.array(
        [np.interp(grid.wavelengths(), wavelengths, spectrum) for spectrum in spectra]
    )
    channels = []
    for channel in CHANNELS:
        filtered = [
            resampled[:, segment]
            if channel.window == 1
            else savgol_filter(
                resampled[:, segment],
                channel.window,
                channel.polyorder,
                deriv=channel.deriv,
                delta=grid.step_nm,
            )
            for segment in grid.segments()
        ]
        joined = np.concatenate(filtered, axis=1)
        channels.append(snv(joined) if channel.snv else joined)
    return np.stack(channels, axis=1)


@given(grids(), st.integers(0, 2**32 - 1))
def test_preprocessing_with_gaps_equals_scipy_s_by_segment(grid: Grid, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wavelengths = instrument(grid, rng)
    spectra = 0.5 + np.cumsum(rng.normal(size=(3, wavelengths.size)), axis=1) * 0.01
    preprocess = Preprocessor(Preprocessing(grid, CHANNELS), wavelengths)
    expected = step_by_step(grid, wavelengths, spectra)
    np.testing.assert_allclose(preprocess.batch(spectra), expected, rtol=1e-5, atol=1e-5)
    # The compiled operator takes spectra one by one.
    one_by_one = np.array([preprocess(spectrum) for spectrum in spectra])
    np.testing.assert_allclose(one_by_one, expected, rtol=1e-5, atol=1e-5)


@given(grids(), st.integers(0, 2**32 - 1))
def test_only_bands_outside_the_gaps_are_read(grid: Grid, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wavelengths = instrument(grid, rng)
    spectrum = 0.5 + np.cumsum(rng.normal(size=wavelengths.size)) * 0.01
    read = bands_read(wavelengths, grid)
    unread = np.delete(np.arange(wavelengths.size), read)
    assert not np.any(resampling_matrix(wavelengths, grid)[:, unread])
    alone = Preprocessor(Preprocessing(grid, CHANNELS), wavelengths[read])(spectrum[read])
    np.testing.assert_allclose(
        alone, Preprocessor(Preprocessing(grid, CHANNELS), wavelengths)(spectrum), atol=1e-6
    )
    # What is read lies in a segment, or is the next band beyond it.
    on_grid = grid.wavelengths()
    for band in read:
        assert any(
            on_grid[segment][0] - 12.0 < wavelengths[band] < on_grid[segment][-1] + 12.0
            for segment in grid.segments()
        )


def test_a_grid_counts_the_bands_that_are_present() -> None:
    wavelengths = WATER.wavelengths()
    assert wavelengths.size == WATER.bands == 293
    gone = ((wavelengths >= 1360.0) & (wavelengths <= 1450.0)) | (
        (wavelengths >= 1800.0) & (wavelengths <= 1912.0)
    )
    assert not gone.any()
    assert [wavelengths[segment][[0, -1]].tolist() for segment in WATER.segments()] == [
        [1104.0, 1356.0],
        [1452.0, 1796.0],
        [1916.0, WATER.stop_nm],
    ]
    assert str(WATER) == "1104-2480 nm without 1360-1450 and 1800-1912"
    assert Grid.between(1104.0, 2480.0, 4.0, WATER.gaps) == WATER
    assert WATER.shortest_segment == 64


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        (((1360.0,),), "pairs of the first and the last"),
        (((1450.0, 1360.0),), "increasing"),
        (((1360.0, 1450.0), (1400.0, 1500.0)), "increasing"),
        (((float("nan"), 1450.0),), "increasing"),
        (((1000.0, 1450.0),), "begins before any band"),
        (((1360.0, 1450.0), (1451.0, 1460.0)), "begins before any band"),
        (((3000.0, 3100.0),), "does not lie inside a grid"),
        (((1360.0, 99_999.0),), "does not lie inside a grid"),
        (tuple((nm, nm + 4.0) for nm in np.arange(1200.0, 2000.0, 20.0)), "at most 16 pairs"),
    ],
)
def test_gaps_that_cannot_be_are_refused(gaps: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Grid(1104.0, 4.0, 293, gaps)


def test_a_filter_must_fit_the_shortest_segment() -> None:
    grid = Grid(1104.0, 4.0, 100, ((1120.0, 1200.0),))
    with pytest.raises(ValueError, match="window of 5 is longer than the shortest segment"):
        Preprocessing(grid, (Channel(5, 2, 1),))


def test_an_instrument_must_cover_each_segment_and_no_gap() -> None:
    every = np.arange(1100.0, 2500.0, 4.0)
    cut = every[((every < 1362.0) | (every > 1448.0)) & ((every < 1804.0) | (every > 1910.0))]
    check_wavelengths(cut, WATER)
    assert bands_read(cut, WATER).size < cut.size
    with pytest.raises(WavelengthError, match=r"up to 100\.0 nm apart.*by gaps in the \[grid\]"):
        check_wavelengths(every[(every < 1354.0) | (every > 1450.0)], WATER)
    with pytest.raises(WavelengthError, match="apart"):
        check_wavelengths(cut, dataclasses.replace(WATER, gaps=(), bands=345))


def test_old_manifests_are_unchanged_to_the_byte_and_gaps_are_kept() -> None:
    bundle = bundles.read(NETWORK_BUNDLE)
    text = bundle.manifest.to_json()
    assert parse(text).to_json() == text
    assert '"gaps"' not in text
    assert json.loads(text)["recipe"]["grid"].keys() == {"start_nm", "step_nm", "bands"}
    assert build(Grid, to_data(WATER)) == WATER
    preprocessing = Preprocessing(WATER, CHANNELS)
    manifest = dataclasses.replace(bundle.manifest, preprocessing=preprocessing)
    assert parse(manifest.to_json()).preprocessing == preprocessing


class Model:
    """A model of one property that answers with means of its input."""

    def __init__(self, grid: Grid) -> None:
        wavelengths = np.arange(1100.0, 2500.0, 2.0)
        soils = absorbance(made_up_soils(wavelengths, 3, 0))
        on_grid = soils @ resampling_matrix(wavelengths, grid).T
        manifest = SimpleNamespace(
            preprocessing=Preprocessing(grid, CHANNELS),
            targets=bundles.read(NETWORK_BUNDLE).manifest.targets[:1],
        )
        self.bundle: Any = SimpleNamespace(
            manifest=manifest, source="-", self_test=lambda: SimpleNamespace(absorbance=on_grid)
        )
        self.correction: Correction | None = None
        self.domain: Domain | None = None

    def outputs(self, inputs: Float32) -> Float32:
        """Return the mean of the last channel."""
        mean: Float32 = inputs[:, -1].mean(axis=1, keepdims=True)
        return mean


@pytest.mark.parametrize("inside", [np.nan, 0.0, -0.3, np.inf])
def test_what_an_instrument_measures_in_a_gap_is_never_read(inside: float) -> None:
    wavelengths = np.arange(1100.0, 2500.0, 2.0)
    (soil,) = made_up_soils(wavelengths, 1, 5)
    predictor = Predictor(Model(WATER), wavelengths)
    in_gap = np.any(
        [(wavelengths > first) & (wavelengths < last) for first, last in WATER.gaps], axis=0
    )
    expected = predictor(absorbance(soil))
    assert expected.estimates
    spoilt = np.where(in_gap, inside, soil)
    with np.errstate(invalid="ignore", divide="ignore"):
        assert predictor(-np.log10(spoilt)) == expected
    info = InstrumentInfo("x", "x", "1", 1, wavelengths, 65535, 1, 1, 1, Quantity.REFLECTANCE)
    scan = SimpleNamespace(counts=spoilt, saturated=False, settings=None)
    assert Pipeline(predictor, info)(scan) == expected  # type: ignore[arg-type]
    lamp = np.where(in_gap, 0.0, 1e4)
    dark, white = (
        SimpleNamespace(counts=each, saturated=False, temperature_c=25.0)
        for each in (0.0 * lamp, lamp)
    )
    for reference in (dark, white):
        reference.settings = SimpleNamespace(integration_us=1)
    counting = dataclasses.replace(info, quantity=Quantity.COUNTS)
    references = References(dark, white, 1.0)  # type: ignore[arg-type]
    scan = SimpleNamespace(
        counts=lamp * soil, saturated=False, settings=white.settings, temperature_c=25.0
    )
    (value,) = Pipeline(predictor, counting, references)(_scan(scan)).estimates.values()
    assert value.value == pytest.approx(next(iter(expected.estimates.values())).value)


def _scan(scan: Any) -> Scan:
    return scan  # type: ignore[no-any-return]


def test_a_sensor_s_pixels_inside_a_gap_need_no_library() -> None:
    library = np.arange(1090.0, 2500.0, 2.0)
    library = library[
        ((library < 1372.0) | (library > 1438.0)) & ((library < 1812.0) | (library > 1900.0))
    ]
    sensor = Sensor(tuple(np.arange(1100.0, 2490.0, 7.0).tolist()), 14.0)
    matrix = View(WATER, sensor).matrix(library)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-9)
    # A straight line stays one, also beside a gap: no band there stands for the gap.
    np.testing.assert_allclose(matrix @ library, WATER.wavelengths(), atol=1.5)
    read = bands_used(matrix, WATER)
    assert not np.any((library[read] > 1400.0) & (library[read] < 1410.0))
    with pytest.raises(WavelengthError, match="apart"):
        View(dataclasses.replace(WATER, gaps=(), bands=345), sensor).matrix(library)


def test_a_shift_carries_nothing_across_a_gap() -> None:
    rng = np.random.default_rng(3)
    spectra = 0.5 + np.cumsum(rng.normal(size=(4, WATER.bands)), axis=1) * 0.01
    other = spectra.copy()
    first, second, third = WATER.segments()
    other[:, second] += rng.normal(size=(4, second.stop - second.start))
    plain = Preprocessor(Preprocessing(WATER, (Channel(5, 2, 1, snv=False),)), WATER.wavelengths())
    settings = Augmentation(slope=0.0, shift_nm=2.0, broadening_nm=4.0, input_shift=0.0)
    varied = [
        VariedInputs(plain, each, settings, seed=1).batch(
            Mixture(np.arange(4)), np.random.default_rng(2)
        )
        for each in (spectra, other)
    ]
    for segment in (first, third):
        np.testing.assert_array_equal(varied[0][..., segment], varied[1][..., segment])
    assert np.all(varied[0][..., second] != varied[1][..., second])


def test_a_tilt_is_straight_over_the_wavelengths() -> None:
    plain = Preprocessor(Preprocessing(WATER, (Channel(snv=False),)), WATER.wavelengths())
    flat = np.full((1, WATER.bands), 0.5)
    settings = Augmentation(slope=0.1, input_shift=0.0)
    (tilted,) = VariedInputs(plain, flat, settings, seed=1).batch(
        Mixture(np.arange(1)), np.random.default_rng(2)
    )
    slopes = np.diff(tilted[0]) / np.diff(WATER.wavelengths())
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-2)


def test_pds_stays_inside_a_segment() -> None:
    rng = np.random.default_rng(0)
    reference = 0.5 + np.cumsum(rng.normal(size=(12, WATER.bands)), axis=1) * 0.01
    field = 1.05 * reference + rng.normal(scale=1e-3, size=reference.shape)
    pairs = Pairs(tuple(map(str, range(12))), reference, field)
    windows = fit_pds(pairs, 5, 2, WATER).windows()
    for one, other in itertools.permutations(WATER.segments(), 2):
        assert not windows[one, other].any()
    assert np.sqrt(np.mean((field @ windows.T - reference) ** 2)) < 0.1


def test_the_c_header_names_the_gaps() -> None:
    preprocessing = Preprocessing(WATER, (Channel(),))
    said = _input_and_output(preprocessing, bundles.read(NETWORK_BUNDLE).manifest.targets, False)
    assert "293 bands, 1104 to 2480 nm by 4 nm without 1360 to 1450 nm and 1800 to 1912 nm" in said

"""Preprocessing compared with scipy and chemotools, and compiled with step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from chemotools.scatter import StandardNormalVariate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.signal import savgol_filter

import ccnvr.train
from ccnvr.edge.chemometrics.filters import BandedRows, savgol_matrix
from ccnvr.edge.chemometrics.grid import (
    Grid,
    WavelengthError,
    bands_read,
    check_wavelengths,
    resampling_matrix,
)
from ccnvr.edge.chemometrics.preprocess import (
    Channel,
    Preprocessing,
    Preprocessor,
    SpectrumError,
    absorbance,
    snv,
)
from ccnvr.edge.spectrum_files import limesoda

GRID = Grid(1104.0, 2.0, 200)
CHANNELS = (
    Channel(),
    Channel(15, 2, 1),
    Channel(21, 3, 2),
    Channel(window=11, polyorder=2, snv=False),
)

spectra = arrays.arrays(np.float64, 60, elements=st.floats(-3.0, 3.0, allow_subnormal=False))


@given(spectra, st.sampled_from([3, 5, 11, 21, 59]), st.integers(0, 4), st.integers(0, 3))
def test_savitzky_golay_equals_scipy_s(
    spectrum: np.ndarray, window: int, polyorder: int, deriv: int
) -> None:
    polyorder = min(polyorder, window - 1)
    deriv = min(deriv, polyorder)
    ours = savgol_matrix(60, window, polyorder, deriv, step=2.0) @ spectrum
    theirs = savgol_filter(spectrum, window, polyorder, deriv=deriv, delta=2.0, mode="interp")
    # SciPy fits the polynomials at the ends on positions from 0 to 58, which loses 1e-10; ours run
    # from -1 to 1.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 if window == 59 else 1e-10)


@given(arrays.arrays(np.float64, (3, 40), elements=st.floats(0.0, 3.0), unique=True))
def test_standard_normal_variate_equals_chemotools_s(batch: np.ndarray) -> None:
    np.testing.assert_allclose(
        snv(batch), StandardNormalVariate().fit_transform(batch), rtol=0, atol=1e-10
    )


def test_real_soils_through_scipy_and_chemotools_give_the_model_s_input() -> None:
    soils = limesoda.load("UL.120")
    spectra = absorbance(soils.reflectance)
    ours = Preprocessor(Preprocessing(GRID, CHANNELS), soils.wavelengths_nm).batch(spectra)
    resampled = np.array(
        [np.interp(GRID.wavelengths(), soils.wavelengths_nm, spectrum) for spectrum in spectra]
    )
    scatter = StandardNormalVariate()
    theirs = [
        scatter.fit_transform(resampled),
        scatter.fit_transform(savgol_filter(resampled, 15, 2, deriv=1, delta=2.0)),
        scatter.fit_transform(savgol_filter(resampled, 21, 3, deriv=2, delta=2.0)),
        savgol_filter(resampled, 11, 2),
    ]
    # The model's input is float32, so only its rounding may differ.
    np.testing.assert_allclose(ours, np.stack(theirs, axis=1), rtol=1e-6, atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(40, 300))
def test_the_compiled_operator_equals_the_dense_matrix(seed: int, pixels: int) -> None:
    rng = np.random.default_rng(seed)
    wavelengths = np.sort(
        np.concatenate([np.arange(1000.0, 1610.0, 11.0), rng.uniform(1000.0, 1600.0, pixels)])
    )
    if np.any(np.diff(wavelengths) == 0.0):
        return
    spectrum = np.cumsum(rng.normal(size=wavelengths.size)) * 0.01 + 0.5
    preprocess = Preprocessor(Preprocessing(GRID, CHANNELS), wavelengths)
    np.testing.assert_allclose(
        preprocess(spectrum), preprocess.batch(spectrum[None])[0], rtol=1e-6, atol=1e-6
    )


@given(st.integers(0, 2**32 - 1))
def test_banded_rows_hold_the_whole_matrix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.triu(np.tril(rng.normal(size=(30, 20)), 3), -14)
    block = np.zeros((20, 30))
    BandedRows.of(matrix).place_in(block, 0)
    np.testing.assert_array_equal(block.T, matrix)


def test_resampling_keeps_straight_lines_and_knots() -> None:
    wavelengths = np.concatenate([[1100.0, 1103.0], np.arange(1110.0, 1700.0, 7.0)])
    matrix = resampling_matrix(wavelengths, GRID)
    np.testing.assert_allclose(matrix @ wavelengths, GRID.wavelengths(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        resampling_matrix(GRID.wavelengths(), GRID), np.eye(GRID.bands), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("wavelengths", "words"),
    [
        ([1110.0, 1600.0], "covers 1110.0-1600.0 nm but the model needs 1104.0-1502.0 nm"),
        ([1000.0, 1500.0], "covers 1000.0-1500.0 nm"),
        ([1000.0], "the 1 wavelengths"),
        ([1600.0, 1000.0], "increasing"),
        ([1000.0, np.nan, 1600.0], "increasing"),
        (
            [*np.arange(1100.0, 1300.0, 10.0), *np.arange(1320.0, 1600.0, 10.0)],
            "up to 30.0 nm apart",
        ),
        ([1000.0, 1600.0], "up to 600.0 nm apart"),
    ],
)
def test_wavelengths_that_cannot_serve_are_refused(wavelengths: list[float], words: str) -> None:
    with pytest.raises(WavelengthError, match=words):
        check_wavelengths(np.array(wavelengths), GRID)


@pytest.mark.parametrize("bad", [0.0, -0.1, np.nan, np.inf])
def test_reflectance_that_is_not_positive_is_refused(bad: float) -> None:
    with pytest.raises(SpectrumError, match=f"band 3 is {bad:.4g}"):
        absorbance(np.array([0.5, 0.4, 0.3, bad, 0.2]))


def test_spectra_that_cannot_be_used_are_refused() -> None:
    preprocess = Preprocessor(Preprocessing(GRID, CHANNELS), GRID.wavelengths())
    with pytest.raises(SpectrumError, match="has 199 bands but the instrument stated 200"):
        preprocess(np.zeros(199))
    with pytest.raises(SpectrumError, match="constant"):
        preprocess(np.ones(200))
    spectrum = np.linspace(0.0, 1.0, 200)
    spectrum[50] = np.nan
    with pytest.raises(SpectrumError, match=r"at 1204\.0 nm is not a number"):
        preprocess(spectrum)


@pytest.mark.parametrize("arguments", [(60, 4, 2, 0), (60, 61, 2, 0), (60, 5, 5, 0), (60, 5, 2, 3)])
def test_impossible_filters_are_refused(arguments: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="Savitzky-Golay"):
        savgol_matrix(*arguments, step=1.0)


def test_training_has_no_preprocessing_of_its_own() -> None:
    folder = Path(ccnvr.train.__file__).parent
    code = "".join(path.read_text() for path in folder.rglob("*.py"))
    assert "Preprocessor" in code
    for word in ("savgol_filter", "np.log10", "std(axis=1", "std(axis=-1", "np.interp"):
        assert word not in code


def test_the_last_band_stands_for_an_end_of_the_grid_just_beyond_it() -> None:
    """As of an instrument with 900.4-1699.5 nm and a model of 900-1700 nm."""
    grid, nm = Grid(900.0, 10.0, 81), np.linspace(900.4, 1699.5, 206)
    matrix = resampling_matrix(nm, grid)
    assert matrix[0, 0] == matrix[-1, -1] == 1.0
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    np.testing.assert_allclose(matrix[1:-1] @ nm, grid.wavelengths()[1:-1])
    np.testing.assert_array_equal(bands_read(nm, grid), np.arange(206))
    for beyond in (nm + 0.7, nm - 0.6):
        with pytest.raises(WavelengthError, match="but the model needs 900"):
            resampling_matrix(beyond, grid)

"""Grids of separate bands, for sensors that measure nothing in between."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ccnvr.edge.chemometrics.domain import DomainShape
from ccnvr.edge.chemometrics.grid import (
    BAND_TOLERANCE_NM,
    Grid,
    WavelengthError,
    bands_read,
    check_wavelengths,
    resampling_matrix,
)
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing, Preprocessor
from ccnvr.edge.typed import build, to_data
from ccnvr.firmware_bridge.simulators.as7265x import WAVELENGTHS
from ccnvr.firmware_bridge.simulators.bench import made_up_soils
from ccnvr.train.libraries.sensor import Sensor, View, bands_used
from ccnvr.train.network.augment import Mixture, VariedInputs
from ccnvr.train.recipe.settings import Augmentation

BANDS = tuple(WAVELENGTHS.tolist())
GRID = Grid(wavelengths_nm=BANDS)


def test_separate_bands_decide_all_other_fields() -> None:
    assert (GRID.start_nm, GRID.stop_nm, GRID.step_nm, GRID.bands) == (410.0, 940.0, 25.0, 18)
    assert GRID.shortest_segment == 1 and len(GRID.segments()) == 18
    assert str(GRID) == "18 bands of 410-940 nm"
    assert np.array_equal(GRID.wavelengths(), WAVELENGTHS)
    # A grid without the key is written without it, so that older versions read it.
    assert "wavelengths_nm" not in to_data(Grid(1104.0, 4.0, 348))
    assert build(Grid, json.loads(json.dumps(to_data(GRID)))) == GRID
    assert build(Grid, {"wavelengths_nm": list(BANDS)}) == GRID


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"wavelengths_nm": [500.0, 400.0]}, "2 to 4200 increasing wavelengths"),
        ({"wavelengths_nm": [500.0, float("nan")]}, "must be a finite number"),
        ({"wavelengths_nm": [500.0]}, "grid of 1 bands"),
        ({"wavelengths_nm": [400.0, 500.0], "gaps": [[440.0, 460.0]]}, "1 gaps is not possible"),
        ({"wavelengths_nm": [400.0, 500.0], "bands": 3}, "bands = 3 of the grid contradicts"),
        ({"wavelengths_nm": [400.0, 500.0], "start_nm": 410.0}, "from which 400 follows"),
        ({"start_nm": 400.0}, "give start_nm, step_nm and 2 to 4200 bands, or wavelengths_nm"),
    ],
)
def test_what_a_grid_of_separate_bands_cannot_be(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(Grid, fields)


def test_the_sensors_own_bands_are_taken_as_they_are() -> None:
    check_wavelengths(WAVELENGTHS, GRID)
    assert np.array_equal(resampling_matrix(WAVELENGTHS, GRID), np.eye(18))
    # Another copy of the sensor is off by some nanometres, and still gives its own bands.
    off = WAVELENGTHS + np.where(np.arange(18) % 2, BAND_TOLERANCE_NM, -BAND_TOLERANCE_NM)
    assert np.array_equal(resampling_matrix(off, GRID), np.eye(18))
    assert np.array_equal(bands_read(off, GRID), np.arange(18))


def test_a_continuous_spectrum_is_interpolated() -> None:
    nm = np.arange(350.5, 1000.0, 7.0)
    soils = made_up_soils(nm, 5, 0)
    expected = [np.interp(WAVELENGTHS, nm, soil) for soil in soils]
    assert np.allclose(soils @ resampling_matrix(nm, GRID).T, expected)
    read = bands_read(nm, GRID)
    assert read.size < nm.size
    foreign = np.where(np.isin(np.arange(nm.size), read), soils, np.nan)
    assert np.array_equal(
        soils[:, read] @ resampling_matrix(nm[read], GRID).T,
        foreign[:, read] @ resampling_matrix(nm[read], GRID).T,
    )


@pytest.mark.parametrize(
    ("nm", "missing"),
    [
        (np.delete(WAVELENGTHS, 3), "5 nm of 485 nm"),
        (WAVELENGTHS + 6.0, "5 nm of 410, 435, 460, ... nm"),
        (np.linspace(365.0, 939.2, 10), "5 nm of 410, 435, 460, ... nm"),
        (np.arange(500.0, 1000.0, 2.0), "5 nm of 410, 435, 460, ... nm"),
    ],
)
def test_an_instrument_without_these_bands_is_refused(
    nm: np.ndarray[tuple[int], np.dtype[np.float64]], missing: str
) -> None:
    with pytest.raises(WavelengthError, match="the instrument has no band within") as refusal:
        resampling_matrix(nm, GRID)
    assert missing in str(refusal.value)


def test_no_filter_crosses_separate_bands() -> None:
    with pytest.raises(ValueError, match="window of 5 is longer than the grid of 1 bands"):
        Preprocessing(GRID, (Channel(5, 2, 1),))
    shape = DomainShape(1, 1, 2, ("a",), 0.04)
    soils = -np.log10(made_up_soils(WAVELENGTHS, 3, 0))
    smoothed = Preprocessor(shape.preprocessing(GRID), WAVELENGTHS).batch(soils)
    assert np.allclose(smoothed[:, 0], soils, atol=1e-6)


def test_libraries_are_seen_through_the_sensors_bands() -> None:
    nm = np.arange(400.0, 1001.0, 10.0)
    soils = -np.log10(made_up_soils(nm, 20, 0))
    matrix = View(GRID, Sensor(BANDS, 20.0)).matrix(nm)
    assert np.allclose(matrix.sum(axis=1), 1.0)
    # Soils are smooth here, so that the width of the bands changes them by little.
    assert np.allclose(soils @ matrix.T, soils @ resampling_matrix(nm, GRID).T, atol=2e-3)
    used = bands_used(matrix, GRID)
    assert used.size and np.all(matrix[:, np.setdiff1d(np.arange(nm.size), used)] == 0.0)


def test_augmentation_of_separate_bands() -> None:
    soils = -np.log10(made_up_soils(WAVELENGTHS, 6, 0))
    preprocess = Preprocessor(Preprocessing(GRID, (Channel(snv=False),)), WAVELENGTHS)
    varied = VariedInputs(preprocess, soils, Augmentation(slope=0.1, input_shift=0.0), 0).batch(
        Mixture(np.arange(6)), np.random.default_rng(0)
    )
    # A tilt is a straight line over the wavelengths, and not over the numbers of the bands.
    tilt = varied[:, 0] - soils
    line = np.polynomial.polynomial.polyfit(WAVELENGTHS, tilt.T, 1)
    fitted = np.polynomial.polynomial.polyval(WAVELENGTHS, line)
    assert np.abs(tilt).max() > 0.01 and np.allclose(tilt, fitted, atol=1e-5)

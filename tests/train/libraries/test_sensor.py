"""A library seen through another sensor, on real soils."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge.chemometrics.grid import Grid, WavelengthError, resampling_matrix
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.firmware_bridge.simulators.handheld import onto_pixels, pixel_wavelengths
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.sensor import Sensor, View, line_shapes
from ccnvr.train.recipe import recipe_file as training_recipes
from ccnvr.train.runs import run as runs
from tests.support import recipes
from tests.support.helpers import assert_one_sentence, run_ccnvr

GRID = Grid(1110.0, 4.0, 340)
PIXELS = tuple(pixel_wavelengths().tolist())


@given(st.floats(4.0, 60.0), st.floats(1200.0, 2300.0))
def test_a_line_shape_has_the_width_and_the_centre_that_it_states(
    fwhm: float, centre: float
) -> None:
    wavelengths = np.arange(1000.0, 2500.5, 0.5)
    sensor = Sensor((centre, centre + 5.0), fwhm)
    matrix = line_shapes(wavelengths, sensor)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    seen = matrix[0] @ wavelengths
    assert seen == pytest.approx(centre, abs=1e-3)
    deviation = np.sqrt(matrix[0] @ (wavelengths - seen) ** 2)
    # Full width at half maximum of a Gaussian: 2 sqrt(2 ln 2) sd.
    assert deviation * 2.354820 == pytest.approx(fwhm, rel=2e-3)


def seen_in_absorbance(soils: limesoda.LimeSoDaSet, fwhm: float) -> np.ndarray:
    view = View(GRID, Sensor(PIXELS, fwhm))
    return absorbance(soils.reflectance) @ view.matrix(soils.wavelengths_nm).T


@pytest.mark.parametrize(
    ("fwhm", "library", "largest"),
    [(10.0, "SL.125", 5e-4), (16.0, "SL.125", 5e-4), (16.0, "CV.98", 0.035)],
)
def test_a_view_in_absorbance_is_close_to_light_adding_up_in_reflectance(
    fwhm: float, library: str, largest: float
) -> None:
    soils = limesoda.load(library)
    sensor = Sensor(PIXELS, fwhm)
    sensed = absorbance(soils.reflectance @ line_shapes(soils.wavelengths_nm, sensor).T)
    difference = (
        seen_in_absorbance(soils, fwhm) - sensed @ resampling_matrix(pixel_wavelengths(), GRID).T
    )
    assert 0.0 < np.abs(difference).max() < largest


def test_the_simulated_handheld_s_512_pixels_see_real_soils() -> None:
    soils = limesoda.load("SL.125")
    fine, coarse = seen_in_absorbance(soils, 3.0), seen_in_absorbance(soils, 40.0)
    # Narrow pixels see what the simulator's do, which have no width.
    simulated = onto_pixels(soils.wavelengths_nm, soils.reflectance)
    direct = absorbance(simulated) @ resampling_matrix(pixel_wavelengths(), GRID).T
    assert np.sqrt(np.mean((fine - direct) ** 2)) < 1e-4
    # Wide ones lose the depth of hydroxyl's narrow band at 2,207 nm.
    grid = GRID.wavelengths()
    band, shoulders = (
        np.argmin(np.abs(grid - 2207.0)),
        [np.argmin(np.abs(grid - nm)) for nm in (2150.0, 2260.0)],
    )
    depths = [
        np.mean(spectra[:, band] - spectra[:, shoulders].mean(axis=1))
        for spectra in (direct, coarse)
    ]
    assert depths[1] < 0.9 * depths[0]


def test_without_an_instrument_a_view_only_resamples() -> None:
    wavelengths = np.arange(1100.0, 2500.0, 3.0)
    np.testing.assert_array_equal(
        View(GRID).matrix(wavelengths), resampling_matrix(wavelengths, GRID)
    )


def test_every_kind_of_library_is_seen_through_the_sensor(tmp_path: Path) -> None:
    sensor = Sensor(PIXELS, 8.0)
    soils = limesoda.load("SL.125")
    expected = seen_in_absorbance(soils, 8.0)
    np.testing.assert_array_equal(
        libraries.load_library("SL.125", GRID, sensor=sensor).spectra, expected
    )
    header = ["sample_id", "OC", *(f"{nm:g}" for nm in soils.wavelengths_nm)]
    rows = [
        [name, "1", *map(str, spectrum)]
        for name, spectrum in zip("ab", soils.reflectance[:2], strict=True)
    ]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(map(",".join, [header, *rows])))
    np.testing.assert_allclose(
        libraries.load_library(str(path), GRID, sensor=sensor).spectra, expected[:2], rtol=1e-9
    )


def test_nirsoil_is_seen_through_the_sensor(
    nirsoil_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCNVR_DATA", str(nirsoil_data))
    plain = libraries.load_library("nirsoil", Grid(1100.0, 2.0, 700)).spectra
    view = View(GRID, Sensor(PIXELS, 8.0))
    seen = libraries.load_library("nirsoil", GRID, sensor=view.sensor).spectra
    np.testing.assert_allclose(
        seen, plain @ view.matrix(np.linspace(1100.0, 2498.0, 700)).T, rtol=0, atol=1e-10
    )


def test_what_a_library_cannot_show_is_refused() -> None:
    wavelengths = np.arange(1100.0, 2500.0, 5.0)
    with pytest.raises(
        WavelengthError, match=r"pixels lie at 1000-1500 nm and the library covers 1100-2495 nm"
    ):
        line_shapes(wavelengths, Sensor((1000.0, 1500.0), 10.0))
    with pytest.raises(
        WavelengthError,
        match=r"pixel at 1250 nm is 4 nm wide and the library's bands lie 5 nm apart",
    ):
        line_shapes(wavelengths, Sensor((1200.0, 1250.0), (10.0, 4.0)))
    with pytest.raises(
        WavelengthError, match=r"^UL\.120: the instrument's pixels lie at 300-2400 nm"
    ):
        libraries.load_library(
            "UL.120",
            Grid(1200.0, 10.0, 100),
            sensor=Sensor(tuple(np.arange(300.0, 2401.0, 10.0)), 12.0),
        )
    with pytest.raises(WavelengthError, match=r"covers 1200\.0-1210\.0 nm"):
        View(GRID, Sensor((1200.0, 1210.0), 10.0)).matrix(np.arange(1100.0, 2500.0, 5.0))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            "centres_nm = [1200, 1100]\nfwhm_nm = 8",
            "sensor.toml: centres_nm[1] is 1100 nm; wavelengths must be above 0",
        ),
        (
            "centres_nm = [1200]\nfwhm_nm = 8",
            "centres_nm has 1 wavelengths and must have from 2 to 4200",
        ),
        ("centres_nm = [1100, 1200]\nfwhm_nm = [8, 8, 8]", "3 widths for 2 centres"),
        ("centres_nm = [1100, 1200]\nfwhm_nm = 0", "0 nm is not a width"),
        ("centres_nm = [1100, 1200]", "sensor.toml: key 'fwhm_nm' is missing"),
        (
            "centres_nm = [1000, 1010]\nfwhm_nm = 8",
            "[instrument] cannot see [grid]: the spectrum covers 1000.0-1010.0 nm",
        ),
        (
            f"centres_nm = {list(range(1100, 2501, 14))}\nfwhm_nm = 8",
            "cannot see [grid]: bands lie up to 14.0 nm apart",
        ),
        ("centres_nm = 'all'\nfwhm_nm = 8", "sensor.toml: 'centres_nm' is 'all'"),
    ],
)
def test_a_sensor_that_is_none_is_refused(tmp_path: Path, table: str, words: str) -> None:
    path = tmp_path / "sensor.toml"
    path.write_text(table)
    with pytest.raises(CcnvrError) as caught:
        runs.train(recipes.write(tmp_path), tmp_path / "run", sensor=path)
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_instrument_s_file_stands_for_a_table_of_the_recipe(tmp_path: Path) -> None:
    sensor = tmp_path / "sensor.toml"
    sensor.write_text(f"centres_nm = {list(PIXELS)}\nfwhm_nm = 8\n")
    path = recipes.write(tmp_path)
    recipe = training_recipes.parse(training_recipes.read(path, sensor), path)
    assert recipe.sensor == Sensor(PIXELS, 8.0)
    assert training_recipes.load(path).sensor is None
    missing = run_ccnvr(
        "train", path, "--out", tmp_path / "run", "--instrument", tmp_path / "none.toml"
    )
    assert_one_sentence(missing, 2, f"instrument {tmp_path / 'none.toml'} cannot be read")

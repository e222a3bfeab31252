"""A library seen through another sensor, and random differences between instruments, on real soils."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import recipes
from helpers import assert_one_sentence, run_ccnvr
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge import limesoda
from ccnvr.edge.preprocess import Grid, WavelengthError, absorbance, resampling_matrix
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.firmware_bridge.simulator import onto_pixels, pixel_wavelengths
from ccnvr.train import libraries
from ccnvr.train import recipe as training_recipes
from ccnvr.train import run as runs
from ccnvr.train.instrument import Instrument, View, line_shapes
from ccnvr.train.instrument_variation import InstrumentVariation, vary_instrument

GRID = Grid(1110.0, 4.0, 340)
PIXELS = tuple(pixel_wavelengths().tolist())


@given(st.floats(4.0, 60.0), st.floats(1200.0, 2300.0))
def test_a_line_shape_has_the_width_and_the_centre_that_it_states(fwhm: float, centre: float) -> None:
    wavelengths = np.arange(1000.0, 2500.5, 0.5)
    sensor = Instrument((centre, centre + 5.0), fwhm)
    matrix = line_shapes(wavelengths, sensor)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    seen = matrix[0] @ wavelengths
    assert seen == pytest.approx(centre, abs=1e-3)
    deviation = np.sqrt(matrix[0] @ (wavelengths - seen) ** 2)
    # Full width at half maximum of a Gaussian: 2 sqrt(2 ln 2) sd.
    assert deviation * 2.354820 == pytest.approx(fwhm, rel=2e-3)


def test_light_adds_up_in_reflectance() -> None:
    wavelengths = np.arange(1100.0, 2500.0, 1.0)
    # A line much narrower than the pixel: in reflectance, its area is kept.
    reflectance = np.where(np.abs(wavelengths - 1800.0) < 2.0, 0.1, 0.5)
    matrix = line_shapes(wavelengths, Instrument((1790.0, 1800.0, 1810.0), 20.0))
    sensed = matrix @ reflectance
    peak = 2.0 * np.sqrt(np.log(2.0) / np.pi) / 20.0
    assert 0.5 - sensed[1] == pytest.approx(0.4 * 3.0 * peak, rel=1e-2)
    grid = Grid(1790.0, 10.0, 3)
    sensor = Instrument((1790.0, 1800.0, 1810.0), 20.0)
    np.testing.assert_allclose(View(wavelengths, grid, sensor)(reflectance[None])[0], absorbance(sensed), rtol=1e-12)


def test_the_simulated_handheld_s_512_pixels_see_real_soils() -> None:
    soils = limesoda.load("SL.125")
    fine = View(soils.wavelengths_nm, GRID, Instrument(PIXELS, 3.0))(soils.reflectance)
    coarse = View(soils.wavelengths_nm, GRID, Instrument(PIXELS, 40.0))(soils.reflectance)
    # Narrow pixels see what the simulator's do, which have no width.
    simulated = onto_pixels(soils.wavelengths_nm, soils.reflectance)
    direct = absorbance(simulated) @ resampling_matrix(pixel_wavelengths(), GRID).T
    assert np.sqrt(np.mean((fine - direct) ** 2)) < 1e-4
    # Wide ones lose the depth of hydroxyl's narrow band at 2,207 nm.
    grid = GRID.wavelengths()
    band, shoulders = np.argmin(np.abs(grid - 2207.0)), [np.argmin(np.abs(grid - nm)) for nm in (2150.0, 2260.0)]
    depths = [np.mean(spectra[:, band] - spectra[:, shoulders].mean(axis=1)) for spectra in (direct, coarse)]
    assert depths[1] < 0.9 * depths[0]


def test_every_kind_of_library_is_seen_through_the_sensor(tmp_path: Path) -> None:
    sensor = Instrument(PIXELS, 8.0)
    soils = limesoda.load("SL.125")
    expected = View(soils.wavelengths_nm, GRID, sensor)(soils.reflectance)
    np.testing.assert_array_equal(libraries.load("SL.125", GRID, instrument=sensor).spectra, expected)
    header = ["sample_id", "OC", *(f"{nm:g}" for nm in soils.wavelengths_nm)]
    rows = [[name, "1", *map(str, spectrum)] for name, spectrum in zip("ab", soils.reflectance[:2], strict=True)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(map(",".join, [header, *rows])))
    np.testing.assert_allclose(libraries.load(str(path), GRID, instrument=sensor).spectra, expected[:2], rtol=1e-9)


def test_nirsoil_is_seen_in_reflectance_though_it_is_published_in_absorbance(
    nirsoil_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCNVR_DATA", str(nirsoil_data))
    plain = libraries.load("nirsoil", Grid(1100.0, 2.0, 700))
    seen = libraries.load("nirsoil", GRID, instrument=Instrument(PIXELS, 8.0))
    expected = View(np.linspace(1100.0, 2498.0, 700), GRID, Instrument(PIXELS, 8.0))(10.0**-plain.spectra)
    np.testing.assert_allclose(seen.spectra, expected, rtol=0, atol=1e-10)


def test_what_a_library_cannot_show_is_refused() -> None:
    wavelengths = np.arange(1100.0, 2500.0, 5.0)
    with pytest.raises(UsageError, match=r"pixels lie at 1000-1500 nm and the library covers 1100-2495 nm"):
        line_shapes(wavelengths, Instrument((1000.0, 1500.0), 10.0))
    with pytest.raises(UsageError, match=r"pixel at 1250 nm is 4 nm wide and the library's bands lie 5 nm apart"):
        line_shapes(wavelengths, Instrument((1200.0, 1250.0), (10.0, 4.0)))
    with pytest.raises(WavelengthError, match=r"covers 1200\.0-1210\.0 nm"):
        View(wavelengths, GRID, Instrument((1200.0, 1210.0), 10.0))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("centres_nm = [1200, 1100]\nfwhm_nm = 8", "2 centres_nm must be 2 to 4200 increasing wavelengths"),
        ("centres_nm = [1200]\nfwhm_nm = 8", "1 centres_nm"),
        ("centres_nm = [1100, 1200]\nfwhm_nm = [8, 8, 8]", "3 widths for 2 centres"),
        ("centres_nm = [1100, 1200]\nfwhm_nm = 0", "0 nm is not a width"),
        ("centres_nm = [1100, 1200]", "'instrument.fwhm_nm' is missing"),
        ("centres_nm = [1000, 1010]\nfwhm_nm = 8", "the model needs 1104.0-2494.0 nm"),
        ("centres_nm = 'all'\nfwhm_nm = 8", "'instrument.centres_nm' is 'all'"),
    ],
)
def test_a_sensor_that_is_none_is_refused(tmp_path: Path, table: str, words: str) -> None:
    path = tmp_path / "sensor.toml"
    path.write_text(table)
    with pytest.raises(CcnvrError) as caught:
        runs.train(recipes.write(tmp_path), tmp_path / "run", path)
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_instrument_s_file_stands_for_a_table_of_the_recipe(tmp_path: Path) -> None:
    sensor = tmp_path / "sensor.toml"
    sensor.write_text(f"centres_nm = {list(PIXELS)}\nfwhm_nm = 8\n")
    path = recipes.write(tmp_path)
    recipe = training_recipes.parse(training_recipes.read(path, sensor), path)
    assert recipe.instrument == Instrument(PIXELS, 8.0)
    assert training_recipes.load(path).instrument is None
    missing = run_ccnvr("train", path, "--out", tmp_path / "run", "--instrument", tmp_path / "none.toml")
    assert_one_sentence(missing, 2, "none.toml cannot be read")


@pytest.fixture(scope="module")
def spectra() -> np.ndarray:
    return libraries.load("UL.120", GRID).spectra


def test_no_variation_is_no_change(spectra: np.ndarray, rng: np.random.Generator) -> None:
    np.testing.assert_array_equal(vary_instrument(spectra, GRID.step_nm, InstrumentVariation(), rng), spectra)


def test_a_shift_moves_features_by_its_nanometres(rng: np.random.Generator) -> None:
    line = np.tile(0.001 * GRID.wavelengths(), (4000, 1))
    varied = vary_instrument(line, GRID.step_nm, InstrumentVariation(shift_nm=3.0), rng)
    moved = (varied - line)[:, 20:-20] / 0.001
    np.testing.assert_allclose(moved, moved[:, :1] + np.zeros(moved.shape[1]), rtol=0, atol=1e-9)
    assert np.std(moved[:, 0]) == pytest.approx(3.0, rel=0.1)
    assert abs(np.mean(moved[:, 0])) < 0.2


def test_broadening_only_ever_smooths(spectra: np.ndarray, rng: np.random.Generator) -> None:
    varied = vary_instrument(spectra, GRID.step_nm, InstrumentVariation(broadening_nm=15.0), rng)
    roughness = [np.sum(np.diff(each, 2, axis=1) ** 2, axis=1) for each in (spectra, varied)]
    assert np.all(roughness[1] < roughness[0])
    assert np.abs(varied - spectra).max() < 0.1
    # An even draw: some instruments are nearly as sharp as the library's, some nearly as blunt as allowed.
    kept = np.sqrt(roughness[1] / roughness[0])
    assert kept.max() - kept.min() > 0.3


def test_offset_slope_gain_and_noise_have_the_sizes_that_they_state(rng: np.random.Generator) -> None:
    flat = np.ones((4000, GRID.bands))
    for name in ("offset", "gain"):
        varied = vary_instrument(flat, GRID.step_nm, InstrumentVariation(**{name: 0.05}), rng) - flat
        assert np.std(varied[:, 0]) == pytest.approx(0.05, rel=0.1)
        np.testing.assert_allclose(varied, varied[:, :1] + np.zeros(GRID.bands), rtol=0, atol=1e-12)
    tilted = vary_instrument(flat, GRID.step_nm, InstrumentVariation(slope=0.05), rng) - flat
    np.testing.assert_allclose(tilted[:, 0], -tilted[:, -1], rtol=0, atol=1e-12)
    assert np.std(tilted[:, -1]) == pytest.approx(0.05, rel=0.1)
    noisy = vary_instrument(flat, GRID.step_nm, InstrumentVariation(noise=0.01), rng) - flat
    assert np.std(noisy) == pytest.approx(0.01, rel=0.01)


def test_variation_out_of_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gain = 1\.0 is not from 0 to below 1"):
        InstrumentVariation(gain=1.0)
    with pytest.raises(ValueError, match=r"shift_nm = -2\.0 is not from 0 to below 100"):
        InstrumentVariation(shift_nm=-2.0)
    with pytest.raises(ValueError, match="noise = nan"):
        InstrumentVariation(noise=float("nan"))

"""Spectra read as the wrong quantity are told by water's bands, and no real soil, wet or dry, is
wrongly refused.
"""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.batch.explanation import explained
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.spectrum_files import limesoda, water_bands
from ccnvr.edge.spectrum_files.plausible import faults
from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES, SpectraTable
from ccnvr.edge.spectrum_files.water_bands import upside_down, water_is_missing
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.simulators.handheld import pixel_wavelengths, synthetic_soils
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.published import r_packages
from ccnvr.train.studies.materials import MATERIALS

Array = np.ndarray
GRID = Grid(1104.0, 2.0, 696)


def check(wavelengths_nm: Array, reflectance: Array) -> None:
    """Read rightly none is refused, read as the other nearly each one: a file needs one."""
    absorbance = -np.log10(reflectance)
    assert np.min(water_bands._absorbs(wavelengths_nm, reflectance, water_bands._AT_1917)) > 0.005
    assert not np.any(upside_down(wavelengths_nm, reflectance))
    assert np.mean(upside_down(wavelengths_nm, absorbance)) > 0.98
    assert np.mean(upside_down(wavelengths_nm, 10.0**-reflectance)) > 0.98


@pytest.mark.parametrize("name", limesoda.VISNIR_SETS)
@pytest.mark.parametrize("step", [1, 6])
def test_soils_of_limesoda(name: str, step: int) -> None:
    soils = limesoda.load(name)
    check(soils.wavelengths_nm[::step], soils.reflectance[:, ::step])


def test_made_up_soils() -> None:
    check(pixel_wavelengths(), synthetic_soils(200, 1))


@pytest.mark.slow
def test_soils_of_the_r_packages(nirsoil_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCNVR_DATA", str(nirsoil_data))
    for library in ("nirsoil", "geeves"):
        check(GRID.wavelengths(), 10.0 ** -libraries.load_library(library, GRID).spectra)
    for spectra in r_packages.read_moisture(GRID).by_state.values():
        check(GRID.wavelengths(), 10.0**-spectra)


@pytest.mark.parametrize("step", [2.0, 10.0, 12.0])
def test_noise_turns_no_soil_over(step: float, rng: np.random.Generator) -> None:
    """SIMULATED noise on real soils. A file of them is still told when it is read wrongly, though
    few of its spectra may be.
    """
    soils = limesoda.load("SSP.460")
    wavelengths = np.arange(1104.0, 2495.0, step)
    clean = np.array(
        [np.interp(wavelengths, soils.wavelengths_nm, soil) for soil in soils.reflectance]
    )
    for sd in (0.005, 0.01):
        for _ in range(10):
            noisy = clean + rng.normal(0.0, sd, clean.shape)
            noisy = noisy[np.all(noisy > 0.0, axis=1)]
            assert not np.any(upside_down(wavelengths, noisy))
            assert np.any(upside_down(wavelengths, -np.log10(noisy)))


@pytest.mark.parametrize("name", MATERIALS)
def test_what_is_no_soil_is_left_to_the_domain(name: str, rng: np.random.Generator) -> None:
    """SIMULATED. Plastic holds no water and rises at 1917 nm; it absorbs near 1414 nm instead,
    where that is seen.
    """
    wavelengths = GRID.wavelengths()
    reflectance = 10.0 ** -MATERIALS[name](wavelengths, 500, rng)
    assert not np.any(upside_down(wavelengths, reflectance))
    without_1414 = wavelengths > 1540.0
    assert np.any(upside_down(wavelengths[without_1414], reflectance[:, without_1414])) == (
        name == "plastic"
    )


def test_there_is_no_verdict_where_the_band_is_not_seen() -> None:
    soils = limesoda.load("SL.125")
    wrong = -np.log10(soils.reflectance)
    for low, high, seen in ((350, 1900, False), (1950, 2500, False), (1500, 2500, True)):
        inside = (soils.wavelengths_nm >= low) & (soils.wavelengths_nm <= high)
        assert np.all(upside_down(soils.wavelengths_nm[inside], wrong[:, inside]) == seen)


@pytest.mark.parametrize("name", limesoda.VISNIR_SETS)
def test_water_is_found_in_every_soil_and_nowhere_else(name: str) -> None:
    """One by one, as a file of a single soil; with the values shifted, in most."""
    soils = limesoda.load(name)
    for reflectance in soils.reflectance:
        assert not water_is_missing(soils.wavelengths_nm, reflectance[None])
    for shift_nm in (-100.0, -60.0, 60.0, 100.0, 200.0):
        assert water_is_missing(soils.wavelengths_nm + shift_nm, soils.reflectance), shift_nm


@pytest.mark.parametrize("name", limesoda.VISNIR_SETS)
def test_no_real_soil_is_refused_as_none(name: str) -> None:
    soils = limesoda.load(name)
    for low, high in ((350.0, 1100.0), (1000.0, 2500.0), (1100.0, 2490.0), (400.0, 2500.0)):
        seen = (soils.wavelengths_nm >= low) & (soils.wavelengths_nm <= high)
        assert faults(soils.wavelengths_nm[seen], soils.reflectance[:, seen]) == {}


@pytest.mark.slow
def test_no_soil_of_the_public_files_is_refused(nirsoil_data: object) -> None:
    """Of CCNVR_DATA: nirsoil, Geeves dry and moist, ICRAF-ISRIC."""
    folder = Path(os.environ["CCNVR_DATA"])
    for name, in_absorbance in (
        ("nirsoil", True), ("geeves", False), ("geeves_moisture", True), ("icraf_isric", False)
    ):  # fmt: skip
        with gzip.open(folder / f"{name}.csv.gz", "rt") as stream:
            header, *rows = csv.reader(stream)
        bands = [column for column, cell in enumerate(header) if cell.replace(".", "").isdigit()]
        wavelengths = np.array([float(header[column]) for column in bands])
        values = np.array([[float(row[column]) for column in bands] for row in rows])
        reflectance = 10.0**-values if in_absorbance else values
        assert faults(wavelengths, reflectance) == {}, name
        assert not water_is_missing(wavelengths, reflectance), name


def table_of(wavelengths_nm: Array, spectra: Array) -> SpectraTable:
    rows = range(len(spectra))
    return SpectraTable(
        Path("a.csv"), rows, [f"s{row}" for row in rows], wavelengths_nm, spectra, {}
    )


def without_water(wavelengths_nm: Array) -> Array:
    """The bands that a model for field spectra reads."""
    vapour = (wavelengths_nm > 1335.0) & (wavelengths_nm < 1480.0)
    return np.flatnonzero(~vapour & ~((wavelengths_nm > 1770.0) & (wavelengths_nm < 2000.0)))


@pytest.mark.parametrize("name", limesoda.VISNIR_SETS)
def test_the_quantity_that_a_file_holds_is_suggested(name: str) -> None:
    """Also to a model that leaves out the water bands, which show it."""
    soils = limesoda.load(name)
    bands = without_water(soils.wavelengths_nm)
    written = {
        "reflectance": soils.reflectance,
        "percent": 100.0 * soils.reflectance,
        "absorbance": -np.log10(soils.reflectance),
    }
    for held, spectra in written.items():
        table = table_of(soils.wavelengths_nm, spectra)
        assert table.likelier_quantity(held) is None
        np.testing.assert_allclose(table.reflectance(held, bands), soils.reflectance[:, bands])
        assert "give --quantity" not in explained([table], held)
        for wrong in QUANTITIES.keys() - {held}:
            assert table.likelier_quantity(wrong) == held
            assert f"give --quantity {held}" in explained([table], wrong)
            with pytest.raises(UsageError, match=f"give --quantity {held} "):
                table.reflectance(wrong, bands)


def test_noise_where_air_absorbs_sunlight_says_nothing_of_the_quantity(
    rng: np.random.Generator,
) -> None:
    """SIMULATED: field spectra, which hold noise where water vapour absorbs."""
    soils = limesoda.load("SSP.460")
    bands = without_water(soils.wavelengths_nm)
    noisy = np.setdiff1d(np.arange(soils.wavelengths_nm.size), bands)
    for most in (0.1, 1.0, 1.9):
        spectra = soils.reflectance.copy()
        spectra[:, noisy] = rng.uniform(0.001, most, (len(spectra), noisy.size))
        table = table_of(soils.wavelengths_nm, spectra)
        assert table.reflectance("reflectance", bands).shape == (len(spectra), bands.size)


@pytest.mark.parametrize("name", MATERIALS)
def test_materials_are_no_other_quantity(name: str, rng: np.random.Generator) -> None:
    """SIMULATED. Plastic rises at 1917 nm, and its flag comes from the domain."""
    wavelengths = GRID.wavelengths()
    table = table_of(wavelengths, 10.0 ** -MATERIALS[name](wavelengths, 100, rng))
    # Only this part of reading them: white noise has values that no surface has.
    table._check_quantity("reflectance")

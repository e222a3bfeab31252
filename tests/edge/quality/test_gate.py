"""Checks of a spectrum before inference: detectors that do not meet, replicates that disagree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.inference.pipeline import Pipeline
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.quality.gate import SPLICE_JUMP, SpliceCheck, disagree
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.drivers.asd import JOINS_NM, WAVELENGTHS
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Quantity, Scan, ScanKind, Settings

pytest.importorskip("LimeSoDa")


@pytest.fixture(scope="module")
def soils() -> tuple[Array, Array]:
    """Wavelengths and absorbance of real soils, measured with ASD instruments."""
    found = limesoda.load("UL.120")
    return found.wavelengths_nm, absorbance(found.reflectance)


def test_no_real_soil_has_a_step_and_each_with_one_is_found(soils: tuple[Array, Array]) -> None:
    wavelengths, spectra = soils
    has_step = _check(wavelengths)
    assert not any(map(has_step, spectra))
    for join in JOINS_NM:
        for step in (-1.5 * SPLICE_JUMP, 1.5 * SPLICE_JUMP):
            assert all(map(has_step, spectra + step * (wavelengths > join)))


@pytest.mark.parametrize("noise", [0.001, 0.01])
def test_noise_is_no_step(
    soils: tuple[Array, Array], noise: float, rng: np.random.Generator
) -> None:
    wavelengths, spectra = soils
    has_step = _check(wavelengths)
    noisy = spectra + rng.normal(0.0, noise, spectra.shape)
    assert sum(map(has_step, noisy)) <= 1
    assert all(map(has_step, noisy + 10.0 * noise * (wavelengths > JOINS_NM[1])))


def test_joins_without_bands_on_both_sides_are_left_out(soils: tuple[Array, Array]) -> None:
    wavelengths, spectra = soils
    kept = wavelengths > 1100.0
    step = spectra[0][kept] + 0.1 * (wavelengths[kept] > 1830.0)
    assert _check(wavelengths[kept])(step)
    assert not _check(wavelengths[kept], JOINS_NM[:1])(step)
    assert not _check(wavelengths[kept], ())(step)
    assert not _check(np.array([1828.0, 1833.0]))(np.array([0.0, 1.0]))


def _check(
    wavelengths_nm: Array, joins_nm: tuple[float, ...] = JOINS_NM
) -> Callable[[Array], bool]:
    """Return a check of spectra at all bands."""
    check = SpliceCheck(wavelengths_nm, joins_nm)
    return lambda absorbance: check(absorbance[check.bands])


def test_a_scan_whose_detectors_do_not_meet_gets_no_number(model: ProvedModel) -> None:
    held = limesoda.load("SC.93")
    shown = np.isin(WAVELENGTHS, held.wavelengths_nm)
    info = InstrumentInfo(
        "ASD", "1", "1", 1, WAVELENGTHS[shown], 65_535, 1, 1, 1, Quantity.REFLECTANCE,
        joins_nm=JOINS_NM,
    )  # fmt: skip
    pipeline = Pipeline(model.bind(info.wavelengths_nm), info)
    soil = held.reflectance[40]
    good = Scan(1, ScanKind.SAMPLE, soil, Settings(1, 1), False, 20.0)
    assert pipeline(good).estimates
    stepped = dataclasses.replace(good, counts=soil * np.where(info.wavelengths_nm > 1830, 0.98, 1))
    assert pipeline(stepped).flags == ("rescan:splice_jump",)
    assert not pipeline(stepped).estimates
    # The join lies in a gap of this model's grid, which reads nothing near it.
    gaps = Pipeline(ProvedModel("default:asd").bind(info.wavelengths_nm), info)
    assert gaps(good).estimates
    assert gaps(stepped).flags == ("rescan:splice_jump",)
    # Dark bands that no model reads say nothing of a join beside them.
    dark = dataclasses.replace(
        good, counts=np.where(np.abs(info.wavelengths_nm - 1830) < 5, 0.0, soil)
    )
    assert gaps(dark).estimates
    # An instrument that measures reflectance itself has the other checks too.
    bright = dataclasses.replace(good, counts=soil + 1.0)
    assert pipeline(bright).flags == ("rescan:too_bright",)


def test_replicates_disagree_when_they_spread_further_than_the_interval() -> None:
    assert disagree(np.array([10.0, 20.0, 12.0]), 6.0)
    assert not disagree(np.array([10.0, 11.0, 12.0]), 6.0)
    assert not disagree(np.array([10.0]), 0.0)

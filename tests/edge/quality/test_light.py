"""Light from outside: its colour in a spectrum, and what a scan with the lamp off shows of it."""

from __future__ import annotations

import numpy as np
import pytest

from ccnvr.edge.inference.pipeline import Pipeline, References
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.quality.daylight import PAIRS, DaylightCheck
from ccnvr.edge.quality.gate import FAINT_LIGHT, MOST_STRAY_LIGHT, light_beside_lamp
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Quantity, Scan, ScanKind, Settings
from tools import stray_light

SETTINGS = Settings(10_000, 16)
NM = np.arange(420.0, 2491.0)
SHARE_OF_SOILS = 0.01


def check(first_nm: float, last_nm: float) -> DaylightCheck:
    seen = NM[(first_nm <= NM) & (last_nm >= NM)]
    return DaylightCheck(seen, np.ones(seen.size, dtype=bool))


@pytest.mark.parametrize(("first", "last", "level"), [(420, 1000, 0.05), (900, 2490, 0.3)])
def test_daylight_is_seen_and_soils_are_not_taken_for_it(
    first: float, last: float, level: float
) -> None:
    pytest.importorskip("LimeSoDa")
    soils = [limesoda.load(name) for name in ("SC.93", "UL.120")]
    dry = np.concatenate(
        [[np.interp(NM, one.wavelengths_nm, row) for row in one.reflectance] for one in soils]
    )
    daylight, bands = check(first, last), (first <= NM) & (last >= NM)

    def found(spectra: Array) -> float:
        return float(np.mean([daylight(row[bands][daylight.bands]) for row in spectra]))

    assert found(dry) <= SHARE_OF_SOILS
    assert found(dry + level * stray_light.LIGHTS["daylight"]) >= 0.99
    # The light of a lamp like the instrument's own has no colour of its own.
    assert found(dry + level) <= SHARE_OF_SOILS


def test_an_instrument_without_the_bands_sees_no_daylight() -> None:
    blind = check(1300, 2490)
    assert blind.bands.size == 0 and not blind(np.empty(0))
    # Nor does one whose bands have no signal there.
    faint = DaylightCheck(NM, np.zeros(NM.size, dtype=bool))
    assert faint.bands.size == 0


@pytest.mark.parametrize(
    "colour", [np.ones(80), np.repeat([0.0, 1.0], 40), np.eye(8)[3].repeat(10)]
)
def test_light_of_any_colour_shows_with_the_lamp_off(colour: Array) -> None:
    rng = np.random.default_rng(1)
    dark, white = np.full(80, 900.0), 900.0 + 30_000.0 * np.linspace(0.2, 1.0, 80)
    lamp_off = dark + 0.02 * colour * (white - dark) + rng.normal(0.0, 3.0, 80)
    assert light_beside_lamp(lamp_off, dark, white) == pytest.approx(0.02, abs=0.001)
    assert light_beside_lamp(dark + rng.normal(0.0, 3.0, 80), dark, white) < MOST_STRAY_LIGHT / 5


def test_a_saturated_scan_with_the_lamp_off_is_all_light(
    model: ProvedModel, info: InstrumentInfo
) -> None:
    pixels = info.wavelengths_nm.size
    dark, white = (
        Scan(number, kind, np.full(pixels, counts), SETTINGS, False, 25.0)
        for number, kind, counts in ((1, ScanKind.DARK, 900.0), (2, ScanKind.WHITE, 40_000.0))
    )
    pipeline = Pipeline(model.bind(info.wavelengths_nm), info, References(dark, white, 0.99))
    flooded = Scan(3, ScanKind.DARK, np.full(pixels, 65_535.0), SETTINGS, True, 25.0)
    assert pipeline.light_beside_lamp(flooded) == np.inf
    assert pipeline.light_beside_lamp(dark) == 0.0


def test_a_faint_white_is_flagged(model: ProvedModel, info: InstrumentInfo, soil: Array) -> None:
    for share, faint in ((1.2 * FAINT_LIGHT, False), (0.8 * FAINT_LIGHT, True)):
        dark = np.full(soil.size, 900.0)
        white = dark + share * info.saturation_counts
        references = References(
            Scan(1, ScanKind.DARK, dark, SETTINGS, False, 25.0),
            Scan(2, ScanKind.WHITE, white, SETTINGS, False, 25.0),
            1.0,
        )
        counts = dark + soil * (white - dark)
        scan = Scan(3, ScanKind.SAMPLE, counts, SETTINGS, False, 25.0)
        pipeline = Pipeline(model.bind(info.wavelengths_nm), info, references)
        assert ("faint_light" in pipeline(scan).flags) is faint


def test_an_instrument_that_measures_absorbance_sees_daylight_too(model: ProvedModel) -> None:
    nm = np.arange(1100.0, 2499.0)
    info = InstrumentInfo("m", "S", "f", 1, nm, 1, 1, 1, 1, quantity=Quantity.ABSORBANCE)
    pipeline = Pipeline(model.bind(nm), info)
    reflectance = np.where(nm < PAIRS[-1][0] + 20.0, 0.5, 0.4) + 0.01 * np.sin(nm / 50.0)
    scan = Scan(1, ScanKind.SAMPLE, -np.log10(reflectance), SETTINGS, False, 25.0)
    assert "daylight" in pipeline(scan).flags
    assert pipeline.light_beside_lamp(scan) == 0.0


@pytest.fixture
def info() -> InstrumentInfo:
    return InstrumentInfo("m", "S", "f", 1, np.arange(1100.0, 2499.0), 65_535, 1, 10**6, 100)


@pytest.fixture
def soil(info: InstrumentInfo) -> Array:
    nm = info.wavelengths_nm
    reflectance: Array = 0.3 + 0.1 * (nm - 1100.0) / 1400.0
    return reflectance

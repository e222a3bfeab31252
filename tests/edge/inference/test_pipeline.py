"""From counts to predictions, and the scans that get a reason instead of a number."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge.chemometrics.grid import WavelengthError
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.inference.pipeline import Pipeline, References, reflectance
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.errors import InstrumentError, UsageError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Quantity, Scan, ScanKind, Settings
from ccnvr.firmware_bridge.link.messages import ScanRequest
from ccnvr.firmware_bridge.simulators.handheld import (
    DETECTOR,
    SimulatedSpectrometer,
    onto_pixels,
    pixel_wavelengths,
    synthetic_soils,
)
from tests.support.estimates import estimate, half_width

SETTINGS = Settings(10_000, 16)
SOILS = synthetic_soils(3, 5)


def take(
    detector: SimulatedSpectrometer, kind: ScanKind, number: int, settings: Settings = SETTINGS
) -> Scan:
    exposure = detector.expose(
        ScanRequest(kind, settings.integration_us, settings.averages), number
    )
    return Scan(
        number,
        kind,
        exposure.sums / settings.averages,
        settings,
        exposure.saturated,
        exposure.temperature_c,
    )


@pytest.fixture
def parts(model: ProvedModel) -> tuple[SimulatedSpectrometer, InstrumentInfo, References]:
    detector = SimulatedSpectrometer(SOILS, pace=0.0)
    dark, white = take(detector, ScanKind.DARK, 1), take(detector, ScanKind.WHITE, 2)
    return detector, detector.info, References(dark, white, 0.99)


@pytest.fixture
def pipeline(
    model: ProvedModel, parts: tuple[SimulatedSpectrometer, InstrumentInfo, References]
) -> Pipeline:
    _, info, references = parts
    return Pipeline(model.bind(info.wavelengths_nm), info, references)


def test_counts_give_back_the_reflectance_within_the_noise(
    parts: tuple[SimulatedSpectrometer, InstrumentInfo, References],
) -> None:
    detector, info, references = parts
    sample = take(detector, ScanKind.SAMPLE, 3)
    found = reflectance(sample.counts, references.dark.counts, references.white.counts, 0.99)
    bright = info.wavelengths_nm < 2300
    assert np.abs(found - SOILS[0])[bright].max() < 0.004
    assert np.abs(np.mean(found - SOILS[0])) < 0.0005


def test_predictions_are_those_of_the_noiseless_spectrum_within_the_noise(
    model: ProvedModel,
    pipeline: Pipeline,
    parts: tuple[SimulatedSpectrometer, InstrumentInfo, References],
) -> None:
    detector, info, _ = parts
    predictor = model.bind(info.wavelengths_nm)
    expected = predictor(absorbance(SOILS[0][predictor.bands]))
    found = pipeline(take(detector, ScanKind.SAMPLE, 3))
    for target in model.bundle.manifest.targets:
        name = target.name
        difference = target.standardise(np.array(found.estimates[name].value)) - target.standardise(
            np.array(expected[name].value)
        )
        assert abs(difference) < 0.5, (name, difference)


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"saturated": True}, "rescan:saturated"),
        ({"settings": Settings(9_000, 16)}, "rescan:integration_time_changed"),
        ({"counts": np.zeros(100)}, "rescan:wrong_length"),
        ({"counts": np.zeros(512)}, "rescan:not_positive"),
        ({"counts": np.full(512, np.nan)}, "rescan:not_positive"),
        ({"counts": np.full(612, 9e3)}, "rescan:wrong_length"),
    ],
)
def test_a_scan_that_cannot_be_used_gets_a_reason_and_no_number(
    pipeline: Pipeline,
    parts: tuple[SimulatedSpectrometer, InstrumentInfo, References],
    change: dict[str, object],
    flag: str,
) -> None:
    scan = dataclasses.replace(take(parts[0], ScanKind.SAMPLE, 3), **change)  # type: ignore[arg-type]
    prediction = pipeline(scan)
    assert prediction.estimates == {}
    assert prediction.flags == (flag,)


def test_references_that_cannot_serve_are_refused(
    model: ProvedModel, parts: tuple[SimulatedSpectrometer, InstrumentInfo, References]
) -> None:
    _, info, references = parts
    predictor = model.bind(info.wavelengths_nm)
    with pytest.raises(InstrumentError, match="only 0 counts above dark"):
        Pipeline(predictor, info, dataclasses.replace(references, white=references.dark))
    with pytest.raises(InstrumentError, match="saturated"):
        Pipeline(
            predictor,
            info,
            dataclasses.replace(
                references, white=dataclasses.replace(references.white, saturated=True)
            ),
        )


@pytest.mark.parametrize("quantity", [Quantity.REFLECTANCE, Quantity.ABSORBANCE])
def test_an_instrument_that_measures_reflectance_itself_needs_no_references(
    model: ProvedModel,
    parts: tuple[SimulatedSpectrometer, InstrumentInfo, References],
    quantity: Quantity,
) -> None:
    detector, info, _ = parts
    predictor = model.bind(info.wavelengths_nm)
    values = SOILS[0] if quantity is Quantity.REFLECTANCE else absorbance(SOILS[0])
    scan = dataclasses.replace(take(detector, ScanKind.SAMPLE, 3), counts=values)
    found = Pipeline(predictor, dataclasses.replace(info, quantity=quantity))(scan)
    assert found == predictor(absorbance(SOILS[0][predictor.bands]))
    with pytest.raises(ValueError, match="counts need a dark and a white reference"):
        Pipeline(predictor, info)


def test_noise_outside_the_model_s_grid_does_not_matter(
    model: ProvedModel,
    pipeline: Pipeline,
    parts: tuple[SimulatedSpectrometer, InstrumentInfo, References],
) -> None:
    detector, info, _ = parts
    scan = take(detector, ScanKind.SAMPLE, 3)
    outside = np.flatnonzero(
        info.wavelengths_nm < model.bundle.manifest.preprocessing.grid.start_nm
    )[:-1]
    counts = scan.counts.copy()
    counts[outside] = -1e9
    assert pipeline(dataclasses.replace(scan, counts=counts)) == pipeline(scan)


def test_an_instrument_of_another_range_is_refused(model: ProvedModel) -> None:
    with pytest.raises(WavelengthError, match=r"covers 400\.0-1000\.0 nm but the model needs"):
        model.bind(np.linspace(400.0, 1000.0, 256))


@given(st.floats(-5, 5), st.floats(0.01, 3), st.sampled_from(["identity", "log1p"]))
def test_intervals_hold_their_value_and_targets_round_trip(
    z: float, half: float, transform: str
) -> None:
    target = Target("OC", "g/kg", transform, 2.0, 0.7, 0.0, 100.0, half)
    result = estimate(target, z, half_width(target, z))
    assert result.low is not None and result.high is not None
    assert result.low <= result.value <= result.high
    without = dataclasses.replace(target, half_width_90=None)
    assert estimate(without, z, half_width(without, z)).low is None
    if result.value > 0:
        assert float(target.standardise(np.array(result.value))) == pytest.approx(z, abs=1e-9)


def test_the_simulated_noise_is_what_its_description_says() -> None:
    detector = SimulatedSpectrometer(SOILS[:1], pace=0.0)
    single = Settings(10_000, 1)
    white = np.array(
        [take(detector, ScanKind.WHITE, number, single).counts for number in range(300)]
    )
    dark = np.array(
        [take(detector, ScanKind.DARK, number, single).counts for number in range(300, 600)]
    )
    shot = (white.mean(axis=0) - 900.0) / 60.0
    ratio = white.var(axis=0, ddof=1) / (shot + 9.0 + 1 / 12)
    assert 0.97 < ratio.mean() < 1.03
    assert (
        0.97
        < (dark.var(axis=0, ddof=1) / ((dark.mean(axis=0) - 900.0) / 60.0 + 9.0 + 1 / 12)).mean()
        < 1.03
    )
    averaged = np.array(
        [
            take(detector, ScanKind.WHITE, number, Settings(10_000, 16)).counts
            for number in range(300)
        ]
    )
    assert 0.9 < (averaged.var(axis=0) * 16 / white.var(axis=0)).mean() < 1.1


def test_the_simulator_saturates_and_repeats_itself_by_seed() -> None:
    detector = SimulatedSpectrometer(SOILS, pace=0.0)
    long = take(detector, ScanKind.WHITE, 1, Settings(40_000, 2))
    assert long.saturated
    assert long.counts.max() == DETECTOR.saturation
    again = SimulatedSpectrometer(SOILS, pace=0.0)
    other = SimulatedSpectrometer(SOILS, seed=2, pace=0.0)
    first = take(again, ScanKind.SAMPLE, 9)
    np.testing.assert_array_equal(first.counts, take(detector, ScanKind.SAMPLE, 9).counts)
    assert np.any(first.counts != take(other, ScanKind.SAMPLE, 9).counts)


def test_spectra_that_the_instrument_cannot_see_are_refused() -> None:
    pixels = pixel_wavelengths()
    np.testing.assert_allclose(onto_pixels(pixels, SOILS), SOILS)
    with pytest.raises(UsageError, match=r"cover 1200\.0-2496"):
        onto_pixels(np.linspace(1200.0, 2496.0, 512), SOILS)


def test_a_predictor_takes_all_bands_of_the_instrument_or_only_those_that_the_model_uses(
    model: ProvedModel,
) -> None:
    wavelengths = np.arange(1000.0, 2520.0, 2.0)
    predict = model.bind(wavelengths)
    spectrum = 0.5 + 0.1 * np.sin(wavelengths / 100.0)
    beside = np.where((wavelengths < 1100.0) | (wavelengths > 2500.0), np.nan, spectrum)
    assert predict(beside) == predict(spectrum[predict.bands])

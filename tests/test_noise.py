"""Noise in a spectrum is measured, and the intervals of its answers stay honest."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccnvr.edge import limesoda
from ccnvr.edge.grid import Grid
from ccnvr.edge.noise import LARGEST_MOVE, NoiseMeter, moved
from ccnvr.edge.predictor import Model, Predictor
from ccnvr.edge.preprocess import Channel, Preprocessor, Recipe, absorbance
from ccnvr.train import libraries

BANDS = np.arange(1104.0, 2494.0, 4.0)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model("default")


@pytest.fixture(scope="module")
def grid_predictor(model: Model) -> Predictor:
    return model.bind(model.bundle.manifest.recipe.grid.wavelengths())


def soil_like(wavelengths: np.ndarray) -> np.ndarray:
    """A slope and two bands as narrow as clay's."""
    features = sum(0.05 * np.exp(-0.5 * ((wavelengths - centre) / 12.0) ** 2) for centre in (1413.0, 2207.0))
    return 0.4 + 1e-4 * (wavelengths - 1000.0) + features


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-4, 1e-3, 1e-2]), st.sampled_from([1.0, 2.0, 4.0, 6.0]))
def test_white_noise_is_measured_at_any_step(seed: int, noise: float, step: float) -> None:
    wavelengths = np.arange(1104.0, 2494.0, step)
    spectrum = soil_like(wavelengths) + np.random.default_rng(seed).normal(0.0, noise, wavelengths.size)
    assert NoiseMeter(wavelengths, 4.0)(spectrum) == pytest.approx(noise, rel=0.5)


def test_noise_is_seen_through_interpolation_and_at_the_ends_and_a_spike_is_none(rng: np.random.Generator) -> None:
    fine = np.arange(1104.0, 2494.0, 1.0)
    pixels = soil_like(BANDS) + rng.normal(0.0, 1e-3, BANDS.size)
    # Between pixels an interpolated spectrum is straight; a step of the grid apart it is as noisy as they are, or less.
    assert 5e-4 < NoiseMeter(fine, 4.0)(np.interp(fine, BANDS, pixels)) < 1.1e-3
    meter = NoiseMeter(BANDS, 4.0)
    at_an_end = soil_like(BANDS) + np.where(BANDS > 2300.0, rng.normal(0.0, 4e-3, BANDS.size), 0.0)
    assert 8e-4 < meter(at_an_end) < 2e-3
    spike = soil_like(BANDS)
    spike[100] += 0.5
    assert meter(spike) < 2e-5
    assert meter(np.zeros(BANDS.size)) == 0.0
    assert NoiseMeter(BANDS[:50], 4.0)(pixels[:50]) == 0.0, "too few bands to tell"


@pytest.mark.parametrize("name", ["SL.125", "UL.120"])
def test_laboratory_spectra_have_little_and_what_is_added_is_found(name: str, rng: np.random.Generator) -> None:
    soils = limesoda.load(name)
    seen = (soils.wavelengths_nm >= 1104.0) & (soils.wavelengths_nm <= 2492.0)
    meter, spectra = NoiseMeter(soils.wavelengths_nm[seen], 4.0), absorbance(soils.reflectance)[:, seen]
    assert max(map(meter, spectra)) < 5e-5
    found = [meter(spectrum + rng.normal(0.0, 1e-3, spectrum.size)) for spectrum in spectra]
    assert np.mean(found) == pytest.approx(1e-3, rel=0.03)


def test_an_answer_moves_as_far_as_a_linear_model_s_does(rng: np.random.Generator) -> None:
    preprocess = Preprocessor(Recipe(Grid(1104.0, 4.0, 348), (Channel(snv=False),)), BANDS)
    weights = rng.normal(size=(348, 2))
    far = moved(lambda inputs: (inputs[:, 0] @ weights).astype(np.float32), preprocess, soil_like(BANDS), 1e-3)
    np.testing.assert_allclose(far, 1e-3 * np.linalg.norm(weights, axis=0), rtol=0.5)
    lost = moved(lambda inputs: np.full((len(inputs), 2), np.nan, np.float32), preprocess, soil_like(BANDS), 1e-3)
    np.testing.assert_array_equal(lost, LARGEST_MOVE)


@pytest.mark.parametrize("noise", [3e-4, 1e-3, 3e-3])
def test_intervals_cover_in_noise_what_they_cover_without(
    noise: float, model: Model, grid_predictor: Predictor, nirsoil_data: object, rng: np.random.Generator
) -> None:
    soils = libraries.load("nirsoil:test", model.bundle.manifest.recipe.grid)
    answers = [grid_predictor(spectrum + rng.normal(0.0, noise, spectrum.size)) for spectrum in soils.spectra]
    covered = {}
    for name in ("OC", "N", "CEC"):
        measured = soils.targets[:, libraries.PROPERTIES.index(name)]
        known = np.flatnonzero(~np.isnan(measured))
        low, high = (np.array([getattr(answers[row][name], end) for row in known]) for end in ("low", "high"))
        covered[name] = np.mean((low <= measured[known]) & (measured[known] <= high))
    # Intervals that know nothing of a noise of 0.001 cover 0.86, 0.69 and 0.67 there, and 0.93, 0.92 and 0.87 without noise.
    assert all(0.84 <= share <= 0.97 for share in covered.values()), covered


def test_noise_widens_never_narrows_and_is_told(grid_predictor: Predictor, model: Model, rng: np.random.Generator) -> None:
    spectrum = np.array(model.bundle.self_test().absorbance[0])
    wide, flags = grid_predictor.answer(spectrum + rng.normal(0.0, 3e-3, spectrum.size))
    assert {flag for flag in flags if flag.endswith(":noisy")} >= {"N:noisy"}
    widths = []
    for answers, found in (grid_predictor.answer(spectrum), (wide, flags)):
        widths.append({name: answer.high - answer.low for name, answer in answers.items() if answer.high and answer.low})
        del found
    assert not [flag for flag in grid_predictor.answer(spectrum)[1] if flag.endswith(":noisy")]
    assert all(widths[1][name] > widths[0][name] for name in widths[0].keys() & widths[1].keys())
    again = grid_predictor.answer(spectrum)
    assert again == grid_predictor.answer(spectrum), "a spectrum has one answer"


def test_a_model_without_intervals_says_nothing_of_noise(model: Model, rng: np.random.Generator) -> None:
    without = [dataclasses.replace(target, half_width_90=None) for target in model.bundle.manifest.targets]
    manifest = dataclasses.replace(model.bundle.manifest, targets=tuple(without))
    bare = Model("default")
    bare.bundle = dataclasses.replace(bare.bundle, manifest=manifest)
    answers, flags = bare.bind(BANDS).answer(soil_like(BANDS) + rng.normal(0.0, 3e-3, BANDS.size))
    assert {answer.low for answer in answers.values()} == {None}
    assert not [flag for flag in flags if flag.endswith(":noisy")]

"""Random changes of training spectra, on real soils and simulated bands."""

from __future__ import annotations

import numpy as np
import pytest

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing, Preprocessor
from ccnvr.train.experiments.contenders import RECIPE
from ccnvr.train.libraries import load as libraries
from ccnvr.train.network.augment import Mixture, VariedInputs
from ccnvr.train.recipe import recipe_file as recipes
from ccnvr.train.recipe.settings import Augmentation

GRID = Grid(1104.0, 10.0, 140)


def test_noise_comes_through_the_second_derivative_which_the_steady_recipe_leaves_out() -> None:
    def share_of_noise(name: str) -> list[float]:
        """Of what differs between soils in each channel, band by band, what noise of 0.001 in
        absorbance adds.
        """
        recipe = recipes.load(RECIPE.with_name(name))
        soils = libraries.load_library("SL.125", recipe.grid).spectra
        preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
        clean = preprocess.batch(soils)
        noise = (
            preprocess.batch(soils + np.random.default_rng(1).normal(0.0, 0.001, soils.shape))
            - clean
        )
        shares: list[float] = np.median(noise.std(axis=0) / clean.std(axis=0), axis=1).tolist()
        return shares

    study, steady = share_of_noise("study_recipe.toml"), share_of_noise("steady_recipe.toml")
    assert study[2] == max(study) > 1.2, "more noise than soil"
    assert max(steady) < 0.9 and steady == pytest.approx([*study[:2], study[3]])


def test_augmentation_changes_what_it_says_and_nothing_else(rng: np.random.Generator) -> None:
    soils = libraries.load_library("SL.125", GRID).spectra
    rows = rng.permutation(len(soils))[:80]
    plain = Preprocessor(Preprocessing(GRID, (Channel(snv=False),)), GRID.wavelengths())

    def changes(**sds: float) -> np.ndarray:
        """What is added to the absorbance `(80, bands)`."""
        settings = Augmentation(**{"slope": 0.0, "input_shift": 0.0, **sds})
        varied = VariedInputs(plain, soils, settings, seed=1).batch(
            Mixture(rows), np.random.default_rng(1)
        )
        return varied[:, 0].astype(np.float64) - soils[rows]

    np.testing.assert_allclose(changes(), 0.0, atol=1e-6)
    offsets, slopes, gains, noise = (
        changes(offset=0.1),
        changes(slope=0.1),
        changes(gain=0.05) / soils[rows],
        changes(noise=0.01),
    )
    assert np.ptp(offsets, axis=1).max() < 1e-6 and offsets.std() == pytest.approx(0.1, rel=0.3)
    assert np.abs(np.diff(slopes, 2)).max() < 1e-6 and slopes[:, -1].std() == pytest.approx(
        0.1, rel=0.3
    )
    assert np.ptp(gains, axis=1).max() < 1e-5 and gains.std() == pytest.approx(0.05, rel=0.3)
    assert noise.std() == pytest.approx(0.01, rel=0.02)
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.05


def test_augmentation_shifts_and_broadens_as_an_instrument_would() -> None:
    fine = Grid(1400.0, 1.0, 500)
    plain = Preprocessor(Preprocessing(fine, (Channel(snv=False),)), fine.wavelengths())
    amounts = np.random.default_rng(3).normal(size=200)

    def band(centre: float, sd: float) -> np.ndarray:
        return np.exp(-0.5 * ((fine.wavelengths() - centre) / sd) ** 2)

    def varied(**sds: float) -> np.ndarray:
        spectra = np.repeat(band(1650.0, 40.0)[None], 200, axis=0)
        settings = Augmentation(**{"slope": 0.0, "input_shift": 0.0, **sds})
        return VariedInputs(plain, spectra, settings, 1).batch(
            Mixture(np.arange(200)), np.random.default_rng(3)
        )[:, 0]

    for row in (0, 50, 199):
        np.testing.assert_allclose(
            varied(shift_nm=2.0)[row], band(1650.0 - 2.0 * amounts[row], 40.0), atol=0.01
        )
        wider = np.hypot(40.0, 6.0 * amounts[row])
        np.testing.assert_allclose(
            varied(broadening_nm=6.0)[row], band(1650.0, wider) * 40.0 / wider, atol=0.01
        )


def test_a_share_of_a_batch_is_the_whole_batch_s_own(rng: np.random.Generator) -> None:
    soils = libraries.load_library("UL.120", GRID).spectra
    settings = Augmentation(
        offset=0.1,
        slope=0.1,
        gain=0.1,
        shift_nm=1.0,
        broadening_nm=3.0,
        noise=0.001,
        input_shift=0.1,
    )
    preprocess = Preprocessor(
        Preprocessing(GRID, (Channel(), Channel(5, 2, 1))), GRID.wavelengths()
    )
    inputs = VariedInputs(preprocess, soils, settings, seed=1)
    rows = rng.permutation(len(soils))[:16]
    for batch in (
        Mixture.of(rows, 0.0, rng),
        Mixture.of(rows, 0.5, rng),
        Mixture.displaced(rows, 0.5, len(soils), rng),
    ):
        whole = inputs.batch(batch, np.random.default_rng(5))
        assert whole.shape == (16, 2, 140)
        for rank in range(3):
            share = slice(rank, None, 3)
            np.testing.assert_array_equal(
                inputs.batch(batch, np.random.default_rng(5), share), whole[share]
            )


def test_soils_are_mixed_in_absorbance(rng: np.random.Generator) -> None:
    soils = libraries.load_library("UL.120", GRID).spectra
    preprocess = Preprocessor(
        Preprocessing(GRID, (Channel(), Channel(5, 2, 1))), GRID.wavelengths()
    )
    inputs = VariedInputs(preprocess, soils, Augmentation(slope=0.0, input_shift=0.0), seed=1)
    batch = Mixture.of(np.arange(20), 1.0, rng)
    assert batch.partners is not None and batch.weights is not None
    assert sorted(batch.partners) == list(range(20)) and np.all(
        (batch.weights >= 0.0) & (batch.weights <= 1.0)
    )
    shares = batch.weights[:, None]
    expected = preprocess.batch(shares * soils[batch.rows] + (1.0 - shares) * soils[batch.partners])
    np.testing.assert_allclose(inputs.batch(batch, rng), expected, atol=2e-4)
    np.testing.assert_allclose(inputs.unvaried(), preprocess.batch(soils), atol=1e-4)
    np.testing.assert_array_equal(inputs.unvaried(), inputs.unvaried())


def test_soils_are_displaced_by_differences_of_others(rng: np.random.Generator) -> None:
    soils = libraries.load_library("UL.120", GRID).spectra
    preprocess = Preprocessor(
        Preprocessing(GRID, (Channel(), Channel(5, 2, 1))), GRID.wavelengths()
    )
    inputs = VariedInputs(preprocess, soils, Augmentation(slope=0.0, input_shift=0.0), seed=1)
    batch = Mixture.displaced(np.arange(len(soils)), 0.4, len(soils), rng)
    moved = batch.displacement
    assert moved is not None and 0.3 < moved.amounts.std() < 0.5
    expected = soils + moved.amounts[:, None] * (soils[moved.ends] - soils[moved.starts])
    np.testing.assert_allclose(inputs.batch(batch, rng), preprocess.batch(expected), atol=5e-4)

"""Gaussian processes as teachers: against scikit-learn's, on real soils, and what a network learns
of one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration import finetuning
from ccnvr.train.calibration import fit as fitting
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.calibration.resampled import calibrate
from ccnvr.train.network import gaussian_process
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.network.gaussian_process import GaussianProcess
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Fit
from ccnvr.train.recipe.settings import Augmentation, Kernel
from tests.support import recipes

CALM = Augmentation(slope=0.01, input_shift=0.01)


@pytest.fixture
def small(tmp_path: Path) -> TrainingRecipe:
    return recipe_file.load(recipes.write(tmp_path))


@pytest.mark.parametrize(("length", "noise"), [(1.5, 0.02), (4.0, 0.003), (4.0, 1e-6)])
def test_it_is_scikit_learn_s(small: TrainingRecipe, length: float, noise: float) -> None:
    pool = load_soils(("UL.120:train",), small)
    inputs = Preprocessor(small.preprocessing, small.grid.wavelengths()).batch(pool.spectra)
    targets = np.stack([np.log(pool.values[:, 0]), np.full(len(pool.values), np.nan)], axis=1)
    targets[::5, 0] = np.nan
    made = GaussianProcess(Kernel(length, noise), inputs, targets)
    with torch.inference_mode():
        found = made(torch.from_numpy(inputs)).numpy()
    centred = inputs.astype(np.float64) - inputs.mean(axis=0)
    scaled = (centred / np.sqrt((centred**2).mean(axis=(0, 2)))[:, None]).reshape(len(inputs), -1)
    distances = np.sqrt(((scaled[:, None] - scaled[None]) ** 2).sum(axis=2))
    scale = length * np.median(distances[np.triu_indices(len(inputs), 1)])
    known = ~np.isnan(targets[:, 0])
    mean = targets[known, 0].mean()
    other = GaussianProcessRegressor(Matern(scale, nu=2.5), alpha=noise, optimizer=None).fit(
        scaled[known], targets[known, 0] - mean
    )
    np.testing.assert_allclose(found[:, 0], other.predict(scaled) + mean, atol=1e-3)
    np.testing.assert_array_equal(found[:, 1], 0.0)


def test_it_starts_from_a_network_that_knows_something(rng: np.random.Generator) -> None:
    """From the mean where the network is worse than that, and says nothing else where the soils
    only blur it.
    """

    class Says(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs[:, 0, :3]

    inputs = rng.normal(size=(40, 2, 9)).astype(np.float32)
    noise = rng.normal(0.0, 0.1, 40)
    targets = np.stack(
        [inputs[:, 0, 0] + 0.5, -3.0 * inputs[:, 0, 1], inputs[:, 0, 2] + noise], axis=1
    ).astype(np.float64)
    made = GaussianProcess(Kernel(1.0, 0.1), inputs, targets, Says())
    assert made.trust.tolist() == [1.0, 0.0, 1.0]
    assert made.weights[:, 0].abs().min() > 0.0 and made.weights[:, 2].abs().max() == 0.0
    far = torch.from_numpy(inputs[:5] + np.float32(1e3))
    with torch.inference_mode():
        np.testing.assert_allclose(made(far)[:, 0], far[:, 0, 0], atol=1e-3)
        np.testing.assert_allclose(made(far)[:, 1], targets[:, 1].mean(), atol=1e-3)


def test_each_soil_is_left_out_with_all_its_scans(rng: np.random.Generator) -> None:
    """As if the others alone had been solved for each."""
    groups = rng.permutation(np.arange(12).repeat(3))
    root = rng.normal(size=(36, 36))
    covariance = root @ root.T + 0.1 * np.eye(36)
    values = rng.normal(size=36)
    expected = 0.0
    for group in range(12):
        own, others = groups == group, groups != group
        predicted = covariance[np.ix_(own, others)] @ np.linalg.solve(
            covariance[np.ix_(others, others)], values[others]
        )
        expected += float(((values[own] - predicted) ** 2).sum())
    inverse = torch.linalg.inv(torch.from_numpy(covariance))
    found = gaussian_process.missed(inverse, inverse @ torch.from_numpy(values), groups)
    assert found == pytest.approx(expected, rel=1e-6)


def test_what_nobody_measured_stays_the_network_s(rng: np.random.Generator) -> None:
    class Says(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs[:, 0, :2]

    inputs = rng.normal(size=(10, 2, 9)).astype(np.float32)
    targets = np.full((10, 2), np.nan)
    targets[:2, 1] = 5.0
    made = GaussianProcess(Kernel(1.0, 0.1), inputs, targets, Says())
    with torch.inference_mode():
        np.testing.assert_array_equal(made(torch.from_numpy(inputs)), inputs[:, 0, :2])


def test_of_very_many_soils_it_knows_some(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(gaussian_process, "MOST_SOILS", 30)
    targets = rng.normal(size=(50, 3))
    targets[5:, 1] = np.nan
    made = GaussianProcess(
        Kernel(1.0, 0.1), rng.normal(size=(50, 2, 9)).astype(np.float32), targets
    )
    assert made.soils.shape == (30, 18) and made.weights.shape == (30, 3)
    assert (made.weights != 0.0).sum(dim=0).tolist() == [30, 5, 30], (
        "those with the rare property come first"
    )


@pytest.mark.parametrize("variation", [{"mixing": 1.0}, {"displacement": 0.4}])
def test_a_network_learns_to_answer_as_it_does(
    small: TrainingRecipe, variation: dict[str, float]
) -> None:
    """Of a process that says the mean of every soil, which the laboratory's values alone do not
    teach.
    """
    pool, unseen = load_soils(("UL.120:train",), small), load_soils(("UL.120:test",), small)
    # Without a recurrent layer, which takes most of the time and has no part in this.
    small = dataclasses.replace(small, network=dataclasses.replace(small.network, cell="none"))
    untaught = dataclasses.replace(small, fit=Fit(25, 8, 0.01, augmentation=CALM))
    learning = dataclasses.replace(untaught.fit, **variation, teacher_share=1.0)  # type: ignore[arg-type]
    taught = dataclasses.replace(untaught, gaussian_processes=(Kernel(0.05, 10.0),), fit=learning)
    mean = calibrate(Fitting(taught, 1), small.grid, pool.spectra, pool.values, average=True)(
        unseen.spectra
    )
    assert np.all(np.ptp(mean, axis=0) < 0.2 * np.ptp(unseen.values, axis=0))
    spreads = [
        np.ptp(
            fitting.predict(
                one, fitting.fit(Fitting(one, 1), pool.spectra, pool.values), unseen.spectra
            ),
            axis=0,
        )
        for one in (taught, untaught)
    ]
    assert np.all(spreads[0] < 0.3 * spreads[1])


def test_fine_tuning_learns_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that says the mean of every soil, the mean."""
    text = recipes.SMALL.replace("log1p", "identity").replace(
        "[network]", '[network]\nlinear = true\ncell = "none"'
    )
    small = recipe_file.load(recipes.write(tmp_path, text))
    pool, local = load_soils(("UL.120:train",), small), load_soils(("CV.98",), small)
    base = fitting.fit(Fitting(small, 1), pool.spectra, pool.values)
    quick = {**finetuning.FINETUNING, "augmentation": CALM, "epochs": 60}
    tuning = dataclasses.replace(small, fit=Fit(**quick))
    spreads = []
    for kernel in (finetuning.FINETUNING_KERNEL, Kernel(0.05, 10.0)):
        monkeypatch.setattr(finetuning, "FINETUNING_KERNEL", kernel)
        tuned = finetuning.finetune(Fitting(tuning, 1), base, local.spectra[::3], local.values[::3])
        spreads.append(np.ptp(fitting.predict(small, tuned, local.spectra[1::3]), axis=0))
    assert np.all(spreads[1] < 0.3 * spreads[0])


def test_a_recipe_names_them(tmp_path: Path) -> None:
    text = recipes.SMALL.replace("epochs = 3", "epochs = 3\nmixing = 0.5")
    text += "\n[[gaussian_processes]]\nlength = 4.0\nnoise = 0.003\n"
    found = recipe_file.load(recipes.write(tmp_path, text))
    assert found.gaussian_processes == (Kernel(4.0, 0.003),) and found.fit.mixing == 0.5
    assert recipe_file.parse(recipe_file.write(found), tmp_path) == found
    for wrong, said in (
        ("noise = 0.0", "noise = 0.0 must be from 1e-06 to 10"),
        ("length = 1e9", "length = 1000000000.0 must be"),
    ):
        with pytest.raises(UsageError, match=said):
            recipe_file.load(
                recipes.write(
                    tmp_path,
                    text.replace("noise = 0.003" if "noise" in wrong else "length = 4.0", wrong),
                )
            )
    with pytest.raises(UsageError, match=r"mixing = -1.0 must be 0"):
        recipe_file.load(recipes.write(tmp_path, text.replace("mixing = 0.5", "mixing = -1.0")))
    for table, said in (
        ("displacement = 11.0", r"displacement = 11.0 must be from 0 to 10"),
        ("mixing = 0.5\ndisplacement = 0.4", "mixing and displacement exclude each other"),
    ):
        with pytest.raises(UsageError, match=said):
            recipe_file.load(recipes.write(tmp_path, text.replace("mixing = 0.5", table)))

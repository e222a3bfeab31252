"""Members are fitted as their formulas say, know copies of a soil, and their mean is exact."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import PLSRegression

from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.engines.numpy_reference import NumpySession
from ccnvr.edge.network.kernels import KernelMember
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.train.calibration.folds import grouped
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.members import process
from ccnvr.train.members.choice import is_better, skill
from ccnvr.train.members.covariance import matern, squared_distances
from ccnvr.train.members.members import Members, fit_members, mean_of
from ccnvr.train.members.plsr import pls_coefficients
from ccnvr.train.members.projection import Projection
from ccnvr.train.members.soils import COPIES, MemberSoils, member_soils
from ccnvr.train.network.ccnvr import CCNVR, network_outputs
from ccnvr.train.network.convert import to_arrays
from ccnvr.train.network.folded_model import FoldedModel
from ccnvr.train.network.scales import make_targets, standardise
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import MEMBER_KINDS, MemberSettings
from tests.support import recipes


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> TrainingRecipe:
    text = f"{recipes.SMALL}\naugmentation = {{ slope = 0.01, noise = 0.0001 }}\n"
    return recipe_file.load(recipes.write(tmp_path_factory.mktemp("recipe"), text))


@pytest.fixture(scope="module")
def inputs(recipe: TrainingRecipe) -> Float32:
    """Model inputs `(n, channels, bands)` of real soils."""
    soils = load_soils(("UL.120",), recipe)
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
    return preprocess.batch(soils.spectra)


@pytest.fixture(scope="module")
def soils(recipe: TrainingRecipe) -> MemberSoils:
    """Copies of real soils; pH is missing for a third of them."""
    found = grouped(load_soils(("UL.120",), recipe))
    assert found.groups is not None
    values = standardise(make_targets(recipe, found.values), found.values)
    values[::3, 1] = np.nan
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
    return member_soils(recipe, preprocess, found.spectra, values, found.groups, seed=1)


@pytest.fixture(scope="module")
def members(soils: MemberSoils) -> Members:
    return fit_members(MemberSettings(), soils)


def test_each_soil_is_copied_with_noise_and_tilt_of_its_own(
    soils: MemberSoils, inputs: Float32
) -> None:
    copies = soils.inputs.reshape(COPIES, *inputs.shape)
    apart = copies - inputs
    assert np.all(np.abs(apart).max(axis=(2, 3)) > 0.0) and np.median(np.abs(apart)) < 0.2
    assert not np.allclose(copies[0], copies[1])
    assert soils.first.sum() == len(inputs)
    np.testing.assert_array_equal(soils.groups[: len(inputs)], soils.groups[len(inputs) :])


def test_pls_is_scikit_learn_s_for_every_number_of_components(
    soils: MemberSoils, recipe: TrainingRecipe
) -> None:
    projection = Projection.of(soils.inputs, soils.channels)
    scores = projection.scores(soils.inputs)
    values = soils.values[:, 0] - soils.values[:, 0].mean()
    found = pls_coefficients(scores - scores.mean(axis=0), values, 8)
    for count in (1, 3, 8):
        theirs = PLSRegression(count, scale=False).fit(scores, values)
        np.testing.assert_allclose(
            (scores - scores.mean(axis=0)) @ found[count - 1],
            theirs.predict(scores).ravel(),
            atol=1e-6,
        )


def test_a_projection_keeps_distances_and_halves_the_whitening(soils: MemberSoils) -> None:
    projection = Projection.of(soils.inputs, soils.channels)
    spread = projection.scores(soils.inputs).std(axis=0)
    np.testing.assert_allclose(spread, projection.deviations, rtol=1e-6)
    assert np.all(np.diff(spread) <= 1e-9)
    halved = (soils.inputs - projection.centre) @ projection.half_whitened().T
    np.testing.assert_allclose(halved.std(axis=0), np.sqrt(projection.deviations), rtol=1e-6)


def test_leaving_a_soil_out_by_formula_is_leaving_it_out(soils: MemberSoils) -> None:
    few = np.flatnonzero(soils.groups < 20)
    points = Projection.of(soils.inputs, soils.channels).scores(soils.inputs)[few, :8]
    values, groups = soils.values[few, 0], soils.groups[few]
    values = values - values.mean()
    covariance = matern(squared_distances(points, points), 2.0)
    noise = process.NOISE.variances[1]
    error, _ = list(process._solved(covariance, values, groups))[1]
    missed = 0.0
    for group in np.unique(groups):
        out, left = groups == group, groups != group
        shared = groups[left][:, None] == groups[left]
        disturbed = covariance[np.ix_(left, left)] + (1.0 - process.NOISE.unshared) * noise * shared
        disturbed += process.NOISE.unshared * noise * np.eye(int(left.sum()))
        predicted = covariance[np.ix_(out, left)] @ np.linalg.solve(disturbed, values[left])
        missed += float(np.sum((predicted - values[out]) ** 2))
    assert error == pytest.approx(missed / len(values), rel=1e-6)


def test_members_know_the_soils_and_ignore_what_was_not_measured(
    members: Members, soils: MemberSoils, inputs: Float32
) -> None:
    n = len(inputs)
    outputs = members.outputs(inputs.astype(np.float32))
    assert list(outputs) == list(MEMBER_KINDS)
    for found in outputs.values():
        for column in (0, 1):
            known = ~np.isnan(soils.values[:n, column])
            residual = found[known, column] - soils.values[:n, column][known]
            assert np.mean(residual**2) < 0.8 * np.var(soils.values[:n, column][known])
    matern = members.fitted["matern"]
    assert isinstance(matern, KernelMember)
    unmeasured = np.isnan(soils.values[:, 1])
    assert np.all(matern.weights[unmeasured, 1] == 0.0)
    assert np.all(matern.weights[~unmeasured, 1] != 0.0)


def test_the_mean_adds_up_to_its_members_with_and_without_a_network(
    members: Members, recipe: TrainingRecipe, inputs: Float32
) -> None:
    spectra = inputs.astype(np.float32)
    found = list(members.outputs(spectra).values())
    alone = mean_of(members, 2, 140)
    np.testing.assert_allclose(network_outputs(alone, spectra), np.mean(found, axis=0), atol=2e-5)
    changed: tuple[dict[str, Any], ...] = (
        {},
        {"linear": True},
        {"linear": True, "standardise": True},
    )
    for changes in changed:
        torch.manual_seed(1)
        shape = dataclasses.replace(recipe.network, **changes)
        config = dataclasses.replace(recipe, network=shape).network_config()
        network = CCNVR(config)
        network.train()
        network(torch.from_numpy(spectra))
        network.eval()
        both = mean_of(members, 2, 140, network)
        every: list[Any] = [*found, network_outputs(network, spectra)]
        expected = np.mean(every, axis=0)
        np.testing.assert_allclose(network_outputs(both, spectra), expected, atol=1e-4)
        np.testing.assert_allclose(NumpySession(to_arrays(both))(spectra), expected, atol=1e-3)


def test_members_of_a_range_do_not_depend_on_the_other_bands(
    soils: MemberSoils, inputs: Float32
) -> None:
    settings = MemberSettings(("matern", "svr"), ranges_nm=((1104.0, 2494.0), (1500.0, 2000.0)))
    found = fit_members(settings, soils)
    assert list(found.fitted) == ["matern", "svr", "matern 1500-2000 nm", "svr 1500-2000 nm"]
    spectra = inputs.astype(np.float32)
    changed = spectra.copy()
    changed[:, :, :39] += 1.0  # up to 1484 nm
    before, after = found.outputs(spectra), found.outputs(changed)
    for kind in ("matern", "svr"):
        seen = f"{kind} 1500-2000 nm"
        np.testing.assert_allclose(after[seen], before[seen], atol=1e-6)
        assert not np.allclose(after[kind], before[kind], atol=0.1)


def test_a_model_of_members_teaches_what_it_predicts(members: Members, inputs: Float32) -> None:
    spectra = inputs.astype(np.float32)
    alone = mean_of(members, 2, 140)
    taught = network_outputs(FoldedModel(to_arrays(alone)), spectra)
    np.testing.assert_allclose(taught, network_outputs(alone, spectra), atol=1e-3)


def test_a_gain_counts_beyond_the_noise_of_the_folds() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(0.7, 0.1, 15)
    assert is_better(scores + rng.normal(0.02, 0.005, 15), scores, 5)
    assert not is_better(scores + rng.normal(0.002, 0.03, 15), scores, 5)
    assert not is_better(scores, scores, 5)
    assert is_better(scores + 0.01, scores, 5)


def test_a_fold_s_skill_is_its_share_of_explained_variance() -> None:
    measured = np.array([[1.0, np.nan], [2.0, 5.0], [3.0, 7.0], [6.0, 9.0]])
    folds = np.array([0, 0, 1, 1])
    np.testing.assert_allclose(skill(measured, measured, folds), 1.0)
    mean = np.tile(np.nanmean(measured, axis=0), (4, 1))
    assert skill(measured, mean, folds).mean() == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('kinds = ["cubist"]', "cubist"),
        ('kinds = ["plsr"]', "matern or svr"),
        ('kinds = ["svr", "svr"]', "twice"),
        ('network = "maybe"', "maybe"),
        ("repeats = 1", "2 to 20"),
        ("repeats = 0\nnetwork = false", "1 to 20"),
        ("ranges_nm = [[1500.0, 1520.0]]", "holds 2 bands"),
        ("ranges_nm = [[1500.0, 1900.0], [1500.0, 1900.0]]", "different"),
    ],
)
def test_a_table_that_is_not_possible_is_refused(tmp_path: Path, line: str, says: str) -> None:
    text = f"{recipes.SMALL}\n[members]\n{line}\n"
    with pytest.raises(Exception, match=says):
        recipe_file.load(recipes.write(tmp_path, text))

"""A process around a model trusts it where it is right, and its soils where it is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.network.kernels import KernelMember
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration.beside import AROUND, fit_beside
from ccnvr.train.calibration.fit import Calibration
from ccnvr.train.calibration.folds import grouped, soil_of
from ccnvr.train.calibration.recipe_soils import load_soils
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.members import around
from ccnvr.train.members.adapted import adapted, rescaled
from ccnvr.train.members.around import AroundModel, fit_around
from ccnvr.train.members.members import Members, fit_members, mean_of
from ccnvr.train.members.projection import Projection
from ccnvr.train.members.soils import MemberSoils, member_soils
from ccnvr.train.network.ccnvr import CCNVR, network_outputs
from ccnvr.train.network.scales import make_targets, standardise
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.settings import MemberSettings
from tests.support import recipes


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> TrainingRecipe:
    text = f"{recipes.SMALL}\naugmentation = {{ slope = 0.01, noise = 0.0001 }}\n"
    return recipe_file.load(recipes.write(tmp_path_factory.mktemp("recipe"), text))


@pytest.fixture(scope="module")
def soils(recipe: TrainingRecipe) -> Soils:
    return grouped(load_soils(("UL.120",), recipe))


@pytest.fixture(scope="module")
def copies(recipe: TrainingRecipe, soils: Soils) -> MemberSoils:
    """Copies of 30 soils, with standardised values."""
    few = soils.rows(np.arange(30))
    values = standardise(make_targets(recipe, soils.values), few.values)
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
    return member_soils(recipe, preprocess, few.spectra, values, soil_of(few), seed=1)


def fitted(copies: MemberSoils, predicted: Array) -> tuple[AroundModel, Array]:
    """The process around a model's predictions, and what it predicts for its own soils."""
    found = fit_around(copies, Projection.of(copies.inputs, copies.channels), predicted)
    inputs = copies.inputs.astype(np.float32).reshape(len(copies.inputs), copies.channels, -1)
    process = Members({"process": found.member}).outputs(inputs)["process"]
    return found, found.shares * predicted + process


def test_a_model_that_is_right_is_trusted(copies: MemberSoils) -> None:
    found, outputs = fitted(copies, copies.values)
    assert np.all(found.shares > 0.85)
    assert np.abs(outputs - copies.values).max() < 0.3


def test_a_model_that_predicts_noise_is_not(copies: MemberSoils) -> None:
    noise = np.random.default_rng(0).normal(0.0, 3.0, copies.values.shape)
    found, outputs = fitted(copies, noise)
    assert np.all(found.shares < 0.2)
    assert np.mean((outputs - copies.values) ** 2) < np.mean(copies.values**2)


def test_a_constant_error_becomes_the_offset(copies: MemberSoils) -> None:
    _, outputs = fitted(copies, copies.values - 1.5)
    assert np.abs(outputs - copies.values).mean() < 0.15


def test_the_weight_of_a_combination_is_its_likelihood(
    copies: MemberSoils, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One property and two shares, compared with SciPy's normal distribution."""
    one = copies.rows(copies.first)
    one = replace(one, values=one.values[:, :1], groups=np.arange(len(one.inputs)))
    for name, values in (("OFFSETS", (0.1,)), ("SIGNALS", (0.3,)), ("NOISES", (0.1,))):
        monkeypatch.setattr(around, name, values)
    monkeypatch.setattr(around, "SHARES", {0.0: 0.5, 1.0: 0.5})
    predicted = 0.5 * one.values + 0.2
    projection = Projection.of(one.inputs, one.channels)
    found = fit_around(one, projection, predicted)
    points = (one.inputs - projection.centre) @ found.member.components.T.astype(np.float64)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    scaled = np.sqrt(3.0) * distances / found.member.length
    spread = one.values.var()
    covariance = (
        0.3 * spread * (1.0 + scaled) * np.exp(-scaled) + 0.1 + 0.1 * spread * np.eye(len(points))
    )
    likelihood = [
        multivariate_normal(cov=covariance).logpdf((one.values - share * predicted).ravel())
        for share in (0.0, 1.0)
    ]
    expected = 1.0 / (1.0 + np.exp(likelihood[0] - likelihood[1]))
    assert found.shares[0] == pytest.approx(expected, abs=2e-3)


def test_many_soils_are_weighed_on_some_of_them(
    copies: MemberSoils, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, exact = fitted(copies, copies.values - 0.5)
    monkeypatch.setattr(around, "MOST_WEIGHED_ON", 40)
    _, outputs = fitted(copies, copies.values - 0.5)
    assert 0.0 < np.abs(outputs - exact).max() < 0.2


@pytest.mark.parametrize("base", ["network", "linear network", "members"])
def test_an_adapted_model_is_one_graph(
    recipe: TrainingRecipe, copies: MemberSoils, base: str
) -> None:
    torch.manual_seed(0)
    config = recipe.network_config()
    network = CCNVR(replace(config, linear=True) if base == "linear network" else config).eval()
    if base == "members":
        members = fit_members(MemberSettings(), copies)
        network = mean_of(members, copies.channels, recipe.grid.bands)
    inputs = copies.inputs.astype(np.float32).reshape(len(copies.inputs), copies.channels, -1)
    own = fit_members(MemberSettings(), copies).fitted
    scales = np.array([0.5, 2.0]), np.array([1.0, -1.0])
    shares = np.array([0.25, 0.75])
    model = adapted(network, shares, [rescaled(member, *scales) for member in own.values()])
    expected = shares * network_outputs(network, inputs) + sum(
        scales[0] * outputs + scales[1] for outputs in Members(own).outputs(inputs).values()
    )
    np.testing.assert_allclose(network_outputs(model, inputs), expected, atol=3e-4)


def test_members_beside_a_model_answer_as_their_graphs(
    recipe: TrainingRecipe, soils: Soils
) -> None:
    torch.manual_seed(0)
    targets = make_targets(recipe, soils.values)
    base = Calibration(CCNVR(recipe.network_config()).eval(), targets)
    few = soils.rows(np.arange(20))
    # pH was measured in three soils alone: members learn there what the model predicts.
    few.values[3:, 1] = np.nan
    beside = fit_beside(recipe, base, few.spectra, few.values, soil_of(few), 1)
    preprocess = Preprocessor(recipe.preprocessing, recipe.grid.wavelengths())
    inputs = preprocess.batch(soils.spectra[20:])
    predicted = network_outputs(base.network, inputs).astype(np.float64)
    outputs = beside.outputs(inputs, predicted)
    np.testing.assert_allclose(
        network_outputs(beside.alone(base.network), inputs), outputs[AROUND], atol=3e-4
    )
    mean = np.mean(list(outputs.values()), axis=0)
    np.testing.assert_allclose(network_outputs(beside.mean(base.network), inputs), mean, atol=3e-4)
    assert np.abs(outputs[AROUND][:, 1] - predicted[:, 1]).max() < 0.05
    assert isinstance(beside.own["matern"], KernelMember)

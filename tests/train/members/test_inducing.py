"""A process on inducing soils equals the exact one where all are inducing, and is near it else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.network.kernels import KernelMember
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.members import process, support_vectors
from ccnvr.train.members.covariance import matern, squared_distances
from ccnvr.train.members.inducing import Inducing, Noise, draw
from ccnvr.train.members.members import Members, fit_members
from ccnvr.train.members.projection import Projection
from ccnvr.train.members.soils import MemberSoils
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.settings import MemberSettings
from tests.support import recipes

NOISE = Noise((0.05, 0.2), unshared=0.1)


def simulated(count: int, copies: int = 1) -> MemberSoils:
    """Return soils in profiles of two horizons; the second property is often missing."""
    rng = np.random.default_rng(count)
    hidden = rng.normal(size=(count, 3))
    mixing = np.random.default_rng(1).normal(size=(3, 12))
    spectra = np.tanh(hidden @ mixing)
    values = np.stack([np.sin(hidden[:, 0]) + hidden[:, 1], hidden[:, 2] ** 2], axis=1)
    values[::3, 1] = np.nan
    inputs = np.tile(spectra, (copies, 1)) + rng.normal(0.0, 0.02, (copies * count, 12))
    return MemberSoils(
        inputs=inputs,
        values=np.tile(values, (copies, 1)),
        groups=np.tile(np.arange(count) // 2, copies),
        channels=2,
        wavelengths=np.arange(6.0),
        first=np.arange(copies * count) < count,
    )


@pytest.fixture(scope="module")
def soils() -> MemberSoils:
    return simulated(60, copies=2)


def points_of(soils: MemberSoils) -> Array:
    projection = Projection.of(soils.inputs, soils.channels)
    return (soils.inputs - projection.centre) @ projection.half_whitened()[:5].T


def prepared(soils: MemberSoils, kept: Integers) -> tuple[Inducing, Array]:
    points = points_of(soils)
    covariance = matern(squared_distances(points, points), 2.0)
    return Inducing.of(covariance[:, kept], kept), covariance


def test_with_all_soils_inducing_it_is_the_exact_process(soils: MemberSoils) -> None:
    every = np.arange(len(soils.groups))
    inducing, covariance = prepared(soils, every)
    values = soils.values[:, 0]
    found = list(inducing.solved(every, values, soils.groups, NOISE))
    for (error, weights), variance in zip(found, NOISE.variances, strict=True):
        disturbed = covariance + variance * NOISE.shared_by(soils.groups, values)
        exact = np.linalg.solve(disturbed, values - values.mean())
        np.testing.assert_allclose(covariance @ weights, covariance @ exact, atol=1e-4)
        left_out = np.concatenate(
            [
                values[out] - values.mean() - covariance[np.ix_(out, left)] @ solved
                for group in np.unique(soils.groups)
                for out in [np.flatnonzero(soils.groups == group)]
                for left in [np.flatnonzero(soils.groups != group)]
                for solved in [
                    np.linalg.solve(disturbed[np.ix_(left, left)], values[left] - values.mean())
                ]
            ]
        )
        assert error == pytest.approx(np.mean(left_out**2), rel=1e-3)


def test_leaving_a_soil_out_by_formula_is_leaving_it_out(soils: MemberSoils) -> None:
    kept = draw(points_of(soils), 20)
    inducing, covariance = prepared(soils, kept)
    known = np.flatnonzero(~np.isnan(soils.values[:, 1]))
    values, groups = soils.values[known, 1], soils.groups[known]
    error, _ = list(inducing.solved(known, values, groups, NOISE))[1]
    features, between = covariance[np.ix_(known, kept)], covariance[np.ix_(kept, kept)]
    precision = np.linalg.inv(NOISE.shared_by(groups, values))
    missed = np.empty(len(known))
    for group in np.unique(groups):
        out, left = groups == group, groups != group
        weighted = features[left].T @ precision[np.ix_(left, left)]
        solved = np.linalg.solve(
            weighted @ features[left] + NOISE.variances[1] * between,
            weighted @ (values[left] - values.mean()),
        )
        missed[out] = values[out] - values.mean() - features[out] @ solved
    # Rows of the soils that are inducing, all copies of them, do not count.
    of_kept = {(soils.groups[row], soils.values[row, 1]) for row in kept}
    judged = [pair not in of_kept for pair in zip(groups, values, strict=True)]
    assert 0 < sum(judged) < len(known)
    assert error == pytest.approx(np.mean(missed[judged] ** 2), rel=1e-4)


def test_inducing_soils_are_spread_out_and_the_same_each_time() -> None:
    rng = np.random.default_rng(1)
    # Far more points here than there.
    points = np.concatenate([rng.normal(0.0, 0.1, (500, 2)), rng.normal(9.0, 0.1, (5, 2))])
    drawn = draw(points, 10)
    np.testing.assert_array_equal(drawn, draw(points, 10))
    assert len(set(drawn.tolist())) == 10 and np.any(drawn >= 500)
    assert len(draw(np.zeros((30, 2)), 10)) == 1


def test_horizons_of_a_profile_share_no_noise_but_copies_do() -> None:
    groups, values = np.array([0, 0, 0, 1]), np.array([1.0, 1.0, 2.0, 1.0])
    shared = Noise((0.1,), unshared=0.1).shared_by(groups, values)
    expected = np.eye(4)
    expected[0, 1] = expected[1, 0] = 0.9
    np.testing.assert_allclose(shared, expected)


def test_members_are_bounded_and_lose_little_by_it(soils: MemberSoils) -> None:
    new = simulated(61)
    spectra = new.inputs.astype(np.float32).reshape(len(new.inputs), 2, -1)
    errors = {}
    for most_soils in (0, 40):
        kinds = ("matern", "svr")
        members = fit_members(MemberSettings(kinds, most_soils=most_soils), soils)
        for kind, outputs in members.outputs(spectra).items():
            errors[kind, most_soils] = float(np.nanmean((outputs - new.values) ** 2))
            member = members.fitted[kind]
            assert isinstance(member, KernelMember)
            assert len(member.soils) == 40 if most_soils else len(member.soils) > 40
    for kind in ("matern", "svr"):
        assert errors[kind, 40] < 1.3 * errors[kind, 0] + 0.02, errors


def test_a_stated_length_is_taken_without_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    soils = simulated(60)
    monkeypatch.setattr(process, "_missed", None)
    settings = MemberSettings(("matern",), most_components=16, length=3.0)
    member = fit_members(settings, soils).fitted["matern"]
    assert isinstance(member, KernelMember)
    distances = np.sqrt(((member.soils[:, None] - member.soils) ** 2).sum(axis=2))
    median = np.median(distances[np.triu_indices(len(distances), 1)])
    assert member.length == pytest.approx(3.0 * median, rel=1e-3)
    with pytest.raises(ValueError, match=r"length = -1\.0 is not from 0 to 100"):
        MemberSettings(length=-1.0)


def test_many_soils_are_fitted_to_by_inducing_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    soils, new = simulated(200), simulated(61)
    spectra = new.inputs.astype(np.float32).reshape(len(new.inputs), 2, -1)
    projection = Projection.of(soils.inputs, soils.channels)

    def error() -> float:
        member, geometry = process.fit_process(soils, projection)
        assert geometry.components == 12
        outputs = Members({"matern": member}).outputs(spectra)["matern"]
        return float(np.nanmean((outputs - new.values) ** 2))

    exact = error()
    for name, most in (("MOST_EXACTLY", 100), ("INDUCING_TRIED", 50), ("FEWEST_INDUCING", 80)):
        monkeypatch.setattr(process, name, most)
    # The geometry is chosen with inducing soils and the noise on some soils, but all are compared.
    assert error() == pytest.approx(exact, rel=0.1)
    monkeypatch.setattr(process, "MOST_SOILS", 100)
    assert error() == pytest.approx(exact, rel=0.3)


def test_the_cost_of_a_machine_is_chosen_on_some_of_many_soils(
    monkeypatch: pytest.MonkeyPatch, soils: MemberSoils
) -> None:
    monkeypatch.setattr(support_vectors, "MOST_CHOSEN_ON", 30)
    projection = Projection.of(soils.inputs, soils.channels)
    member = support_vectors.fit_support_vectors(soils, projection, process.Geometry(5, 2.0, 4.0))
    assert np.all(np.isfinite(member.weights)) and len(member.soils) > 60


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("most_soils = 9", "most_soils = 9"),
        ("most_soils = 6001", "most_soils = 6001"),
        ("most_components = 8", "most_components = 8"),
        ("most_components = 300", "most_components = 300"),
    ],
)
def test_a_size_that_is_not_possible_is_refused(tmp_path: Path, line: str, says: str) -> None:
    text = f"{recipes.SMALL}\n[members]\n{line}\n"
    with pytest.raises(Exception, match=says):
        recipe_file.load(recipes.write(tmp_path, text))

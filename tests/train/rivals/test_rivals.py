"""The rivals of CCNVR and their tuning, on real soils."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import optuna
import pytest
import torch

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.edge.chemometrics.preprocess import Preprocessing, Preprocessor
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.train.libraries import load as libraries
from ccnvr.train.network import ccnvr as networks
from ccnvr.train.rivals.method import (
    STACK,
    TREATMENTS,
    Configuration,
    Method,
    Predict,
    channels,
    features,
    scaled_target,
)
from ccnvr.train.rivals.neural import NetworkMethod
from ccnvr.train.rivals.scikit import METHODS
from ccnvr.train.rivals.tuning import Budget, TuningSoils, cross_validate, group_folds, tune
from tests.support import recipes

GRID = Grid(1104.0, 4.0, 348)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def soils() -> tuple[Array, Array]:
    """Return the spectra and OC of the 125 soils of SL.125."""
    library = libraries.load_library("SL.125", GRID)
    return library.spectra, library.values[:, 0]


def default(method: Method, soils: int, **changes: object) -> Configuration:
    return method.suggest(optuna.trial.FixedTrial({**method.first, **changes}), GRID.bands, soils)


@pytest.mark.parametrize("name", METHODS)
def test_each_method_learns_from_sixty_real_soils(name: str, soils: tuple[Array, Array]) -> None:
    spectra, values = soils
    method = METHODS[name]
    assert method.name == name
    epochs = {"epochs": 20} if name in ("CNN", "RNN") else {}
    configuration = default(method, 60, **epochs)
    assert json.loads(json.dumps(configuration)) == configuration
    train = np.arange(0, 120, 2)
    predict = method.fit(configuration, GRID, spectra[train], values[train], 1)
    predicted = predict(spectra[train])
    assert predicted.shape == (60,)
    r2 = accuracy(values[train], predicted).r2
    assert r2 is not None and r2 > (0.0 if name in ("CNN", "RNN") else 0.5)
    again = method.fit(configuration, GRID, spectra[train], values[train], 1)
    np.testing.assert_array_equal(again(spectra[train]), predicted)
    # A soil alone gets the same prediction as among others.
    np.testing.assert_allclose(predict(spectra[:1])[0], predict(spectra[:3])[0], rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_drawn_fits_or_is_refused_with_a_reason(
    name: str, soils: tuple[Array, Array]
) -> None:
    spectra, values = soils
    if name in ("CNN", "RNN"):  # the test above fits both; this one is about drawing
        rows, draws = np.arange(24), 1
    else:
        rows, draws = np.arange(40), 5
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    for _ in range(draws):
        configuration = METHODS[name].suggest(study.ask(), GRID.bands, len(rows))
        predicted = METHODS[name].fit(configuration, GRID, spectra[rows], values[rows], 1)(
            spectra[rows]
        )
        assert predicted.shape == rows.shape


def test_pls_of_fewer_components_is_read_off_the_largest(soils: tuple[Array, Array]) -> None:
    spectra, values = soils
    method = METHODS["PLSR"]
    configuration = default(method, 125, scale=True)
    family = list(method.fit_family(configuration, GRID, spectra, values, 1))
    assert [member["components"] for member, _ in family] == list(range(1, 31))
    for member, predict in (family[0], family[6], family[-1]):
        np.testing.assert_allclose(
            predict(spectra), method.fit(member, GRID, spectra, values, 1)(spectra), rtol=1e-6
        )


def test_a_local_model_of_all_soils_is_the_global_pls(soils: tuple[Array, Array]) -> None:
    spectra, values = soils
    common = {"treatment": "snv", "transform": "identity"}
    everyone = {**common, "scores": 10, "neighbors": 100, "components": 6}
    local = METHODS["MBL"].fit(everyone, GRID, spectra[:100], values[:100], 1)
    whole = METHODS["PLSR"].fit(
        {**common, "scale": False, "components": 6}, GRID, spectra[:100], values[:100], 1
    )
    # The rotation keeps all but 1e-5 of the variance.
    assert np.std(local(spectra[100:]) - whole(spectra[100:])) < 0.05 * values.std()


def test_treatments_are_those_of_the_edge(soils: tuple[Array, Array]) -> None:
    spectra, _ = soils
    for treatment in TREATMENTS:
        configuration = {"treatment": treatment, "window_nm": 30, "thin": 3}
        chosen = channels(configuration, GRID)
        assert all(channel.window in (1, 9) for channel in chosen)  # 9 bands of 4 nm span 32 nm
        whole = Preprocessor(Preprocessing(GRID, chosen), GRID.wavelengths()).batch(spectra)
        assert whole.shape[1] == len(chosen)
        np.testing.assert_array_equal(
            features(configuration, GRID)(spectra), whole[:, :, ::3].reshape(len(spectra), -1)
        )
    few = Grid(1104.0, 10.0, 6)
    assert channels({"treatment": "derivative", "window_nm": 80}, few)[0].window == 5


def test_thinning_leaves_no_wide_steps_on_a_coarse_grid() -> None:
    coarse = Grid(410.0, 10.0, 179, ((1360.0, 1450.0), (1800.0, 1950.0)))
    spectra = np.random.default_rng(1).normal(size=(3, coarse.bands))
    for thin, kept in ((1, 179), (2, 90), (8, 60)):
        configuration = {"treatment": "snv", "thin": thin}
        assert features(configuration, coarse)(spectra).shape == (3, kept)


@pytest.mark.parametrize("name", METHODS)
def test_a_stacked_method_reads_all_channels_of_ccnvr_on_a_grid_with_gaps(name: str) -> None:
    method, plain = METHODS[name].stacked(), METHODS[name]
    assert method.first["treatment"] == STACK and plain.first["treatment"] != STACK
    assert STACK in method.treatments and STACK not in plain.treatments
    gapped = Grid(430.0, 10.0, 177, ((1360.0, 1450.0), (1800.0, 1950.0)))
    library = libraries.load_library("UL.120", gapped)
    quick = {"epochs": 20} if name in ("CNN", "RNN") else {}
    fixed = optuna.trial.FixedTrial({**method.first, **quick})
    configuration = method.suggest(fixed, gapped.bands, 90)
    predict = method.fit(configuration, gapped, library.spectra[:90], library.values[:90, 0], 0)
    assert np.isfinite(predict(library.spectra[90:])).all()


def test_networks_take_larger_batches_of_many_soils() -> None:
    method = METHODS["CNN"]
    few, many = (default(method, soils)["fit"]["batch_size"] for soils in (618, 3200))
    assert many == 4 * few


def test_a_search_scores_on_the_scale_of_its_soils(soils: tuple[Array, Array]) -> None:
    spectra, values = soils
    groups = np.arange(len(values))
    r2 = [
        tune(METHODS["PLSR"], TuningSoils(GRID, spectra, values, groups, scale), Budget(2, 2)).r2
        for scale in ("identity", "log1p")
    ]
    assert r2[0] != r2[1] and min(r2) > 0.5


def test_a_transform_that_the_values_do_not_allow_is_refused() -> None:
    with pytest.raises(ValueError, match="log1p needs values above -1, and -2"):
        scaled_target("log1p", np.array([-2.0, 3.0]))
    target = scaled_target("log1p", np.array([1.0, 5.0, 30.0]))
    np.testing.assert_allclose(
        target.restore(target.standardise(np.array([0.0, 7.0]))), [0.0, 7.0], atol=1e-12
    )


def test_folds_keep_groups_together_and_cover_every_soil() -> None:
    groups = np.repeat(np.arange(20), 3)
    splits = group_folds(groups, 5, seed=4)
    assert sorted(np.concatenate([held_out for _, held_out in splits]).tolist()) == list(range(60))
    for train, held_out in splits:
        assert not set(groups[train]) & set(groups[held_out])
    assert [held_out.tolist() for _, held_out in splits] == [
        held_out.tolist() for _, held_out in group_folds(groups, 5, 4)
    ]
    assert [held_out.tolist() for _, held_out in splits] != [
        held_out.tolist() for _, held_out in group_folds(groups, 5, 5)
    ]
    with pytest.raises(UsageError, match="5 folds cannot be made of 3 groups"):
        group_folds(np.arange(3), 5, 1)


def test_tuned_pls_predicts_carbon_and_clay(soils: tuple[Array, Array]) -> None:
    from ccnvr.edge.spectrum_files import limesoda

    spectra, carbon = soils
    clay = limesoda.load("SL.125").properties["clay"]
    for values in (carbon, clay):
        tuned = TuningSoils(GRID, spectra, values, np.arange(125))
        found = tune(METHODS["PLSR"], tuned, Budget(6, 5))
        assert found.r2 > 0.5
        splits = group_folds(np.arange(125), 5, 1)
        predicted = {
            member["components"]: guess
            for member, guess in cross_validate(
                METHODS["PLSR"], found.configuration, tuned, splits, 1
            )
        }
        assert accuracy(values, predicted[found.configuration["components"]]).r2 == pytest.approx(
            found.r2
        )


def test_tuning_is_repeatable_and_resumes_from_its_storage(
    soils: tuple[Array, Array], tmp_path: Path
) -> None:
    spectra, values = soils
    tuned = TuningSoils(GRID, spectra, values, np.arange(125))
    storage = f"sqlite:///{tmp_path / 'tuning.db'}"

    def search(
        trials: int, seed: int = 3, storage: str | None = None
    ) -> tuple[Configuration, float, list[int]]:
        seen: list[int] = []
        found = tune(
            METHODS["SVMR"],
            tuned,
            Budget(trials, folds=3, seed=seed),
            storage,
            on_trial=lambda done, best: seen.append(done),
        )
        assert found.trials == trials and found.seconds > 0.0
        return found.configuration, found.r2, seen

    whole = search(14)
    assert search(14)[:2] == whole[:2]
    assert search(5, storage=storage)[2] == [1, 2, 3, 4, 5]
    rest = search(14, storage=storage)
    assert rest[2] == list(range(6, 15))
    assert rest[:2] == whole[:2]
    assert search(14, storage=storage)[2] == []
    # Another seed makes other folds, so its trials belong to another search.
    assert search(2, seed=4, storage=storage)[2] == [1, 2]


class _Spy(Method):
    """A method that fits the mean and remembers which soils it was shown."""

    name = "spy"
    first: ClassVar[Configuration] = {}

    def __init__(self) -> None:
        self.shown: list[set[float]] = []

    def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
        return {"kind": trial.suggest_categorical("kind", ["mean", "fails", "not finite"])}

    def fit(
        self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int
    ) -> Predict:
        if configuration["kind"] == "fails":
            raise np.linalg.LinAlgError("SVD did not converge")
        self.shown.append(set(values.tolist()))
        mean = np.inf if configuration["kind"] == "not finite" else values.mean()
        return lambda unknown: self._checked(unknown, mean)

    def _checked(self, unknown: Array, mean: float) -> Array:
        assert not self.shown[-1] & set(unknown[:, 0].tolist())
        return np.full(len(unknown), mean)


def test_no_soil_is_predicted_by_what_it_trained_and_failures_end_no_search() -> None:
    values = np.arange(30.0)
    spectra = np.repeat(values[:, None], 4, axis=1)
    grid = Grid(1100.0, 10.0, 4)
    spy = _Spy()
    found = tune(spy, TuningSoils(grid, spectra, values, np.arange(30) // 2), Budget(12, 5))
    assert found.trials == 12 and found.configuration == {"kind": "mean"}
    assert found.r2 < 0.0
    assert all(len(shown) == 24 for shown in spy.shown)

    class Hopeless(_Spy):
        def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
            return {"kind": "fails"}

    with pytest.raises(
        CcnvrError, match=r"none of 3 configurations of spy .* SVD did not converge"
    ):
        tune(Hopeless(), TuningSoils(grid, spectra, values, np.arange(30)), Budget(3, 5))
    with pytest.raises(UsageError, match="1 missing values"):
        missing = np.append(values[1:], np.nan)
        tune(spy, TuningSoils(grid, spectra, missing, np.arange(30)), Budget(3, 5))


@pytest.mark.parametrize("name", ["CNN", "RNN"])
def test_the_networks_lack_what_ccnvr_adds(name: str) -> None:
    configuration = default(METHODS[name], 60)["network"]
    assert (configuration["cell"] == "none") == (name == "CNN")
    assert bool(configuration["convolutions"]) == (name == "CNN")


@pytest.mark.parametrize("changes", recipes.SHAPES)
def test_a_network_without_a_layer_runs_and_standardises(
    changes: dict[str, Any], rng: np.random.Generator
) -> None:
    config = recipes.network_config(**changes)
    network = networks.CCNVR(config)
    spectra = torch.from_numpy(rng.normal(5.0, 3.0, (64, 2, 140)).astype(np.float32))
    assert network(spectra).shape == (64, 3)
    if network.scale is not None:
        network.eval()
        scaled = network.scale(spectra.flatten(1))
        torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(280), atol=1e-4, rtol=0)
        torch.testing.assert_close(scaled.std(dim=0), torch.ones(280), atol=1e-3, rtol=0)


def test_a_network_learns_several_properties_together(soils: tuple[Array, Array]) -> None:
    library = libraries.load_library("SL.125", GRID)
    names = ("OC", "pH")
    values = library.of(names).values
    values[::5, 1] = np.nan
    method = METHODS["CNN"]
    assert isinstance(method, NetworkMethod)
    together = method.together({"OC": "log1p", "pH": "identity"})
    configuration = default(together, 100, epochs=20)
    predict = together.fit(configuration, GRID, library.spectra[:100], values[:100], 0)
    assert predict(library.spectra[100:]).shape == (25, 2)
    groups, scale = np.arange(len(values)), ("log1p", "identity")
    tuned = TuningSoils(GRID, library.spectra, values, groups, scale)
    ((_, found),) = cross_validate(
        together, configuration, tuned, group_folds(groups, 2, 1), seed=1
    )
    assert found.shape == values.shape and np.isfinite(found).all()

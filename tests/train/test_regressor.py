"""CCNVRRegressor among scikit-learn's tools, and the paper's mode."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.train import regressor as regressors
from ccnvr.train.recipe import recipe_file as recipes
from ccnvr.train.regressor import CCNVRRegressor

SMALL: dict[str, Any] = {
    "epochs": 8,
    "hidden": 8,
    "dense": 16,
    "dropout": 0.0,
    "learning_rate": 0.01,
    "teachers": 0,
}

FLAT = (
    "its spectra are flat in a channel of the best mode, and a flat spectrum has no standard "
    "normal variate: it is refused"
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def soils() -> limesoda.LimeSoDaSet:
    """SL.125 from 2000 nm, where clay and organic matter absorb: few bands, so that tests are
    quick.
    """
    whole = limesoda.load("SL.125")
    seen = whole.wavelengths_nm >= 2000.0
    return dataclasses.replace(
        whole, wavelengths_nm=whole.wavelengths_nm[seen], reflectance=whole.reflectance[:, seen]
    )


def expected_failures(estimator: CCNVRRegressor) -> dict[str, str]:
    if estimator.mode == "best":
        return {"check_estimators_dtypes": FLAT, "check_fit_idempotent": FLAT}
    return {}


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    # Ten random columns are no spectrum: an LSTM learns nothing from them in a few epochs.
    [
        CCNVRRegressor("paper", cell="none", batch_size=8, **SMALL, random_state=0),
        CCNVRRegressor(cell="gru", **{**SMALL, "epochs": 14}, random_state=0),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_s_own_checks_pass(
    estimator: CCNVRRegressor, check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if check.func is estimator_checks.check_methods_subset_invariance:
        # The network computes in float32, so on some processors a soil alone and the same soil
        # among others differ by rounding, for which scikit-learn allows 1e-7 only.
        close = partial(estimator_checks.assert_allclose, rtol=1e-5)
        monkeypatch.setattr(estimator_checks, "assert_allclose", close)
    check(estimator)


def test_it_serves_in_pipelines_and_cross_validation(soils: limesoda.LimeSoDaSet) -> None:
    model = CCNVRRegressor(
        wavelengths=soils.wavelengths_nm, target_transform="log1p", **SMALL, random_state=0
    )
    pipeline = make_pipeline(FunctionTransformer(absorbance), model)
    scores = cross_val_score(pipeline, soils.reflectance, soils.properties["OC"], cv=2)
    assert scores.shape == (2,) and np.isfinite(scores).all()


@pytest.mark.parametrize("mode", ["best", "paper"])
def test_it_learns_several_properties_some_not_measured(
    mode: str, soils: limesoda.LimeSoDaSet
) -> None:
    spectra = absorbance(soils.reflectance)
    values = np.stack([soils.properties["OC"], soils.properties["clay"]], axis=1)
    known = values.copy()
    known[::3, 0] = np.nan
    epochs = 25 if mode == "best" else 50
    changes = {**SMALL, "cell": "gru", "epochs": epochs, "hidden": 32, "batch_size": 8}
    model = CCNVRRegressor(mode, wavelengths=soils.wavelengths_nm, **changes, random_state=0)
    predicted = model.fit(spectra, known).predict(spectra)
    assert predicted.shape == values.shape
    for column in range(2):
        r2 = accuracy(values[:, column], predicted[:, column]).r2
        assert r2 is not None and r2 > 0.3


def test_a_random_state_decides_all_and_disturbs_nothing(soils: limesoda.LimeSoDaSet) -> None:
    spectra, values = absorbance(soils.reflectance)[:30], soils.properties["OC"][:30]
    state = torch.get_rng_state()
    once, again, other = (
        CCNVRRegressor(**{**SMALL, "epochs": 1}, random_state=seed)
        .fit(spectra, values)
        .predict(spectra)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(once, again)
    assert not np.allclose(once, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_not_given_is_as_in_the_recipe(soils: limesoda.LimeSoDaSet) -> None:
    spectra = absorbance(soils.reflectance)[:20]
    for mode, file in regressors.RECIPES.items():
        plain = recipes.load(Path(regressors.__file__).parent / "recipes" / file)
        model = CCNVRRegressor(mode, wavelengths=soils.wavelengths_nm, epochs=1, teachers=0).fit(
            spectra, soils.properties["pH"][:20]
        )
        made = model.recipe_
        assert (made.channels, made.network) == (plain.channels, plain.network)
        assert made.fit == dataclasses.replace(plain.fit, epochs=1, teachers=0)
        assert made.grid.step_nm == pytest.approx(plain.grid.step_nm, rel=0.01)
        assert (made.grid.start_nm, round(made.grid.stop_nm)) == (
            soils.wavelengths_nm[0],
            soils.wavelengths_nm[-1],
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "worst"}, "mode 'worst' is not one of best, paper"),
        ({"target_transform": "sqrt"}, "target_transform 'sqrt'"),
        ({"epochs": 0}, "epochs = 0 must be at least 1"),
        ({"cell": "rnn"}, "cell 'rnn'"),
        ({"wavelengths": [1100.0, 1200.0]}, "2 wavelengths do not name the 10 columns"),
        ({"wavelengths": np.linspace(1100.0, 2000.0, 10)}, "100.0 nm apart"),
        ({"wavelengths": np.full(10, 1100.0)}, "increasing"),
    ],
)
def test_what_cannot_be_is_a_value_error(
    changes: dict[str, Any], words: str, rng: np.random.Generator
) -> None:
    with pytest.raises(ValueError, match=words):
        CCNVRRegressor(**{**SMALL, **changes}).fit(rng.normal(size=(20, 10)), rng.normal(size=20))


@pytest.mark.parametrize(
    ("changes", "y", "words"),
    [
        ({}, np.full(20, np.nan), r"^y was measured in 0 spectra to train on, 10 are needed$"),
        (
            {},
            np.full(20, 3.0),
            r"^y is 3 in all spectra to train on, so there is nothing to learn$",
        ),
        ({}, np.stack([np.arange(20.0), np.full(20, 3.0)], axis=1), r"^column 1 of y is 3 in all"),
        (
            {"target_transform": "log1p"},
            np.arange(20.0) - 5.0,
            r"^y is -5 somewhere, and log1p takes values above -1$",
        ),
        ({"epochs": 1.5}, np.arange(20.0), r"^'epochs' is 1\.5 and must be a whole number$"),
        ({"hidden": "a"}, np.arange(20.0), r"^'hidden' is 'a' and must be a whole number$"),
    ],
)
def test_errors_speak_of_y_and_of_parameters(
    changes: dict[str, Any], y: np.ndarray, words: str, rng: np.random.Generator
) -> None:
    with pytest.raises(ValueError, match=words):
        CCNVRRegressor(**{**SMALL, **changes}).fit(rng.normal(size=(20, 10)), y)


def test_parameters_may_come_from_a_search(soils: limesoda.LimeSoDaSet) -> None:
    spectra, values = absorbance(soils.reflectance)[:30], soils.properties["OC"][:30]
    drawn = {"epochs": np.int64(1), "dropout": np.float64(0.1), "dense": np.arange(16, 17)[0]}
    model = CCNVRRegressor(**{**SMALL, **drawn}, random_state=0).fit(spectra, values)
    assert model.recipe_.fit.epochs == 1 and model.recipe_.network.dense == 16


def test_importing_the_regressor_and_the_rivals_loads_no_torch() -> None:
    code = (
        "import sys, ccnvr.train.regressor, ccnvr.train.rivals.scikit, "
        "ccnvr.train.rivals.tuning; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_paper_s_recipe_is_the_shape_that_the_paper_states() -> None:
    paper = recipes.load(Path(regressors.__file__).parent / "recipes" / "paper_recipe.toml")
    (channel,) = paper.channels
    assert (channel.window, channel.snv) == (1, False)
    assert (
        paper.network.standardise
        and paper.network.cell != "none"
        and 2 <= len(paper.network.convolutions) <= 4
    )
    assert max(vars(paper.fit.augmentation).values()) == 0.0

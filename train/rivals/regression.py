"""Rivals that are scikit-learn regressors: the fit, and choices that several of them have."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.rivals.method import Configuration, Method, Predict, features, scaled_target

_FEWEST_BANDS = 20
"""That thinning leaves; a sensor with few bands keeps all of them."""


# What is drawn does not depend on the data, so that a default can always be tried; what is used
# does.
def suggest_thinning(trial: optuna.trial.BaseTrial, bands: int, steps: list[int]) -> int:
    """That every so many bands are used."""
    return min(int(trial.suggest_categorical("thin", steps)), max(1, bands // _FEWEST_BANDS))


def suggest_compression(trial: optuna.trial.BaseTrial, soils: int) -> int:
    """How many principal components stand for the bands; 0 keeps the bands."""
    return min(int(trial.suggest_categorical("components", [0, 8, 15, 25, 40])), soils // 3)


class Regressor(Method):
    """A method that is a scikit-learn regressor of standardised features and a
    standardised target.
    """

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """An unfitted regressor for so many features."""
        raise NotImplementedError

    def fit(
        self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int
    ) -> Predict:
        """See `Method`."""
        prepare = features(configuration, grid)
        target = scaled_target(configuration["transform"], values)
        inputs = prepare(spectra)
        with warnings.catch_warnings():
            # The number of iterations is a choice like any other, and the cross-validation judges
            # it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = self.estimator(configuration, inputs.shape[1], seed).fit(
                inputs, target.standardise(values)
            )
        return lambda unknown: target.restore(model.predict(prepare(unknown)).ravel())


def standardised(configuration: Configuration, regressor: Any, seed: int) -> Pipeline:
    """Standardised bands, or their first principal components, each of unit variance, before a
    regressor.
    """
    count = configuration.get("components", 0)
    if not count:
        return make_pipeline(StandardScaler(), regressor)
    return make_pipeline(StandardScaler(), PCA(count, whiten=True, random_state=seed), regressor)

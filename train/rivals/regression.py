"""The fit of a rival that is a scikit-learn regressor, and choices that several rivals share."""

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
"""The fewest bands that thinning leaves; a sensor with fewer keeps all of them."""


# What is drawn must not depend on the data, so that a method's first trial can always be tried.
# What is used is limited afterwards.
def suggest_thinning(trial: optuna.trial.BaseTrial, bands: int, steps: list[int]) -> int:
    """Draw a step: every how many bands one is used."""
    return min(int(trial.suggest_categorical("thin", steps)), max(1, bands // _FEWEST_BANDS))


def suggest_compression(trial: optuna.trial.BaseTrial, soils: int) -> int:
    """Draw the number of principal components that replace the bands; 0 keeps the bands."""
    return min(int(trial.suggest_categorical("components", [0, 8, 15, 25, 40])), soils // 3)


class Regressor(Method):
    """A scikit-learn regressor of standardised features on a standardised target."""

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """Return an unfitted regressor for this number of features."""
        raise NotImplementedError

    def fit(
        self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int
    ) -> Predict:
        """See `Method`."""
        prepare = features(configuration, grid)
        target = scaled_target(configuration["transform"], values)
        inputs = prepare(spectra)
        with warnings.catch_warnings():
            # The number of iterations is one of the choices that the cross-validation judges.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = self.estimator(configuration, inputs.shape[1], seed).fit(
                inputs, target.standardise(values)
            )
        return lambda unknown: target.restore(model.predict(prepare(unknown)).ravel())


def standardised(configuration: Configuration, regressor: Any, seed: int) -> Pipeline:
    """Return a pipeline that standardises the bands before a regressor.

    Where the configuration asks for components, the regressor gets the first principal components
    instead, each scaled to unit variance.
    """
    count = configuration.get("components", 0)
    if not count:
        return make_pipeline(StandardScaler(), regressor)
    # Whitened, since the kernel of SVMR and the first weights of an ANN weigh all features alike.
    return make_pipeline(StandardScaler(), PCA(count, whiten=True, random_state=seed), regressor)

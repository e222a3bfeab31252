"""The rivals of CCNVR from scikit-learn, and the list of all rivals.

The paper (Yang et al. 2020) compares CCNVR with PLSR, SVMR, ANN, CNN and RNN; the last two are
CCNVR's own network without one layer. Random forest, Cubist and memory-based learning are other
methods in common use for soil spectra.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import optuna
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.rivals.cubist import CubistRules
from ccnvr.train.rivals.memory_based import MemoryBasedLearner
from ccnvr.train.rivals.method import (
    Configuration,
    Method,
    Predict,
    features,
    scaled_target,
    suggest_treatment,
)
from ccnvr.train.rivals.neural import ConvolutionalNetwork, RecurrentNetwork
from ccnvr.train.rivals.regression import (
    Regressor,
    standardised,
    suggest_compression,
    suggest_thinning,
)


class PartialLeastSquares(Regressor):
    """PLS regression; each fit gives a calibration for every number of components up to a limit."""

    name = "PLSR"
    first: ClassVar[Configuration] = {
        "treatment": "absorbance",
        "transform": "identity",
        "scale": False,
    }

    def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
        """See `Method`."""
        scale = trial.suggest_categorical("scale", [False, True])
        return {
            **suggest_treatment(trial, self.treatments),
            "scale": scale,
            # The largest model; `fit_family` gives all smaller ones too. At most a third of the
            # soils, so that the folds of a small library can still be fitted.
            "components": max(1, min(30, bands, soils // 3)),
        }

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """Return a PLS regression; only the pipeline scales the bands, where that is chosen."""
        pls = PLSRegression(min(configuration["components"], columns), scale=False)
        return make_pipeline(StandardScaler(with_std=configuration["scale"]), pls)

    def fit_family(
        self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int
    ) -> Iterable[tuple[Configuration, Predict]]:
        """Yield a calibration for each number of components.

        PLS adds one component after another, so the largest model contains all smaller ones.
        """
        prepare = features(configuration, grid)
        target = scaled_target(configuration["transform"], values)
        inputs = prepare(spectra)
        model = self.estimator(configuration, inputs.shape[1], seed).fit(
            inputs, target.standardise(values)
        )
        # A prediction is the sum of scores times loadings, so the first ones are the smaller model.
        loadings = model[-1].y_loadings_[0]

        def truncated(count: int) -> Predict:
            return lambda unknown: target.restore(
                model.transform(prepare(unknown))[:, :count] @ loadings[:count]
            )

        return [
            ({**configuration, "components": count}, truncated(count))
            for count in range(1, len(loadings) + 1)
        ]


class SupportVectorMachine(Regressor):
    """Epsilon-insensitive support vector regression with a radial basis function.

    `gamma` is in units of 1 / number of features.
    """

    name = "SVMR"
    first: ClassVar[Configuration] = {
        "treatment": "snv; derivative, snv",
        "window_nm": 30,
        "transform": "log1p",
        "C": 10.0,
        "gamma": 0.1,
        "epsilon": 0.05,
    }

    def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
        """See `Method`."""
        return {
            **suggest_treatment(trial, self.treatments),
            "C": trial.suggest_float("C", 0.1, 1e4, log=True),
            "gamma": trial.suggest_float("gamma", 1e-3, 10.0, log=True),
            "epsilon": trial.suggest_float("epsilon", 1e-3, 0.5, log=True),
        }

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """See `Regressor`."""
        # Far more iterations than a good machine needs; without a bound a bad one runs for hours.
        machine = SVR(
            C=configuration["C"],
            gamma=configuration["gamma"] / columns,
            epsilon=configuration["epsilon"],
            max_iter=1_000_000,
        )
        return standardised(configuration, machine, seed)


class Perceptron(Regressor):
    """Multi-layer perceptron, the paper's ANN."""

    name = "ANN"
    first: ClassVar[Configuration] = {
        "treatment": "derivative, snv",
        "window_nm": 30,
        "transform": "log1p",
        "thin": 4,
        "components": 25,
        "layers": 1,
        "width": 64,
        "activation": "relu",
        "solver": "lbfgs",
        "alpha": 1.0,
        "epochs": 200,
    }

    def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
        """See `Method`."""
        solver = trial.suggest_categorical("solver", ["adam", "lbfgs"])
        chosen = {
            **suggest_treatment(trial, self.treatments),
            "thin": suggest_thinning(trial, bands, [2, 4, 8]),
            "components": suggest_compression(trial, soils),
            "layers": trial.suggest_int("layers", 1, 2),
            "width": trial.suggest_categorical("width", [16, 32, 64, 128]),
            "activation": trial.suggest_categorical("activation", ["relu", "tanh"]),
            "solver": solver,
            "alpha": trial.suggest_float("alpha", 1e-5, 10.0, log=True),
            "epochs": trial.suggest_categorical("epochs", [50, 100, 200, 400]),
        }
        if solver == "adam":
            chosen["learning_rate"] = trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True)
        return chosen

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """See `Regressor`."""
        network = MLPRegressor(
            hidden_layer_sizes=(configuration["width"],) * configuration["layers"],
            activation=configuration["activation"],
            solver=configuration["solver"],
            alpha=configuration["alpha"],
            # L-BFGS uses all soils at once.
            batch_size="auto" if configuration["solver"] == "lbfgs" else 32,
            learning_rate_init=configuration.get("learning_rate", 1e-3),
            max_iter=configuration["epochs"],
            random_state=seed,
        )
        return standardised(configuration, network, seed)


class RandomForest(Regressor):
    """Random forest or extremely randomised trees."""

    name = "RF"
    first: ClassVar[Configuration] = {
        "treatment": "derivative, snv",
        "window_nm": 30,
        "transform": "log1p",
        "thin": 4,
        "components": 0,
        "kind": "random forest",
        "share": 0.33,
        "leaf": 2,
    }

    def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
        """See `Method`."""
        return {
            **suggest_treatment(trial, self.treatments),
            "thin": suggest_thinning(trial, bands, [4, 8]),
            "components": suggest_compression(trial, soils),
            "kind": trial.suggest_categorical("kind", ["random forest", "extra trees"]),
            "share": trial.suggest_categorical("share", [0.05, 0.15, 0.33, 0.6]),
            "leaf": trial.suggest_int("leaf", 1, 8),
        }

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """See `Regressor`."""
        kind = (
            RandomForestRegressor
            if configuration["kind"] == "random forest"
            else ExtraTreesRegressor
        )
        forest = kind(
            # More trees change little and take as much longer.
            200,
            max_features=configuration["share"],
            min_samples_leaf=configuration["leaf"],
            random_state=seed,
            # Experiments share their cores with others.
            n_jobs=1,
        )
        return standardised(configuration, forest, seed)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        PartialLeastSquares(),
        SupportVectorMachine(),
        Perceptron(),
        ConvolutionalNetwork(),
        RecurrentNetwork(),
        RandomForest(),
        CubistRules(),
        MemoryBasedLearner(),
    )
}

"""The rivals of CCNVR, each from scikit-learn or from a library of its own: what to search, and how to fit.

CNN and RNN are CCNVR's own network with a layer left out (`neural_rivals`), as in Yang et al. 2020; random forest, Cubist
and memory-based learning are what the field uses beside them.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar

import _cubist  # the compiled part of the package cubist
import numpy as np
import optuna
from cubist import Cubist
from cubist.exceptions import CubistError
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from ccnvr.edge.preprocess import Grid
from ccnvr.train.method import Array, Configuration, Method, Predict, features, scaled_target, suggest_treatment
from ccnvr.train.neural_rivals import ConvolutionalNetwork, RecurrentNetwork

_FEWEST_BANDS = 20
"""That thinning leaves; a sensor with few bands keeps all of them."""


# What is drawn does not depend on the data, so that a default can always be tried; what is used does.
def _suggest_thinning(trial: optuna.trial.BaseTrial, bands: int, steps: list[int]) -> int:
    return min(int(trial.suggest_categorical("thin", steps)), max(1, bands // _FEWEST_BANDS))


def _suggest_compression(trial: optuna.trial.BaseTrial, soils: int) -> int:
    """How many principal components stand for the bands; 0 keeps the bands."""
    return min(int(trial.suggest_categorical("components", [0, 8, 15, 25, 40])), soils // 3)


class _Regressor(Method):
    """A method that is a scikit-learn regressor of standardised features and a standardised target."""

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """An unfitted regressor for so many features."""
        raise NotImplementedError

    def fit(self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int) -> Predict:
        """See `Method`."""
        prepare = features(configuration, grid)
        target = scaled_target(configuration["transform"], values)
        inputs = prepare(spectra)
        with warnings.catch_warnings():
            # The number of iterations is a choice like any other, and the cross-validation judges it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = self.estimator(configuration, inputs.shape[1], seed).fit(inputs, target.standardise(values))
        return lambda unknown: target.restore(model.predict(prepare(unknown)).ravel())


def _standardised(configuration: Configuration, regressor: Any, seed: int) -> Pipeline:
    """Standardised bands, or their first principal components, each of unit variance, before a regressor."""
    count = configuration.get("components", 0)
    if not count:
        return make_pipeline(StandardScaler(), regressor)
    return make_pipeline(StandardScaler(), PCA(count, whiten=True, random_state=seed), regressor)


class PartialLeastSquares(_Regressor):
    """PLS regression; each fit scores all numbers of components up to a limit, since it computes them anyway."""

    name = "PLSR"
    first: ClassVar[Configuration] = {"treatment": "absorbance", "transform": "identity", "scale": False}

    def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
        """See `Method`."""
        scale = trial.suggest_categorical("scale", [False, True])
        return {**suggest_treatment(trial), "scale": scale, "components": max(1, min(30, bands, soils // 3))}

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """The target is standardised already, and the bands are here, if at all."""
        pls = PLSRegression(min(configuration["components"], columns), scale=False)
        return make_pipeline(StandardScaler(with_std=configuration["scale"]), pls)

    def fit_family(
        self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int
    ) -> Iterable[tuple[Configuration, Predict]]:
        """PLS adds component after component, so the largest model holds all smaller ones."""
        prepare = features(configuration, grid)
        target = scaled_target(configuration["transform"], values)
        inputs = prepare(spectra)
        model = self.estimator(configuration, inputs.shape[1], seed).fit(inputs, target.standardise(values))
        loadings = model[-1].y_loadings_[0]

        def truncated(count: int) -> Predict:
            return lambda unknown: target.restore(model.transform(prepare(unknown))[:, :count] @ loadings[:count])

        return [({**configuration, "components": count}, truncated(count)) for count in range(1, len(loadings) + 1)]


class SupportVectorMachine(_Regressor):
    """Epsilon-insensitive support vector regression with a radial basis function; gamma counts in 1 / number of features."""

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
            **suggest_treatment(trial),
            "C": trial.suggest_float("C", 0.1, 1e4, log=True),
            "gamma": trial.suggest_float("gamma", 1e-3, 10.0, log=True),
            "epsilon": trial.suggest_float("epsilon", 1e-3, 0.5, log=True),
        }

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """See `_Regressor`."""
        # A bound far beyond what a good machine needs: without it a bad one can iterate for hours.
        machine = SVR(
            C=configuration["C"], gamma=configuration["gamma"] / columns, epsilon=configuration["epsilon"], max_iter=1_000_000
        )
        return _standardised(configuration, machine, seed)


class Perceptron(_Regressor):
    """Multi-layer perceptron: the paper's ANN."""

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
            **suggest_treatment(trial),
            "thin": _suggest_thinning(trial, bands, [2, 4, 8]),
            "components": _suggest_compression(trial, soils),
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
        """See `_Regressor`."""
        network = MLPRegressor(
            hidden_layer_sizes=(configuration["width"],) * configuration["layers"],
            activation=configuration["activation"],
            solver=configuration["solver"],
            alpha=configuration["alpha"],
            batch_size="auto" if configuration["solver"] == "lbfgs" else 32,
            learning_rate_init=configuration.get("learning_rate", 1e-3),
            max_iter=configuration["epochs"],
            random_state=seed,
        )
        return _standardised(configuration, network, seed)


class RandomForest(_Regressor):
    """Random forest, or extremely randomised trees."""

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
            **suggest_treatment(trial),
            "thin": _suggest_thinning(trial, bands, [4, 8]),
            "components": _suggest_compression(trial, soils),
            "kind": trial.suggest_categorical("kind", ["random forest", "extra trees"]),
            "share": trial.suggest_categorical("share", [0.05, 0.15, 0.33, 0.6]),
            "leaf": trial.suggest_int("leaf", 1, 8),
        }

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """See `_Regressor`."""
        kind = RandomForestRegressor if configuration["kind"] == "random forest" else ExtraTreesRegressor
        forest = kind(
            200, max_features=configuration["share"], min_samples_leaf=configuration["leaf"], random_state=seed, n_jobs=1
        )
        return _standardised(configuration, forest, seed)


class CubistRules(_Regressor):
    """Quinlan's Cubist: rules with linear models, in committees, corrected by nearest neighbours.

    On principal components as the Open Soil Spectral Library's models are (Safanelli et al. 2025, PLoS ONE 20:e0296545),
    or on thinned bands.
    """

    name = "Cubist"
    first: ClassVar[Configuration] = {
        "treatment": "snv",
        "transform": "log1p",
        "thin": 8,
        "components": 25,
        "rules": 100,
        "committees": 10,
        "neighbors": 5,
    }

    def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
        """See `Method`."""
        return {
            **suggest_treatment(trial),
            "thin": _suggest_thinning(trial, bands, [8, 16]),
            "components": _suggest_compression(trial, soils),
            "rules": trial.suggest_int("rules", 5, 100, log=True),
            "committees": trial.suggest_int("committees", 1, 20),
            "neighbors": trial.suggest_int("neighbors", 0, 9),
        }

    def fit(self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int) -> Predict:
        """See `Method`."""
        # Cubist scales the distance to neighbours by soils that it draws, from a generator that it only seeds for other
        # purposes: two equal fits in one process would differ.
        ctypes.CDLL(_cubist.__file__).ResetKR(seed % 4096)
        try:
            return super().fit(configuration, grid, spectra, values, seed)
        except CubistError as error:
            raise ValueError(f"Cubist: {error}") from error

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """See `_Regressor`."""
        rules = Cubist(
            n_rules=configuration["rules"],
            n_committees=configuration["committees"],
            neighbors=configuration["neighbors"] or None,
            random_state=seed,
        )
        # As tables, because Cubist names its columns and expects the names again.
        return _standardised(configuration, rules, seed).set_output(transform="pandas")


class MemoryBasedLearner(Method):
    """For each soil, a PLS regression of its own on the most similar training soils.

    After Ramirez-Lopez et al. 2013, Geoderma 195-196:268-279, whose R package resemble has no Python sibling: here it is
    scikit-learn's nearest neighbours by Mahalanobis distance between principal components, and its PLS regression.
    """

    name = "MBL"
    first: ClassVar[Configuration] = {
        "treatment": "snv",
        "transform": "log1p",
        "scores": 15,
        "neighbors": 100,
        "components": 8,
    }

    def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
        """See `Method`."""
        return {
            **suggest_treatment(trial),
            "scores": min(trial.suggest_int("scores", 2, 30), bands, soils // 3),
            "neighbors": min(trial.suggest_int("neighbors", 20, 300, log=True), soils // 2),
            "components": trial.suggest_int("components", 1, 20),
        }

    def fit(self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int) -> Predict:
        """See `Method`."""
        prepare = features(configuration, grid)
        target = scaled_target(configuration["transform"], values)
        # PLS without scaling is the same after a rotation: on all the components that matter, it is merely quicker.
        rotation = PCA(0.99999, svd_solver="full").fit(prepare(spectra))
        known, answers = rotation.transform(prepare(spectra)), target.standardise(values)
        deviations = np.sqrt(rotation.explained_variance_)[: configuration["scores"]]
        neighbors = min(configuration["neighbors"], len(known))
        search = NearestNeighbors(n_neighbors=neighbors).fit(known[:, : configuration["scores"]] / deviations)

        def local(scores: Array, rows: Array) -> float:
            count = min(configuration["components"], neighbors - 1, known.shape[1])
            model = PLSRegression(count, scale=False).fit(known[rows], answers[rows])
            return float(model.predict(scores[None]).item())

        def predict(unknown: Array) -> Array:
            scores = rotation.transform(prepare(unknown))
            similar = search.kneighbors(scores[:, : configuration["scores"]] / deviations, return_distance=False)
            return target.restore(np.array([local(soil, rows) for soil, rows in zip(scores, similar, strict=True)]))

        return predict


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

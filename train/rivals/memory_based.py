"""Memory-based learning, which fits a local calibration for each soil that it predicts."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import optuna
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.rivals.method import (
    Configuration,
    Method,
    Predict,
    features,
    scaled_target,
    suggest_treatment,
)


class MemoryBasedLearner(Method):
    """PLS regression on the most similar training soils of each soil that is predicted.

    After Ramirez-Lopez et al. 2013, Geoderma 195-196:268-279. Their R package resemble has no
    counterpart in Python, so this uses scikit-learn: nearest neighbours by Mahalanobis distance
    between principal components, and PLS regression.
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
            **suggest_treatment(trial, self.treatments),
            "scores": min(trial.suggest_int("scores", 2, 30), bands, soils // 3),
            "neighbors": min(trial.suggest_int("neighbors", 20, 300, log=True), soils // 2),
            "components": trial.suggest_int("components", 1, 20),
        }

    def fit(
        self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int
    ) -> Predict:
        """See `Method`."""
        prepare = features(configuration, grid)
        target = scaled_target(configuration["transform"], values)
        # PLS without scaling is invariant under rotation, so fitting it to all the components that
        # matter is merely faster.
        rotation = PCA(0.99999, svd_solver="full").fit(prepare(spectra))
        known, answers = rotation.transform(prepare(spectra)), target.standardise(values)
        # Scores divided by their deviations: Euclidean distance is then the Mahalanobis distance.
        deviations = np.sqrt(rotation.explained_variance_)[: configuration["scores"]]
        # Tuning fits on fewer soils than the final calibration.
        neighbors = min(configuration["neighbors"], len(known))
        search = NearestNeighbors(n_neighbors=neighbors).fit(
            known[:, : configuration["scores"]] / deviations
        )

        def local(scores: Array, rows: Array) -> float:
            # PLS of n soils has at most n - 1 components.
            count = min(configuration["components"], neighbors - 1, known.shape[1])
            model = PLSRegression(count, scale=False).fit(known[rows], answers[rows])
            return float(model.predict(scores[None]).item())

        def predict(unknown: Array) -> Array:
            scores = rotation.transform(prepare(unknown))
            similar = search.kneighbors(
                scores[:, : configuration["scores"]] / deviations, return_distance=False
            )
            return target.restore(
                np.array([local(soil, rows) for soil, rows in zip(scores, similar, strict=True)])
            )

        return predict

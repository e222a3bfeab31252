"""Cubist, as the package of that name has it."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

import _cubist  # the compiled part of the package cubist
import optuna
from cubist import Cubist
from cubist.exceptions import CubistError

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.rivals.method import Configuration, Predict, suggest_treatment
from ccnvr.train.rivals.regression import (
    Regressor,
    standardised,
    suggest_compression,
    suggest_thinning,
)


class CubistRules(Regressor):
    """Quinlan's Cubist: rules with linear models, in committees, corrected by nearest neighbours.

    Its features are principal components, as in the models of the Open Soil Spectral Library
    (Safanelli et al. 2025, PLoS ONE 20:e0296545), or thinned bands.
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
            **suggest_treatment(trial, self.treatments),
            "thin": suggest_thinning(trial, bands, [8, 16]),
            "components": suggest_compression(trial, soils),
            "rules": trial.suggest_int("rules", 5, 100, log=True),
            "committees": trial.suggest_int("committees", 1, 20),
            "neighbors": trial.suggest_int("neighbors", 0, 9),
        }

    def fit(
        self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int
    ) -> Predict:
        """See `Method`."""
        # Cubist scales the distance to neighbours by soils that it draws from a generator which it
        # does not seed for this: without a reset, two equal fits in one process would differ.
        ctypes.CDLL(_cubist.__file__).ResetKR(seed % 4096)
        try:
            return super().fit(configuration, grid, spectra, values, seed)
        except CubistError as error:
            raise ValueError(f"Cubist: {error}") from error

    def estimator(self, configuration: Configuration, columns: int, seed: int) -> Any:
        """See `Regressor`."""
        rules = Cubist(
            n_rules=configuration["rules"],
            n_committees=configuration["committees"],
            # The package takes None for "no neighbours" and refuses 0.
            neighbors=configuration["neighbors"] or None,
            random_state=seed,
        )
        # As tables, because Cubist remembers the names of its columns and expects them again.
        return standardised(configuration, rules, seed).set_output(transform="pandas")

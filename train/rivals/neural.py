"""CNN and RNN, the rivals that the paper compares CCNVR with: its network without one layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import optuna

from ccnvr.edge.chemometrics.grid import WIDEST_GAP_NM, Grid
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.rivals.method import (
    TREATMENTS,
    Configuration,
    Method,
    Predict,
    channels,
    suggest_treatment,
)

if TYPE_CHECKING:
    from ccnvr.train.recipe.recipe import TrainingRecipe

SOILS_PER_BATCH_SIZE = 800
"""The soils for which batches are as small as they are drawn; of twice as many they are twice as
large.
"""

PROPERTY = "OC"
"""The property in the recipe, which has to name one. It stands for whichever is fitted, and no
number depends on it.
"""


class NetworkMethod(Method):
    """A network of `train.network`, fitted as CCNVR is."""

    transforms: Mapping[str, str] | None = None
    """The properties of a network for several, with their transforms; None for one property."""

    def together(self, transforms: Mapping[str, str]) -> NetworkMethod:
        """Return the method for these properties together, whose values are `(n, properties)`."""
        method = copy.copy(self)
        method.transforms = transforms
        return method

    def suggest_network(self, trial: optuna.trial.BaseTrial, bands: int) -> dict[str, Any]:
        """Draw the network's shape as in a recipe, and `thin`, the step between its bands."""
        raise NotImplementedError

    def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
        """See `Method`."""
        chosen = suggest_treatment(trial, self.treatments)
        scaled = all(snv for _, snv in TREATMENTS[chosen["treatment"]])
        # Derivatives of absorbance are about 1e-4 per nm, too small for a network unless SNV or
        # standardisation scales them.
        standardise = trial.suggest_categorical("standardise", [False, True]) if scaled else True
        network = self.suggest_network(trial, bands)
        return {
            **chosen,
            "thin": network.pop("thin"),
            "network": {
                **network,
                "standardise": standardise,
                "dropout": trial.suggest_categorical("dropout", [0.0, 0.1, 0.3, 0.5]),
            },
            "fit": {
                "epochs": trial.suggest_categorical("epochs", [20, 40, 60]),
                # So that an epoch of many soils has no more than about 80 steps.
                "batch_size": trial.suggest_categorical("batch_size", [16, 32])
                * max(1, soils // SOILS_PER_BATCH_SIZE),
                "learning_rate": trial.suggest_float("learning_rate", 5e-4, 1e-2, log=True),
                "weight_decay": trial.suggest_float("weight_decay", 1e-4, 0.3, log=True),
                "augmentation": {
                    "slope": trial.suggest_categorical("slope", [0.0, 0.05]),
                    "noise": 0.0,
                    "input_shift": trial.suggest_categorical("input_shift", [0.0, 0.1]),
                },
            },
        }

    def fit(
        self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int
    ) -> Predict:
        """See `Method`; the values of several properties are NaN where not measured."""
        # Imported here, so that tuning the other rivals does not load torch.
        from ccnvr.train.calibration.resampled import calibrate
        from ccnvr.train.network.fitting import Fitting

        transforms = self.transforms or {PROPERTY: configuration["transform"]}
        recipe = _recipe(configuration, _thinned(grid, configuration["thin"]), transforms)
        predict = calibrate(Fitting(recipe, seed), grid, spectra, values.reshape(len(values), -1))
        return lambda unknown: predict(unknown).reshape(-1, *values.shape[1:])


def _thinned(grid: Grid, thin: int) -> Grid:
    """Return the grid of every `thin`-th band, within the widest gap that resampling allows."""
    thin = max(1, min(thin, int(WIDEST_GAP_NM // grid.step_nm)))
    if grid.gaps:
        return Grid.between(grid.start_nm, grid.stop_nm, grid.step_nm * thin, grid.gaps)
    return Grid(grid.start_nm, grid.step_nm * thin, (grid.bands - 1) // thin + 1)


def _recipe(
    configuration: Configuration, grid: Grid, transforms: Mapping[str, str]
) -> TrainingRecipe:
    from ccnvr.train.recipe.recipe import TrainingRecipe

    plain = {
        "name": "rival",
        "libraries": ["-"],
        "tests": [],
        "folds": 2,
        "transforms": dict(transforms),
        "grid": vars(grid),
        "channels": [vars(channel) for channel in channels(configuration, grid)],
        "network": configuration["network"],
        "fit": configuration["fit"],
    }
    return build(TrainingRecipe, plain)


class ConvolutionalNetwork(NetworkMethod):
    """CCNVR without its recurrent layer: convolutions, then dense layers on the features."""

    name = "CNN"
    first: ClassVar[Configuration] = {
        "treatment": "snv; derivative, snv",
        "window_nm": 30,
        "transform": "log1p",
        "standardise": False,
        "filters": 32,
        "kernel": 11,
        "blocks": 2,
        "dense": 64,
        "dropout": 0.3,
        "epochs": 60,
        "batch_size": 16,
        "learning_rate": 2e-3,
        "weight_decay": 0.05,
        "slope": 0.0,
        "input_shift": 0.1,
    }

    def suggest_network(self, trial: optuna.trial.BaseTrial, bands: int) -> dict[str, Any]:
        """Draw one to three blocks of convolution and pool; few bands allow fewer blocks."""
        filters = trial.suggest_categorical("filters", [16, 32, 48])
        kernel = trial.suggest_categorical("kernel", [5, 11, 21])
        blocks = min(
            trial.suggest_int("blocks", 1, 3), 3 if bands >= 128 else 2 if bands >= 32 else 1
        )
        # The first pool is the largest: neighbouring bands are the most alike there.
        pools = (8 if bands >= 200 else 4 if bands >= 32 else 2, 4, 2)
        return {
            "thin": 1,
            "convolutions": [
                {
                    "filters": filters * (1 + (block > 0)),
                    "kernel": kernel if block == 0 else 7,
                    "pool": pools[block],
                }
                for block in range(blocks)
            ],
            "cell": "none",
            "dense": trial.suggest_categorical("dense", [32, 64, 128]),
        }


class RecurrentNetwork(NetworkMethod):
    """CCNVR without its convolutions: a recurrent layer reads the spectrum a few bands per step."""

    name = "RNN"
    first: ClassVar[Configuration] = {
        "treatment": "snv; derivative, snv",
        "window_nm": 30,
        "transform": "log1p",
        "standardise": False,
        "patch": 8,
        "cell": "gru",
        "bidirectional": True,
        "hidden": 32,
        "dense": 64,
        "dropout": 0.1,
        "epochs": 60,
        "batch_size": 32,
        "learning_rate": 5e-3,
        "weight_decay": 0.05,
        "slope": 0.0,
        "input_shift": 0.1,
    }

    def suggest_network(self, trial: optuna.trial.BaseTrial, bands: int) -> dict[str, Any]:
        """Draw the recurrent layer, with bands about 4 nm apart and several bands per step.

        Each step costs time, and over many steps gradients vanish.
        """
        # About the number of bands of CCNVR's own recipes.
        thin = -(-bands // 350)
        return {
            "thin": thin,
            "patch": min(trial.suggest_categorical("patch", [8, 16]), max(1, bands // thin // 8)),
            "convolutions": [],
            "cell": trial.suggest_categorical("cell", ["gru", "lstm"]),
            "bidirectional": trial.suggest_categorical("bidirectional", [False, True]),
            "hidden": trial.suggest_categorical("hidden", [16, 32, 64]),
            "dense": trial.suggest_categorical("dense", [32, 64]),
        }

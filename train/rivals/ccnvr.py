"""CCNVR as a method whose configuration is searched as a rival's is."""

from __future__ import annotations

from typing import Any, ClassVar

import optuna

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Channel
from ccnvr.edge.network.shape import Convolution, NetworkShape
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration.resampled import calibrate
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.recipe.rounds import Fit
from ccnvr.train.recipe.settings import Augmentation
from ccnvr.train.rivals.method import Configuration, Method, Predict

# As text, since the categories that Optuna can store are numbers and text.
STACKS = ("snv, derivatives, absorbance", "snv, derivatives", "snv, derivative")
# That of the study's recipe. The narrowest features of soil are six such bands wide, and the
# network takes half of the time that it takes on the grid of 2 nm.
_STEP_NM = 4.0


class StackedNetwork(Method):
    """CCNVR in its best mode: stacked channels, a linear path, augmentation, masked properties."""

    name = "CCNVR"
    first: ClassVar[Configuration] = {
        "stack": STACKS[0],
        "window_nm": 60,
        "filters": 48,
        "pool": 8,
        "hidden": 96,
        "linear": True,
        "dropout": 0.1,
        "learning_rate": 2e-3,
        "weight_decay": 0.05,
        "batch_size": 16,
        "epochs": 160,
        "slope": 0.01,
        "noise": 3e-5,
        "input_shift": 0.01,
    }

    def __init__(self, transforms: dict[str, str]) -> None:
        self._transforms = transforms

    def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
        """See `Method`."""
        return {
            "stack": trial.suggest_categorical("stack", list(STACKS)),
            "window_nm": trial.suggest_categorical("window_nm", [28, 44, 60, 84]),
            "filters": trial.suggest_categorical("filters", [16, 32, 48]),
            "pool": trial.suggest_categorical("pool", [4, 8]),
            "hidden": trial.suggest_categorical("hidden", [32, 64, 96]),
            "linear": trial.suggest_categorical("linear", [False, True]),
            "dropout": trial.suggest_float("dropout", 0.0, 0.4),
            "learning_rate": trial.suggest_float("learning_rate", 1e-3, 8e-3, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-3, 0.2, log=True),
            "batch_size": trial.suggest_categorical("batch_size", [8, 16, 32]),
            "epochs": trial.suggest_categorical("epochs", [60, 100, 160, 240]),
            "slope": trial.suggest_float("slope", 0.002, 0.2, log=True),
            "noise": trial.suggest_float("noise", 1e-5, 1e-3, log=True),
            "input_shift": trial.suggest_float("input_shift", 0.002, 0.1, log=True),
        }

    def recipe(self, configuration: Configuration, grid: Grid) -> TrainingRecipe:
        """Return the recipe of a configuration, on bands 4 nm apart within `grid`."""
        filters = configuration["filters"]
        own = Grid.between(grid.start_nm, grid.stop_nm, _STEP_NM, grid.gaps)
        return TrainingRecipe(
            name="ccnvr-search",
            # A recipe must name a library; the search is given its soils.
            libraries=("-",),
            tests=(),
            folds=5,
            grid=own,
            channels=_channels(configuration),
            network=NetworkShape(
                convolutions=(
                    Convolution(filters, 11, configuration["pool"]),
                    # Twice the filters after the first pool, as in the recipes, because a pool
                    # leaves fewer bands.
                    Convolution(2 * filters, 7, 4),
                ),
                cell="lstm",
                hidden=configuration["hidden"],
                linear=configuration["linear"],
                dense=64,
                dropout=configuration["dropout"],
            ),
            fit=Fit(
                epochs=configuration["epochs"],
                batch_size=configuration["batch_size"],
                learning_rate=configuration["learning_rate"],
                weight_decay=configuration["weight_decay"],
                augmentation=Augmentation(
                    slope=configuration["slope"],
                    noise=configuration["noise"],
                    input_shift=configuration["input_shift"],
                ),
            ),
            transforms=self._transforms,
        )

    def fit(
        self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int
    ) -> Predict:
        """Fit one network to the columns of `values` `(n, properties)`, NaN where not measured."""
        return calibrate(Fitting(self.recipe(configuration, grid), seed), grid, spectra, values)


def _channels(configuration: Configuration) -> tuple[Channel, ...]:
    # An odd number of bands.
    def window(width_nm: float) -> int:
        return 2 * round(width_nm / _STEP_NM / 2) + 1

    width: Any = configuration["window_nm"]
    channels = [Channel(), Channel(window(width), 2, 1)]
    if configuration["stack"] != STACKS[2]:
        # Wider and of order 3, as in the study's recipe (60 and 84 nm): a second derivative
        # amplifies noise more.
        channels.append(Channel(window(1.4 * width), 3, 2))
    if configuration["stack"] == STACKS[0]:
        channels.append(Channel(snv=False))
    return tuple(channels)

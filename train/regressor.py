"""CCNVR as a scikit-learn regressor, for pipelines, cross-validation and searches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ccnvr.edge.chemometrics.grid import Grid, resampling_matrix
from ccnvr.edge.chemometrics.targets import TRANSFORMS
from ccnvr.edge.chemometrics.wavelength_grid import MOST_BANDS
from ccnvr.edge.typed import build
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError

if TYPE_CHECKING:
    from ccnvr.train.recipe.recipe import TrainingRecipe


RECIPES = {"best": "nirsoil_best_recipe.toml", "paper": "paper_recipe.toml"}
"""By mode: the recipe that parameters which are None are taken from."""

# As many as a property needs in `network.scales`.
_FEWEST_SOILS = 10
_FEWEST_BANDS = 64
"""The bands that the network's filters and pools need; fewer columns are interpolated."""


class CCNVRRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """A convolutional and recurrent network for soil properties from Vis-NIR absorbance.

    X is not checked to be absorbance, because a pipeline may pass on any numbers; take `-log10` of
    reflectance first.

    A parameter that is None is taken from the mode's recipe, so `CCNVRRegressor()` is the network
    that `ccnvr train` trains.

    Args:
        mode: `best` stacks SNV and derivative channels, has a linear path and augments; `paper`
            reads standardised raw absorbance, after Yang et al. 2020, Geoderma 380:114616.
        wavelengths: the wavelengths of the columns of X in nm, increasing; if None, the columns
            are numbered and evenly spaced.
        target_transform: the transform of all columns of y before they are standardised, identity
            or log1p.
        epochs: passes over the soils.
        batch_size: soils in a step of the optimiser.
        learning_rate: the highest learning rate of the one-cycle schedule.
        weight_decay: the weight decay of AdamW.
        cell: the recurrent layer, gru or lstm, or none.
        hidden: the width of the recurrent layer.
        dense: the width of the layer before the outputs.
        dropout: the share of features that are dropped in training.
        teachers: the number of networks that are trained first and teach the one that is kept.
        random_state: an int for repeatable fits, as in scikit-learn.

    Attributes:
        recipe_: the training recipe that was used.
        calibration_: the network and what its outputs mean.

    Examples:
        >>> from sklearn.model_selection import cross_val_score
        >>> model = CCNVRRegressor(range(1100, 2500, 2), target_transform="log1p", random_state=0)
        >>> cross_val_score(model, absorbance, organic_carbon)  # doctest: +SKIP
    """

    def __init__(
        self,
        mode: str = "best",
        *,
        wavelengths: ArrayLike | None = None,
        target_transform: str = "identity",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        cell: str | None = None,
        hidden: int | None = None,
        dense: int | None = None,
        dropout: float | None = None,
        teachers: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.mode = mode
        self.wavelengths = wavelengths
        self.target_transform = target_transform
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.cell = cell
        self.hidden = hidden
        self.dense = dense
        self.dropout = dropout
        self.teachers = teachers
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803 # scikit-learn's name
        """Train on absorbance X `(n, bands)` and y `(n,)` or `(n, targets)`.

        y may hold NaN where a property was not measured.

        Raises:
            ValueError: the data or a parameter cannot be used.
        """
        # Imported here, so that importing and cloning the estimator loads no torch.
        import torch

        from ccnvr.train.calibration import fit as fitting
        from ccnvr.train.network import scales
        from ccnvr.train.network.fitting import Fitting

        needs_of_x: dict[str, Any] = {
            "dtype": np.float64,
            "ensure_min_samples": _FEWEST_SOILS,
            "ensure_min_features": 2,
        }
        needs_of_y: dict[str, Any] = {
            "dtype": np.float64,
            "ensure_2d": False,
            "ensure_all_finite": "allow-nan",
        }
        spectra: Array
        values: Array
        spectra, values = validate_data(self, X, y, validate_separately=(needs_of_x, needs_of_y))
        check_consistent_length(spectra, values)
        # scikit-learn expects predictions of the shape of y, which the network always has in
        # columns.
        self._single = values.ndim == 1
        values = values.reshape(len(values), -1)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        # A fit must not change the random numbers that the caller draws from torch.
        with _as_value_error(), torch.random.fork_rng(devices=[]):
            self._columns_nm = self._positions()
            self.recipe_ = self._recipe(values.shape[1])
            for number, column in enumerate(values.T):
                if fault := scales.unlearnable(column, self.target_transform):
                    raise ValueError(f"{'y' if self._single else f'column {number} of y'} {fault}")
            self.calibration_ = fitting.fit(
                Fitting(self.recipe_, seed), self._resampled(spectra), values
            )
        return self

    def predict(self, X: ArrayLike) -> Array:  # noqa: N803
        """Predict y, shaped as in training, from absorbance X `(n, bands)`.

        Raises:
            ValueError: X has other columns than in training, or holds NaN.
        """
        check_is_fitted(self)
        from ccnvr.train.calibration import fit as fitting

        spectra: Array = validate_data(self, X, dtype=np.float64, reset=False)
        with _as_value_error():
            predicted = fitting.predict(self.recipe_, self.calibration_, self._resampled(spectra))
        return predicted[:, 0] if self._single else predicted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _positions(self) -> Array:
        """Return the wavelengths of the columns, or their numbers."""
        count = self.n_features_in_
        if self.wavelengths is None:
            # One apart: derivatives are then per column, whose scale SNV removes.
            return np.arange(1.0, count + 1.0)
        positions = np.asarray(self.wavelengths, dtype=np.float64)
        if positions.shape != (count,):
            raise ValueError(
                f"{positions.size} wavelengths do not name the {count} columns of X; give one for "
                "each"
            )
        if not np.all(np.diff(positions) > 0.0):
            raise ValueError(
                "the wavelengths are not increasing; sort them, and the columns of X with them"
            )
        return positions

    def _resampled(self, spectra: Array) -> Array:
        """Return spectra on the recipe's grid."""
        return spectra @ resampling_matrix(self._columns_nm, self.recipe_.grid).T

    def _recipe(self, targets: int) -> TrainingRecipe:
        """Return the mode's recipe with this estimator's parameters, for this number of targets."""
        from ccnvr.train.libraries.properties import Property
        from ccnvr.train.recipe import recipe_file as recipes

        if self.mode not in RECIPES:
            raise ValueError(f"mode {self.mode!r} is not one of {', '.join(RECIPES)}")
        if self.target_transform not in TRANSFORMS:
            raise ValueError(
                f"target_transform {self.target_transform!r} is not one of {', '.join(TRANSFORMS)}"
            )
        plain = recipes.load(Path(__file__).parent / "recipes" / RECIPES[self.mode])
        return dataclasses.replace(
            plain,
            grid=self._grid(plain.grid.step_nm),
            # Placeholders for whatever y holds; no number depends on them.
            transforms={},
            definitions={
                f"y{number}": Property("of y", self.target_transform)
                for number in range(1, targets + 1)
            },
            network=self._given(plain.network, "cell", "hidden", "dense", "dropout"),
            fit=self._given(
                plain.fit, "epochs", "batch_size", "learning_rate", "weight_decay", "teachers"
            ),
        )

    def _given(self, part: Any, *names: str) -> Any:
        """Return a part of the recipe with the parameters that are not None.

        Their types are checked as those in a recipe's file are.
        """
        given = {name: getattr(self, name) for name in names}
        # A search draws its values from NumPy arrays, whose scalars `build` does not accept.
        plain = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in given.items()
        }
        return build(
            type(part),
            {**vars(part), **{name: value for name, value in plain.items() if value is not None}},
        )

    def _grid(self, step_nm: float) -> Grid:
        """Return a grid over all columns, at the recipe's step or finer if it has too few bands."""
        span = self._columns_nm[-1] - self._columns_nm[0]
        wanted = (
            round(span / step_nm) + 1 if self.wavelengths is not None else len(self._columns_nm)
        )
        bands = min(max(wanted, _FEWEST_BANDS), MOST_BANDS)
        # Slightly shorter, so that rounding never puts the last band beyond the last column.
        return Grid(float(self._columns_nm[0]), float(span / (bands - 1)) * (1.0 - 1e-12), bands)


@contextmanager
def _as_value_error() -> Iterator[None]:
    """Raise ValueError, which scikit-learn's callers expect, in place of the toolkit's errors."""
    try:
        yield
    except CcnvrError as error:
        raise ValueError(str(error)) from error

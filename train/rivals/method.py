"""The interface of a calibration method, with the preprocessing and transforms to choose from.

A method is given absorbance `(n, bands)` on a grid and one property `(n,)` in its own unit, without
NaN. It returns a function from absorbance to the property. A configuration is a plain dictionary
that JSON can hold, so that a tuned one can be kept in a report.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import optuna

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import Channel, Preprocessing, Preprocessor
from ccnvr.edge.chemometrics.targets import TRANSFORMS, Target
from ccnvr.firmware_bridge.arrays import Array

Configuration = dict[str, Any]
Predict = Callable[[Array], Array]
"""A function from absorbance `(n, bands)` to a property `(n,)`."""

TREATMENTS: dict[str, tuple[tuple[int | None, bool], ...]] = {
    "absorbance": ((None, False),),
    "snv": ((None, True),),
    "smoothed": ((0, False),),
    "derivative": ((1, False),),
    "derivative, snv": ((1, True),),
    "second derivative, snv": ((2, True),),
    "snv; derivative, snv": ((None, True), (1, True)),
    "derivative, snv; second derivative, snv": ((1, True), (2, True)),
    "absorbance; snv; derivative, snv; second derivative, snv": (
        (None, False),
        (None, True),
        (1, True),
        (2, True),
    ),
}
"""The preprocessing that each method may choose; the last one only where it is `stacked`.

For each channel, the order of the Savitzky-Golay derivative, None for no filter, and whether SNV
follows.
"""

STACK = list(TREATMENTS)[-1]
"""The channels of CCNVR's own recipes, side by side."""

# In nm and not in bands, so that a choice means the same on every grid.
WINDOWS_NM = (10, 18, 30, 50, 80)
"""The widths of the Savitzky-Golay window to choose from; its polynomial is a parabola."""

WIDEST_STEP_NM = 32.0
"""The widest step between bands that thinning leaves."""


class Method(ABC):
    """A calibration method of one property."""

    name: ClassVar[str]
    first: ClassVar[Configuration]
    """The parameters of the first trial, sensible defaults; those left out are drawn."""

    treatments: tuple[str, ...] = tuple(name for name in TREATMENTS if name != STACK)
    """The preprocessing to choose from."""

    def stacked(self) -> Method:
        """Return the method with `STACK` among its treatments, and in its first trial.

        Large libraries allow so many features; the methods get all that CCNVR's network is given.
        """
        method = copy.copy(self)
        method.treatments = (*self.treatments, STACK)
        # As attributes of the instance, which leave the class as it is. The window is one that
        # grids of 10 nm have.
        method.first = {**self.first, "treatment": STACK, "window_nm": 50}  # type: ignore[misc]
        return method

    @abstractmethod
    def suggest(self, trial: optuna.trial.BaseTrial, bands: int, soils: int) -> Configuration:
        """Draw a configuration for a grid with this number of bands, and this number of soils."""

    @abstractmethod
    def fit(
        self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int
    ) -> Predict:
        """Calibrate on absorbance `(n, bands)` and one property `(n,)`.

        Raises:
            ValueError: the configuration does not suit the data.
        """

    def fit_family(
        self, configuration: Configuration, grid: Grid, spectra: Array, values: Array, seed: int
    ) -> Iterable[tuple[Configuration, Predict]]:
        """Yield each calibration that one fit gives, with its configuration; most give one."""
        yield configuration, self.fit(configuration, grid, spectra, values, seed)


def suggest_treatment(trial: optuna.trial.BaseTrial, treatments: tuple[str, ...]) -> Configuration:
    """Draw preprocessing and target transform, from the same candidates for each method."""
    treatment = trial.suggest_categorical("treatment", list(treatments))
    chosen: Configuration = {
        "treatment": treatment,
        "transform": trial.suggest_categorical("transform", list(TRANSFORMS)),
    }
    if any(derivative is not None for derivative, _ in TREATMENTS[treatment]):
        chosen["window_nm"] = trial.suggest_categorical("window_nm", list(WINDOWS_NM))
    return chosen


def channels(configuration: Configuration, grid: Grid) -> tuple[Channel, ...]:
    """Return the channels of a configuration's treatment on a grid."""

    def channel(derivative: int | None, snv: bool) -> Channel:
        if derivative is None:
            return Channel(snv=snv)
        # Odd, above the parabola's order, and no longer than the grid's shortest segment.
        window = max(5, 2 * round(configuration["window_nm"] / grid.step_nm / 2) + 1)
        shortest = grid.shortest_segment
        return Channel(min(window, shortest - 1 + shortest % 2), 2, derivative, snv)

    return tuple(
        channel(derivative, snv) for derivative, snv in TREATMENTS[configuration["treatment"]]
    )


def features(configuration: Configuration, grid: Grid) -> Callable[[Array], Array]:
    """Return a function from absorbance `(n, bands)` to features `(n, features)`.

    The features are the treated channels side by side, every `thin`-th band of each, or more where
    these would lie further apart than `WIDEST_STEP_NM`.
    """
    preprocess = Preprocessor(
        Preprocessing(grid, channels(configuration, grid)), grid.wavelengths()
    )
    # Steps are drawn for grids of 2 nm; on a coarser one they would leave features out.
    thin = max(1, min(configuration.get("thin", 1), int(WIDEST_STEP_NM // grid.step_nm)))

    def apply(spectra: Array) -> Array:
        # Thinned after the filters, which smooth over the bands that are left out.
        kept = preprocess.batch(spectra)[:, :, ::thin]
        # StandardScaler and PCA compute in the precision of their input, and the preprocessing
        # gives float32.
        return kept.reshape(len(spectra), -1).astype(np.float64)

    return apply


def scaled_target(transform: str, values: Array) -> Target:
    """Return the target of a property, transformed and standardised over the training soils.

    Raises:
        ValueError: the values are constant, or too low for the transform.
    """
    # With mean 0 and sd 1 its standardised value is the transformed one.
    raw = Target("property", "", transform, 0.0, 1.0, float(values.min()), float(values.max()))
    if transform == "log1p" and raw.lowest <= -1.0:
        raise ValueError(f"log1p needs values above -1, and {raw.lowest:g} is among them")
    transformed = raw.standardise(values)
    return Target(
        "property",
        "",
        transform,
        float(transformed.mean()),
        float(transformed.std()),
        raw.lowest,
        raw.highest,
    )

"""Fit a CCNVR to spectra on another grid than the recipe's, and predict from such spectra."""

from __future__ import annotations

from collections.abc import Callable

from ccnvr.edge.chemometrics.grid import Grid, resampling_matrix
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration.fit import (
    fit,
    fit_teachers,
    mean_prediction,
    predict,
    varied_inputs,
)
from ccnvr.train.libraries.soils import Soils
from ccnvr.train.network.fitting import Fitting
from ccnvr.train.network.lesson import Lesson
from ccnvr.train.network.scales import make_targets, standardise


def calibrate(
    fitting: Fitting,
    grid: Grid,
    spectra: Array,
    values: Array,
    *,
    before: Soils | None = None,
    average: bool = False,
) -> Callable[[Array], Array]:
    """Fit to absorbance `(n, bands)` on another grid; return a function that predicts from such.

    With `average`, the prediction is the mean of the teachers that `fit` would learn from.
    `before` is as for `fit`.

    Raises:
        WavelengthError: the grid does not cover the recipe's.
    """
    recipe = fitting.recipe
    resample = resampling_matrix(grid.wavelengths(), recipe.grid).T
    on_grid = spectra @ resample
    if not average:
        calibration = fit(fitting, on_grid, values, before=before)
        return lambda unknown: predict(recipe, calibration, unknown @ resample)
    targets = make_targets(recipe, values)
    inputs = varied_inputs(fitting, on_grid, None)
    teachers = fit_teachers(fitting, inputs, Lesson.of(standardise(targets, values)))
    return lambda unknown: mean_prediction(recipe, teachers, targets, None, unknown @ resample)

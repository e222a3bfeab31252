"""The half widths of the intervals of the training soils, which a bundle's card states.

They show how many soils each tolerance would send to the laboratory. Each soil is predicted by
models that had not seen it, as a new soil is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ccnvr.edge.bundle.accept_curve import HALF_WIDTHS, in_unit, quantiles_of
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.calibration.domain import FittedDomain
from ccnvr.train.calibration.intervals import factors


def half_width_quantiles(
    targets: tuple[Target, ...], measured: Array, out_of_fold: Array, fitted: FittedDomain | None
) -> dict[str, Any]:
    """Return the quantiles of half widths by property, in its unit, at `accept_curve.SHARES`.

    `known` are those for soils of known places, `new` those for soils of any other place.

    Args:
        targets: the targets with their intervals.
        measured: the laboratory's values `(n, targets)`, NaN where there is none.
        out_of_fold: predictions of models that had not seen the soil, `(n, targets)`.
        fitted: the domain with the positions of the soils, or None if there is none.
    """
    found: dict[str, Any] = {}
    for target, values, predicted in zip(targets, measured.T, out_of_fold.T, strict=True):
        # Soils without a value of the property would show a spread that nobody calibrated.
        known = ~(np.isnan(values) | np.isnan(predicted))
        if target.half_width_90 is None or not known.any():
            continue
        outputs = target.standardise(predicted[known])
        held_out = None if fitted is None else fitted.held_out[known]
        halves = target.half_width_90 * factors(target.difficulty, outputs, held_out)
        found[target.name] = {"known": quantiles_of(in_unit(target, outputs, halves))}
        new = target.half_width_90_new_places
        if new is not None:
            wider = in_unit(target, outputs, np.maximum(halves, new))
            found[target.name]["new"] = quantiles_of(wider)
    return found


def for_card(
    targets: tuple[Target, ...], measured: Array, out_of_fold: Array, fitted: FittedDomain | None
) -> dict[str, Any]:
    """Return `half_width_quantiles` under the key by which a model card holds them."""
    return {HALF_WIDTHS: half_width_quantiles(targets, measured, out_of_fold, fitted)}

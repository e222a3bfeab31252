"""Estimates of one property by the code that predicts all of a model's."""

from __future__ import annotations

from ccnvr.edge.chemometrics.domain_distances import Position
from ccnvr.edge.chemometrics.targets import Estimate, Target
from ccnvr.edge.inference.estimator import Estimator


def half_width(target: Target, output: float, position: Position | None = None) -> float:
    """Return the half width of the interval of one output; infinite if there is none."""
    (half,) = Estimator([target]).half_widths([output], position)
    return half


def estimate(
    target: Target, output: float, half: float, position: Position | None = None
) -> Estimate:
    """Return the estimate for one output and the half width of its interval."""
    return Estimator([target]).prediction([output], [half], [0.0], position)[target.name]

"""The chart of the check sample: what is expected of it, and whether the last scan is so.

The check sample is an internal soil standard, as IEEE P4005 proposes one: a soil of which only has
to be known that it does not change. Its first measurements give mean and standard deviation of each
property; the limits of the chart are mean +- 3 standard deviations (Shewhart 1931, Economic Control
of Quality of Manufactured Product), and more where few measurements give the deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ccnvr.firmware_bridge.frozen import frozen

FLAG = "check_sample"
"""The flag of predictions made while the check sample is outside its limits."""

LEARNT_FROM = "check sample learnt from"
"""The name under which the store keeps how many measurements the limits are learnt from."""

_LEAST_SHARE = 0.05
"""The least distance of a limit, as a share of the interval's half width: less matters to nobody,
and a simulated or heavily averaged check sample hardly scatters."""

RUN = 8
"""So many measurements in a row on one side of the mean are a trend (Western Electric 1956)."""


@frozen
class ControlLimits:
    """Mean and limits of one property of the check sample."""

    mean: float
    low: float
    high: float

    def hold(self, value: float) -> bool:
        """Return whether a value lies within the limits."""
        return self.low <= value <= self.high


@frozen
class CheckChart:
    """The chart of a check sample.

    Attributes:
        measured: how many measurements there are.
        needed: from how many of them, the first ones, the limits are learnt.
        limits: the limits of each property; empty until they are learnt.
        latest: the values of the last measurement.
        outside: the properties whose last value is outside the limits.
        trends: the properties whose last `RUN` values lie on one side of the mean.
    """

    measured: int
    needed: int
    limits: Mapping[str, ControlLimits]
    latest: Mapping[str, float]
    outside: tuple[str, ...]
    trends: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """Return the chart as JSON values."""
        return {**asdict(self), "text": str(self)}

    def __str__(self) -> str:
        if not self.limits:
            return (
                f"measured {self.measured} of {self.needed} times that its limits are learnt from"
            )
        if self.outside:
            parts = (
                f"{name} {self.latest[name]:.3g} instead of {self.limits[name].low:.3g} to "
                f"{self.limits[name].high:.3g}"
                for name in self.outside
            )
            return (
                f"outside its limits ({', '.join(parts)}); clean the white panel, let the lamp "
                "warm up, and take new references"
            )
        trend = (
            f", but the last {RUN} of {', '.join(self.trends)} lie on one side of the mean"
            if self.trends
            else ""
        )
        return f"within its limits (measurement {self.measured}){trend}"


def chart_of(history: Sequence[Mapping[str, Mapping[str, Any]]], needed: int) -> CheckChart:
    """Return the chart of measurements, oldest first: the predictions of records of the store."""
    # A scan that cannot be used has no predictions, and tells nothing of the check sample.
    usable = [one for one in history if one]
    last = usable[-1] if usable else {}
    latest = {name: float(one["value"]) for name, one in last.items()}
    if len(usable) < needed:
        return CheckChart(len(usable), needed, {}, latest, (), ())
    limits = {name: _limits([one[name] for one in usable[:needed]]) for name in latest}
    outside = [name for name, value in latest.items() if not limits[name].hold(value)]
    # Measurements that the limits were learnt from tell nothing against them.
    later = usable[needed:][-RUN:]
    trends = [name for name in latest if _on_one_side([one[name] for one in later], limits[name])]
    return CheckChart(len(usable), needed, limits, latest, tuple(outside), tuple(trends))


def _on_one_side(run: Sequence[Mapping[str, Any]], limits: ControlLimits) -> bool:
    return len(run) == RUN and len({one["value"] > limits.mean for one in run}) == 1


def _limits(learnt: Sequence[Mapping[str, Any]]) -> ControlLimits:
    values = np.array([float(one["value"]) for one in learnt])
    mean = float(values.mean())
    away = _deviations(len(learnt)) * float(values.std(ddof=1))
    if learnt[0]["low"] is not None and learnt[0]["high"] is not None:
        half = (float(learnt[0]["high"]) - float(learnt[0]["low"])) / 2.0
        # The standard deviation of a few measurements may happen to be next to nothing.
        away = max(away, _LEAST_SHARE * half)
    return ControlLimits(mean, mean - away, mean + away)


def _deviations(count: int) -> float:
    """Return how many standard deviations of `count` measurements a limit is away.

    A later measurement without a cause lies beyond it in 0.27 % of all cases, as beyond 3 standard
    deviations that are known exactly: t x sqrt(1 + 1/n). Student's t at 99.865 % is expanded in the
    degrees of freedom (Fisher and Cornish 1960), which is right to 3 % from 4 of them on.
    """
    freedom = count - 1
    t = 3.0 + 7.5 / freedom + 17.25 / freedom**2 + 30.19 / freedom**3
    return t * float(np.sqrt(1.0 + 1.0 / count))

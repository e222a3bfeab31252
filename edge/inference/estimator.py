"""A model's standardised outputs -> a prediction: values, intervals and flags.

In: the outputs for one spectrum, where it lies in the domain, and what noise adds. Out: its
`Prediction`. It is computed outside the model, whose int8 profiles would round it, and with plain
numbers: for the few properties of a model, NumPy takes longer to be called than to compute.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import exp, expm1, hypot, inf, log

from ccnvr.edge.chemometrics.domain_distances import Position
from ccnvr.edge.chemometrics.targets import (
    KNOWN,
    LARGEST_PERCENTAGE,
    NEW,
    Difficulty,
    Estimate,
    Target,
)
from ccnvr.edge.inference.prediction import Prediction


class Estimator:
    """The properties of a model, prepared for one spectrum after the other.

    Args:
        targets: the properties, in the order of the outputs.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._half_widths = [_half_width_of(target) for target in targets]
        self._estimates = [(_restoring(target), target) for target in targets]

    def half_widths(self, outputs: Sequence[float], position: Position | None) -> list[float]:
        """Return the half widths of the 90 % intervals without noise, in standardised units.

        They are infinite where the bundle has no interval: noise is then never the larger part.

        Args:
            outputs: the standardised outputs, one of each property.
            position: where the spectrum lies in the domain; None if the bundle has none.
        """
        # The logarithm is the same for all properties.
        log_distance = 0.0
        if position is not None:
            log_distance = log(max(position.distance, Difficulty.LEAST_DISTANCE))
        return [
            half_width(output, position, log_distance)
            for half_width, output in zip(self._half_widths, outputs, strict=True)
        ]

    def prediction(
        self,
        outputs: Sequence[float],
        halves: Sequence[float],
        by_noise: Sequence[float],
        position: Position | None,
    ) -> Prediction:
        """Return the prediction of a spectrum.

        Its flags name each distance at which the spectrum is unlike the training soils
        (`out_of_domain:Q`), each property whose estimate lies outside the range of the training
        soils (`OC:outside_training_range`), and each whose interval is mostly due to noise in the
        spectrum (`OC:noisy`).

        Args:
            outputs: the standardised outputs.
            halves: what `half_widths` gives for them.
            by_noise: the half widths that noise causes.
            position: where the spectrum lies in the domain; None if the bundle has none.
        """
        estimates: dict[str, Estimate] = {}
        outside: list[str] = []
        noisy: list[str] = []
        sure = position is not None and position.sure
        for (restore, target), output, half, noise in zip(
            self._estimates, outputs, halves, by_noise, strict=True
        ):
            name = target.name
            # The model's errors were measured on spectra with next to no noise, so they are
            # independent of those that noise adds, and the half widths add in quadrature.
            value, low, high = restore(output, hypot(half, noise))
            places = KNOWN if sure or target.half_width_90_new_places is None else NEW
            estimates[name] = Estimate(value, target.unit, low, high, places)
            if not target.lowest <= value <= target.highest:
                outside.append(f"{name}:outside_training_range")
            if noise > half:
                noisy.append(f"{name}:noisy")
        unlike = () if position is None else position.flags
        return Prediction(estimates, (*unlike, *outside, *noisy))


_Restore = Callable[[float, float], tuple[float, float | None, float | None]]
_OfOutput = Callable[[float, Position | None, float], float]
"""A function of an output, a position and the logarithm of the distance in the domain."""


def _restoring(target: Target) -> _Restore:
    """Return the function from an output and its half width to value, low and high.

    It is what `Target.restore` and `Target.interval` do with arrays.
    """
    mean, sd, has_interval = target.mean, target.sd, target.half_width_90 is not None
    (least, most), is_log = target.possible, target.transform == "log1p"
    # The exponential of the logarithm of 101 is a little more than 101.
    largest = LARGEST_PERCENTAGE if target.unit == "%" else inf

    def restore(output: float, half: float) -> tuple[float, float | None, float | None]:
        # Comparisons, because a call of max or min takes three times as long.
        value = mean + sd * output
        if value < least:
            value = least
        elif value > most:
            value = most
        if not has_interval:
            return (min(expm1(value), largest) if is_log else value), None, None
        reach = sd * half
        low, high = value - reach, value + reach
        if low < least:
            low = least
        if high >= most:
            high = most
            if is_log:
                return min(expm1(value), largest), expm1(low), min(expm1(high), largest)
        return (expm1(value), expm1(low), expm1(high)) if is_log else (value, low, high)

    return restore


def _half_width_of(target: Target) -> _OfOutput:
    """Return the function that gives the half width of a property's interval."""
    known, new = target.half_width_90, target.half_width_90_new_places
    factor = None if target.difficulty is None else _factor_of(target.difficulty)
    if known is None:
        return lambda output, position, log_distance: inf

    def half_width(output: float, position: Position | None, log_distance: float) -> float:
        half = known if factor is None else known * factor(output, position, log_distance)
        # The larger of the two: a difficult soil's interval must not shrink because its place is
        # new. Without a domain no soil is surely from a known place.
        if new is not None and new > half and (position is None or not position.sure):
            return new
        return half

    return half_width


def _factor_of(difficulty: Difficulty) -> _OfOutput:
    """Return the function of one output that `Difficulty.factor` is of an array."""
    limit, edges, by_bin = log(difficulty.reach), difficulty.edges, difficulty.by_bin
    most, least = exp(limit), exp(-limit)
    constant, slope, by_distance = difficulty.constant, difficulty.output, difficulty.distance
    of_library = [constant + one for one in difficulty.libraries]

    def factor(output: float, position: Position | None, log_distance: float) -> float:
        logarithm = slope * output
        if not of_library:
            logarithm += constant
        elif position is None:
            # A difficulty that knows the domain says nothing without one.
            return 1.0
        else:
            logarithm += of_library[position.nearest] + by_distance * log_distance
        if by_bin:
            logarithm += by_bin[bisect_right(edges, output)]
        if logarithm > limit:
            return most
        return exp(logarithm) if logarithm > -limit else least

    return factor

"""The targets of a network: properties, their units, and the way back from standardised outputs.

This is computed here, in float64, and not in the network, whose int8 profiles would round it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.domain import Position
from ccnvr.edge.typed import OMITTED_IF_EMPTY
from ccnvr.firmware_bridge.arrays import Array

# log1p and not a logarithm, because laboratories report values of 0.
TRANSFORMS = ("identity", "log1p")

GAUSSIAN_90 = 1.6449
"""The half width of a normal distribution's central 90 % interval, in standard deviations."""

# exp(200) is 7e86; float64 overflows beyond exp(709).
_LARGEST_LOG1P = 200.0


@dataclass(frozen=True)
class Difficulty:
    """A model of the expected error on a spectrum, relative to the usual error.

    Its logarithm is `constant + output x (the standardised output) + distance x log(distance in
    the domain) + libraries[nearest library]`. It is clipped to at most `LARGEST_LOG` from 0, so
    that no interval vanishes or explodes, whatever the spectrum.

    Raises:
        ValueError: a coefficient is not finite or too large.
    """

    LARGEST_LOG: ClassVar[float] = float(np.log(2.0))
    # Bounds the logarithm: a training soil itself may lie at distance 0.
    LEAST_DISTANCE: ClassVar[float] = 1e-3

    constant: float
    output: float
    distance: float
    libraries: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(
            abs(value) < 1e3
            for value in (self.constant, self.output, self.distance, *self.libraries)
        ):
            raise ValueError(
                f"difficulty {self} is not possible; each of its numbers must lie within 1000 of 0"
            )

    def factor(self, outputs: Array, nearest: NDArray[np.int64], distance: Array) -> Array:
        """Return the factor on the half width of each spectrum's interval; 1 is usual.

        Standardised outputs, numbers of the nearest libraries and distances have one shape `(n,)`.
        """
        logarithm = (
            self.constant
            + self.output * outputs
            + self.distance * np.log(np.maximum(distance, self.LEAST_DISTANCE))
            + np.array(self.libraries)[nearest]
        )
        factors: Array = np.exp(np.clip(logarithm, -self.LARGEST_LOG, self.LARGEST_LOG))
        return factors


@dataclass(frozen=True)
class Target:
    """A property that a network predicts.

    A standardised output z stands for the value `inverse(mean + sd * z)`, where `inverse` undoes
    `transform`. `lowest` and `highest` are the range of the training soils, in `unit`.
    `half_width_90` is the half width of the 90 % interval in standardised units: the interval is
    `inverse(mean + sd * (z -+ half_width_90 x difficulty))`. Without a `difficulty`, which needs
    the bundle's domain, all spectra have the same half width. `method` says how the laboratory
    measured the property, as a procedure's URI or in words.

    Raises:
        ValueError: a value is not possible.
    """

    name: str
    unit: str
    transform: str
    mean: float
    sd: float
    lowest: float
    highest: float
    half_width_90: float | None = None
    difficulty: Difficulty | None = None
    method: str = field(default="", metadata={OMITTED_IF_EMPTY: True})

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise ValueError(
                f"transform {self.transform!r} of target {self.name} is not one of "
                f"{', '.join(TRANSFORMS)}"
            )
        # Written so that NaN fails.
        if not 0.0 < self.sd < 1e6 or not abs(self.mean) < 1e6:
            raise ValueError(
                f"mean {self.mean} and sd {self.sd} of target {self.name} are not possible; sd "
                "must be positive"
            )
        if self.lowest > self.highest or (
            self.half_width_90 is not None and not 0.0 <= self.half_width_90 < 1e3
        ):
            raise ValueError(
                f"range or half_width_90 {self.half_width_90} of target {self.name} is not possible"
            )

    def standardise(self, values: Array) -> Array:
        """Return property values, given in `unit`, as standardised values; NaN stays NaN."""
        transformed = np.log1p(values) if self.transform == "log1p" else values
        return (transformed - self.mean) / self.sd

    def restore(self, standardised: Array) -> Array:
        """Return standardised values as property values in `unit`.

        They are never negative if no training soil had a negative value.
        """
        transformed = self.mean + self.sd * np.asarray(standardised, dtype=np.float64)
        # The `linear` part of a network is unbounded, so the exponential could overflow; limited,
        # the value is finite and still far outside any range.
        values = (
            np.expm1(np.minimum(transformed, _LARGEST_LOG1P))
            if self.transform == "log1p"
            else transformed
        )
        return np.maximum(values, 0.0) if self.lowest >= 0.0 else values


@dataclass(frozen=True)
class Estimate:
    """A predicted value with its 90 % interval, all in `unit`.

    `low` and `high` are None if the bundle has no interval for the property.
    """

    value: float
    unit: str
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Return value, interval and unit, such as `8.06 [1.05, 14.9] g/kg`."""
        known = self.low is not None and self.high is not None
        interval = f" [{self.low:.3g}, {self.high:.3g}]" if known else ""
        return f"{self.value:.3g}{interval} {self.unit}"


def half_width(
    target: Target, standardised: float, position: Position | None = None
) -> float | None:
    """Return the half width of the 90 % interval of one output, in standardised units.

    `position` is that of the spectrum in the bundle's domain. Return None if the bundle has no
    interval for the target.
    """
    halves = half_widths(target, np.array([standardised]), None if position is None else [position])
    return None if halves is None else float(halves[0])


def half_widths(
    target: Target, standardised: Array, positions: Sequence[Position] | None = None
) -> Array | None:
    """Return as `half_width` for the outputs `(n,)` of many spectra."""
    if target.half_width_90 is None:
        return None
    halves = np.full(standardised.shape, target.half_width_90)
    if target.difficulty is None or positions is None:
        return halves
    nearest = np.array([position.nearest for position in positions])
    distance = np.array([position.distance for position in positions])
    return halves * target.difficulty.factor(standardised, nearest, distance)


def estimate(target: Target, standardised: float, half: float | None) -> Estimate:
    """Return the estimate for one standardised output and the half width of its interval."""
    halves = None if half is None else np.array([half])
    return estimates(target, np.array([standardised]), halves)[0]


def estimates(target: Target, standardised: Array, halves: Array | None) -> list[Estimate]:
    """Return the estimates for the outputs `(n,)` of many spectra and their half widths `(n,)`."""
    values = target.restore(standardised).tolist()
    if halves is None:
        return [Estimate(value, target.unit, None, None) for value in values]
    lows, highs = (target.restore(standardised + side * halves).tolist() for side in (-1.0, 1.0))
    return [
        Estimate(value, target.unit, low, high)
        for value, low, high in zip(values, lows, highs, strict=True)
    ]

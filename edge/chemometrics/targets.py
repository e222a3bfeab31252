"""The targets of a network: properties, their units, and the way back from standardised outputs.

This is computed here, in float64, and not in the network, whose int8 profiles would round it.
"""

from __future__ import annotations

from dataclasses import field
from math import inf, log1p
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.typed import OMITTED_IF_EMPTY
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.frozen import frozen

# log1p and not a logarithm, because laboratories report values of 0.
TRANSFORMS = ("identity", "log1p")

GAUSSIAN_90 = 1.6449
"""The half width of a normal distribution's central 90 % interval, in standard deviations."""

KNOWN, NEW = "known", "new"
"""The places that an interval is for: those that the model's soils come from, or any other."""

_MOST_BINS = 100

LARGEST_PERCENTAGE = 100.0
"""The largest value, and end of an interval, of a property whose unit is `%`."""

LARGEST_LOG1P = 200.0
"""The largest logarithm that is undone; exp(200) is 7e86, float64 overflows beyond exp(709)."""


@frozen
class Difficulty:
    """A model of the expected error on a spectrum, relative to the usual error.

    Its logarithm is `constant + output x (the standardised output) + distance x log(distance in
    the domain) + libraries[nearest library]`, plus `by_bin` of the bin of outputs between `edges`
    that the output lies in. It is clipped so that the factor is from `1 / reach` to `reach` and no
    interval vanishes or explodes, whatever the spectrum.

    Without `libraries` it does not know the domain, and `distance` counts for nothing.

    As logarithms, `constant`, `libraries` and `by_bin` are negative where errors are small. The two
    slopes are bounded below, because an interval must not shrink as a soil becomes less like those
    that are known, nor vanish where values are high; fits to chance go a little below 0.

    Raises:
        ValueError: a coefficient is not finite, too large or a slope below its bound, `reach` is
            not from 1 to 100, or the edges do not increase or do not fit the bins.
    """

    # Bounds the logarithm: a training soil itself may lie at distance 0.
    LEAST_DISTANCE: ClassVar[float] = 1e-3
    LEAST_OUTPUT_SLOPE: ClassVar[float] = -0.5
    LEAST_DISTANCE_SLOPE: ClassVar[float] = -0.1

    constant: float
    output: float
    distance: float
    libraries: tuple[float, ...]
    # Bundles made before this key existed reach from half to twice the usual width.
    reach: float = 2.0
    edges: tuple[float, ...] = field(default=(), metadata={OMITTED_IF_EMPTY: True})
    by_bin: tuple[float, ...] = field(default=(), metadata={OMITTED_IF_EMPTY: True})

    def __post_init__(self) -> None:
        numbers = (self.constant, self.output, self.distance, *self.libraries)
        if not all(abs(value) < 1e3 for value in (*numbers, *self.edges, *self.by_bin)):
            raise ValueError(
                f"difficulty {self} is not possible; each of its numbers must lie within 1000 of 0"
            )
        if self.output < self.LEAST_OUTPUT_SLOPE or self.distance < self.LEAST_DISTANCE_SLOPE:
            raise ValueError(
                f"the slopes {self.output} and {self.distance} of a difficulty are not possible; "
                f"they must be at least {self.LEAST_OUTPUT_SLOPE} and {self.LEAST_DISTANCE_SLOPE}"
            )
        if not 1.0 <= self.reach <= 100.0:
            raise ValueError(f"the reach {self.reach} of a difficulty must be from 1 to 100")
        bins = len(self.edges) + 1 if self.edges else len(self.by_bin)
        if len(self.by_bin) != bins or bins > _MOST_BINS or list(self.edges) != sorted(self.edges):
            raise ValueError(
                f"{len(self.edges)} edges for {len(self.by_bin)} bins of a difficulty are not "
                f"possible; edges must increase, be one fewer than bins, and at most {_MOST_BINS} "
                "bins are allowed"
            )

    def factor(
        self,
        outputs: Array,
        nearest: NDArray[np.int64] | None = None,
        distance: Array | None = None,
    ) -> Array:
        """Return the factor on the half width of each spectrum's interval; 1 is usual.

        Standardised outputs, numbers of the nearest libraries and distances have one shape `(n,)`.
        Of a difficulty that knows the domain, without the last two, the factor is that of a usual
        soil in the bin of each output.
        """
        logarithm = np.zeros(outputs.shape)
        if not self.libraries:
            logarithm += self.constant + self.output * outputs
        elif nearest is not None and distance is not None:
            logarithm += self.constant + self.output * outputs
            logarithm += self.distance * np.log(np.maximum(distance, self.LEAST_DISTANCE))
            logarithm += np.array(self.libraries)[nearest]
        if self.by_bin:
            logarithm += np.array(self.by_bin)[np.searchsorted(self.edges, outputs, side="right")]
        limit = float(np.log(self.reach))
        factors: Array = np.exp(np.clip(logarithm, -limit, limit))
        return factors


@frozen
class Target:
    """A property that a network predicts.

    A standardised output z stands for the value `inverse(mean + sd * z)`, where `inverse` undoes
    `transform`. `lowest` and `highest` are the range of the training soils, in `unit`.
    `half_width_90` is the half width of the 90 % interval in standardised units: the interval is
    `inverse(mean + sd * (z -+ half_width_90 x difficulty))`. Without a `difficulty` all spectra
    have the same half width. `half_width_90_new_places` is the least half width of soils that may
    come from other places than the training soils; without it nothing is known of such places.
    `method` says how the laboratory measured the property, as a procedure's URI or in words.

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
    half_width_90_new_places: float | None = field(default=None, metadata={OMITTED_IF_EMPTY: True})
    method: str = field(default="", metadata={OMITTED_IF_EMPTY: True})

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise ValueError(
                f"transform {self.transform[:20]!r} of target {self.name} is not one of "
                f"{', '.join(TRANSFORMS)}"
            )
        # Written so that NaN fails.
        if not 0.0 < self.sd < 1e6 or not abs(self.mean) < 1e6:
            raise ValueError(
                f"mean {self.mean} and sd {self.sd} of target {self.name} are not possible; sd "
                "must be positive"
            )
        if self.lowest > self.highest or (
            self.half_width_90 is not None and not 0.0 < self.half_width_90 < 1e3
        ):
            raise ValueError(
                f"range or half_width_90 {self.half_width_90} of target {self.name} is not possible"
            )
        new = self.half_width_90_new_places
        # The smaller of two half widths would be for the unknown, which no calibration gives.
        if new is not None and (self.half_width_90 is None or not 0.0 < new < 1e3):
            raise ValueError(
                f"half_width_90_new_places {new} of target {self.name} is not possible; it must be "
                "above 0 and stand beside half_width_90"
            )

    def standardise(self, values: Array) -> Array:
        """Return property values, given in `unit`, as standardised values; NaN stays NaN."""
        transformed = np.log1p(values) if self.transform == "log1p" else values
        return (transformed - self.mean) / self.sd

    @property
    def possible(self) -> tuple[float, float]:
        """The least and the largest value that a soil can have, transformed.

        They are never negative if no training soil had a negative value, and percentages are never
        above 100.
        """
        is_log = self.transform == "log1p"
        # The `linear` part of a network is unbounded, so the exponential could overflow; limited,
        # the value is finite and still far outside any range.
        most = LARGEST_LOG1P if is_log else inf
        if self.unit == "%":
            most = log1p(LARGEST_PERCENTAGE) if is_log else LARGEST_PERCENTAGE
        # The logarithm of 1 + 0 is 0 too.
        return (0.0 if self.lowest >= 0.0 else -inf), most

    def restore(self, standardised: Array) -> Array:
        """Return standardised values as property values in `unit`, limited to `possible` ones."""
        transformed = self.mean + self.sd * np.asarray(standardised, dtype=np.float64)
        return self._inverse(np.clip(transformed, *self.possible))

    def interval(self, standardised: Array, half_widths: Array) -> tuple[Array, Array]:
        """Return the ends of the intervals around `restore(standardised)`, in `unit`.

        A value that is not possible is moved to the nearest possible one before its interval is
        taken, so that the interval holds it and never vanishes.
        """
        transformed = self.mean + self.sd * np.asarray(standardised, dtype=np.float64)
        middle, reach = np.clip(transformed, *self.possible), self.sd * half_widths
        low, high = (np.clip(end, *self.possible) for end in (middle - reach, middle + reach))
        return self._inverse(low), self._inverse(high)

    def _inverse(self, transformed: Array) -> Array:
        values = np.expm1(transformed) if self.transform == "log1p" else transformed
        # The exponential of the logarithm of 101 is a little more than 101.
        return np.minimum(values, LARGEST_PERCENTAGE) if self.unit == "%" else values


class Estimate(NamedTuple):
    """A predicted value with its 90 % interval, all in `unit`.

    `low` and `high` are None if the bundle has no interval for the property. `places` says which
    soils the interval is for: those like the training soils (`known`), or soils that may come from
    places that the model knows nothing of (`new`), whose interval is wider.
    """

    value: float
    unit: str
    low: float | None
    high: float | None
    places: str = KNOWN

    def __str__(self) -> str:
        """Return value, interval and unit, such as `8.06 [1.05, 14.9] g/kg`."""
        known = self.low is not None and self.high is not None
        interval = f" [{self.low:.3g}, {self.high:.3g}]" if known else ""
        return f"{self.value:.3g}{interval} {self.unit}"

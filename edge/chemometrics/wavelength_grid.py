"""The wavelength grid of a model.

A grid may have gaps, such as the bands of the air's water vapour. They part it into segments, and
whatever works along the wavelengths stays inside a segment. A grid of separate bands lists them,
for sensors that measure nothing in between; each of these bands is a segment of its own.
"""

from __future__ import annotations

from dataclasses import field
from itertools import pairwise
from math import ceil, floor

import numpy as np

from ccnvr.edge.typed import OMITTED_IF_EMPTY
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.frozen import frozen

MOST_BANDS = 4_200
"""The number of bands of the finest library, LUCAS; it limits the memory that a grid can take."""

# The air has two bands of water vapour in the range of soil spectra; this bounds the work on a
# bundle's manifest.
MOST_GAPS = 16

_ROUNDING = 1e-6
"""The share of a step by which a band may miss the end of a gap and still lie on it."""


@frozen
class Grid:
    """Evenly spaced wavelengths in nm, of which those in the gaps are missing, or separate bands.

    A grid of separate bands needs `wavelengths_nm` alone; the other fields follow from it.

    Raises:
        ValueError: there are too few or too many bands, a wavelength is not positive, a gap does
            not lie between bands, or separate bands do not increase or contradict other fields.
    """

    start_nm: float = 0.0
    """The first wavelength."""

    step_nm: float = 0.0
    """The distance between neighbouring bands of a segment; of separate bands, the smallest one."""

    bands: int = 0
    """The number of bands that are present."""

    gaps: tuple[tuple[float, ...], ...] = field(default=(), metadata={OMITTED_IF_EMPTY: True})
    """The first and the last missing wavelength of each gap, in nm, increasing."""

    wavelengths_nm: tuple[float, ...] = field(default=(), metadata={OMITTED_IF_EMPTY: True})
    """The wavelengths of separate bands, increasing; none for an evenly spaced grid."""

    def __post_init__(self) -> None:
        if self.wavelengths_nm:
            self._derive_from_bands()
        if (
            not 2 <= self.bands <= MOST_BANDS
            or not 0 < self.step_nm < 1e4
            or not 0 < self.start_nm < 1e6
        ):
            raise ValueError(
                f"grid of {self.bands} bands from {self.start_nm} nm by {self.step_nm} nm is not "
                "possible; "
                f"give start_nm, step_nm and 2 to {MOST_BANDS} bands, or wavelengths_nm"
            )
        self._check_gaps()

    def _derive_from_bands(self) -> None:
        """Set the other fields from separate bands, and check that none contradicts them."""
        nm = self.wavelengths_nm
        steps = [second - first for first, second in pairwise(nm)]
        # Written so that NaN fails.
        if len(nm) > MOST_BANDS or not all(step > 0.0 for step in steps) or self.gaps:
            raise ValueError(
                f"wavelengths_nm with {len(nm)} bands and {len(self.gaps)} gaps is not possible; "
                f"give 2 to {MOST_BANDS} increasing wavelengths in nm, and no gaps"
            )
        derived = {"start_nm": nm[0], "step_nm": min(steps, default=0.0), "bands": len(nm)}
        for name, value in derived.items():
            if getattr(self, name) not in (0, value):
                raise ValueError(
                    f"{name} = {getattr(self, name):g} of the grid contradicts its wavelengths_nm, "
                    f"from which {value:g} follows; leave it out"
                )
            object.__setattr__(self, name, value)

    def _check_gaps(self) -> None:
        ends = [nm for gap in self.gaps for nm in gap]
        # Written so that NaN fails.
        if (
            len(self.gaps) > MOST_GAPS
            or any(len(gap) != 2 for gap in self.gaps)
            or not all(first <= second for first, second in pairwise(ends))
            or not all(0.0 < nm < 1e6 for nm in ends)
        ):
            raise ValueError(
                f"gaps {list(map(list, self.gaps))} are not possible: give at most {MOST_GAPS} "
                "pairs of the first and the last missing wavelength in nm, increasing"
            )
        starts, counts = self._segments
        for gap, count in zip(self.gaps, counts, strict=False):
            if count < 1:
                raise ValueError(f"the gap {gap[0]:g}-{gap[1]:g} nm begins before any band")
        if counts[-1] < 1 or starts[-1] + counts[-1] > MOST_BANDS:
            raise ValueError(
                f"the gap {self.gaps[-1][0]:g}-{self.gaps[-1][1]:g} nm does not lie inside a grid "
                f"of {self.bands} bands from {self.start_nm:g} nm by {self.step_nm:g} nm"
            )

    @classmethod
    def between(
        cls,
        first_nm: float,
        last_nm: float,
        step_nm: float,
        gaps: tuple[tuple[float, ...], ...] = (),
    ) -> Grid:
        """Return the grid from `first_nm` to at most `last_nm` that leaves `gaps` out."""
        every = int((last_nm - first_nm) / step_nm) + 1
        steps = np.arange(every)
        for first, last in gaps:
            at = (np.array([first, last]) - first_nm) / step_nm
            steps = steps[(steps < at[0] - _ROUNDING) | (steps > at[1] + _ROUNDING)]
        return cls(first_nm, step_nm, int(steps.size), gaps)

    @property
    def _segments(self) -> tuple[list[int], list[int]]:
        """The first step from `start_nm`, and the number of bands, of each segment."""
        starts, counts = [0], []
        for first, last in self.gaps:
            until = ceil((first - self.start_nm) / self.step_nm - _ROUNDING)
            counts.append(until - starts[-1])
            after = floor((last - self.start_nm) / self.step_nm + _ROUNDING) + 1
            starts.append(max(until, after))
        counts.append(self.bands - sum(counts))
        return starts, counts

    @property
    def stop_nm(self) -> float:
        """The last wavelength, in nm."""
        if self.wavelengths_nm:
            return self.wavelengths_nm[-1]
        starts, counts = self._segments
        return self.start_nm + self.step_nm * (starts[-1] + counts[-1] - 1)

    def steps(self) -> Integers:
        """Return how many steps each band of a grid with even steps lies above `start_nm`."""
        starts, counts = self._segments
        steps: Integers = np.concatenate(
            [np.arange(start, start + count) for start, count in zip(starts, counts, strict=True)]
        )
        return steps

    def wavelengths(self) -> Array:
        """Return the wavelengths `(bands,)` that are present, in nm."""
        if self.wavelengths_nm:
            return np.array(self.wavelengths_nm)
        return self.start_nm + self.step_nm * self.steps().astype(np.float64)

    def segments(self) -> tuple[slice, ...]:
        """Return the bands of each segment; a grid without gaps is one segment."""
        if self.wavelengths_nm:
            return tuple(slice(band, band + 1) for band in range(self.bands))
        ends = np.cumsum([0, *self._segments[1]]).tolist()
        return tuple(slice(start, end) for start, end in pairwise(ends))

    @property
    def shortest_segment(self) -> int:
        """The number of bands of the shortest segment, which limits a filter's window."""
        return 1 if self.wavelengths_nm else min(self._segments[1])

    def __str__(self) -> str:
        """Return range and gaps, such as `400-2450 nm without 1360-1450 and 1800-1950`."""
        if self.wavelengths_nm:
            return f"{self.bands} bands of {self.start_nm:g}-{self.stop_nm:g} nm"
        gaps = " and ".join(f"{first:g}-{last:g}" for first, last in self.gaps)
        return f"{self.start_nm:g}-{self.stop_nm:g} nm" + (f" without {gaps}" if gaps else "")

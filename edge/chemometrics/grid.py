"""The wavelength grid of a model, and the interpolation of an instrument's bands onto it.

A grid may have gaps, such as the bands of the air's water vapour. They part it into segments, and
whatever works along the wavelengths stays inside a segment. A grid of separate bands lists them,
for sensors that measure nothing in between; each of these bands is a segment of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from itertools import pairwise
from math import ceil, floor

import numpy as np

from ccnvr.edge.typed import OMITTED_IF_EMPTY
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.firmware_bridge.frozen import frozen

MOST_BANDS = 4_200
"""The number of bands of the finest library, LUCAS; it limits the memory that a grid can take."""

END_TOLERANCE_NM = 1.0
"""How far an instrument's range may end inside the model's, as 1699.5 nm does inside 1700 nm.

It is far less than the width of a feature of soil.
"""

WIDEST_GAP_NM = 12.0
"""The widest gap between bands inside the model's range.

The narrowest useful features of soil are about 25 nm wide, so a wider gap could hide one.
"""

BAND_TOLERANCE_NM = 5.0
"""How far an instrument's band may lie from the one of a grid of separate bands that it stands for.

It is a quarter of the width of a multispectral sensor's bands, over which soils hardly change.
"""


class WavelengthError(CcnvrError):
    """The error for wavelengths that do not suit the model.

    It is a failure where an instrument states the wavelengths, since another one may be plugged in
    by the time that a service manager starts the daemon again.
    """


class UnsuitableSource(WavelengthError, UsageError):
    """The error for a file or library, named by the user, whose wavelengths do not suit."""


@contextmanager
def naming_source(name: object) -> Iterator[None]:
    """Turn a `WavelengthError` into wrong use: the user named a file or library that has them.

    Raises:
        UnsuitableSource: the block raised a `WavelengthError`; the name stands before its message.
    """
    try:
        yield
    except WavelengthError as error:
        raise UnsuitableSource(f"{name}: {error}") from error


# The air has two bands of water vapour in the range of soil spectra; this bounds the work on a
# bundle's manifest.
MOST_GAPS = 16

# Ranges that end below the one or begin above the other are no Vis-NIR instrument's.
_LEAST_NM, _MOST_NM = 100.0, 2_500.0

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


def check_wavelengths(wavelengths_nm: Array, grid: Grid) -> None:
    """Check that spectra at these wavelengths `(bands,)`, in nm, can be interpolated onto the grid.

    Raises:
        WavelengthError: they are not finite or not increasing, do not cover a segment of the grid,
            or have a gap inside it.
    """
    if not _increase(wavelengths_nm):
        raise WavelengthError(
            f"the {wavelengths_nm.size} wavelengths must be two or more increasing numbers in nm; "
            "check the instrument's calibration or the file's header"
        )
    if grid.wavelengths_nm:
        _check_separate(wavelengths_nm, grid)
        return
    first, last = wavelengths_nm[0], wavelengths_nm[-1]
    if first > grid.start_nm + END_TOLERANCE_NM or last < grid.stop_nm - END_TOLERANCE_NM:
        raise WavelengthError(
            f"the spectrum covers {first:.1f}-{last:.1f} nm but the model needs "
            f"{grid.start_nm:.1f}-{grid.stop_nm:.1f} nm; " + _way_out(first, last)
        )
    on_grid = grid.wavelengths()
    # Segment by segment, since no model reads what lies in a gap of the grid.
    gap = max(
        _widest_gap(wavelengths_nm, on_grid[segment][0], on_grid[segment][-1])
        for segment in grid.segments()
    )
    if gap > WIDEST_GAP_NM:
        raise WavelengthError(
            f"bands lie up to {gap:.1f} nm apart where the model needs {WIDEST_GAP_NM:g} nm or "
            "less; check the unit of the wavelengths, give all bands that the instrument measured, "
            "or train a model without the missing ones, by gaps in the [grid] of its recipe"
        )


def _increase(wavelengths_nm: Array) -> bool:
    return bool(
        wavelengths_nm.size >= 2
        and np.all(np.isfinite(wavelengths_nm))
        and np.all(np.diff(wavelengths_nm) > 0.0)
    )


def in_vis_nir(wavelengths_nm: Array) -> bool:
    """Return whether wavelengths `(bands,)` increase and can be those of a Vis-NIR instrument."""
    return (
        _increase(wavelengths_nm)
        and bool(wavelengths_nm[-1] >= _LEAST_NM)
        and bool(wavelengths_nm[0] < _MOST_NM)
    )


def _check_separate(wavelengths_nm: Array, grid: Grid) -> None:
    """Check that each separate band of a grid can be taken from the instrument's bands."""
    missing = grid.wavelengths()[_weights(wavelengths_nm, grid).sum(axis=1) == 0.0]
    if missing.size:
        listed = ", ".join(f"{nm:g}" for nm in missing[:3]) + (", ..." if missing.size > 3 else "")
        raise WavelengthError(
            f"the instrument has no band within {BAND_TOLERANCE_NM:g} nm of {listed} nm, which "
            f"the model with {grid} needs; use a model for this instrument's bands"
        )


def _neighbours(wavelengths_nm: Array, grid: Grid) -> tuple[Integers, Array]:
    """Return the two bands that each band of the grid is interpolated from, with their weights.

    Both are `(2, grid bands)`.

    Separate bands are interpolated only between bands that lie as close as in a continuous
    spectrum. Otherwise the nearest band within the tolerance stands for them, or none does.
    """
    target = grid.wavelengths()
    # Clipped, because a grid that ends exactly on the last band has no band to the right of it.
    right = np.clip(
        np.searchsorted(wavelengths_nm, target, side="right"), 1, wavelengths_nm.size - 1
    )
    left = right - 1
    apart = wavelengths_nm[right] - wavelengths_nm[left]
    share = (target - wavelengths_nm[left]) / apart
    present = np.ones(target.size)
    if grid.wavelengths_nm:
        between = (apart <= WIDEST_GAP_NM) & (share >= 0.0) & (share <= 1.0)
        nearest = np.round(np.clip(share, 0.0, 1.0))
        off = np.abs(wavelengths_nm[left] + nearest * apart - target)
        share = np.where(between, share, nearest)
        present = np.where(between | (off <= BAND_TOLERANCE_NM), 1.0, 0.0)
    else:
        # The last band stands for an end of the grid that lies a little beyond it.
        share = np.clip(share, 0.0, 1.0)
    return np.stack([left, right]), np.stack([1.0 - share, share]) * present


def _weights(wavelengths_nm: Array, grid: Grid) -> Array:
    """Return the weights of `_neighbours` as a matrix `(grid bands, instrument bands)`."""
    columns, weights = _neighbours(wavelengths_nm, grid)
    matrix = np.zeros((grid.bands, wavelengths_nm.size))
    np.add.at(matrix, (np.arange(grid.bands), columns), weights)
    return matrix


def _widest_gap(wavelengths_nm: Array, first: float, last: float) -> float:
    """Return the widest gap between the bands that the segment from `first` to `last` nm needs."""
    start, stop = _reach(wavelengths_nm, first, last)
    return float(np.max(np.diff(wavelengths_nm[start : stop + 1]), initial=0.0))


def _reach(wavelengths_nm: Array, first: float, last: float) -> tuple[int, int]:
    """Return the last band at or below `first`, and the first band at or above `last`.

    Where there is none, it is the first or the last band of all.
    """
    start = int(np.searchsorted(wavelengths_nm, first, side="right")) - 1
    stop = int(np.searchsorted(wavelengths_nm, last, side="left"))
    return max(start, 0), min(stop, wavelengths_nm.size - 1)


def bands_read(wavelengths_nm: Array, grid: Grid) -> Integers:
    """Return the numbers of the bands, of those at `wavelengths_nm`, that the grid is made from.

    These are, for each segment, the bands from the last one at or below it to the first one at or
    above it, because its ends are interpolated. All others may hold anything.
    """
    if grid.wavelengths_nm:
        weighted: Integers = np.flatnonzero(np.any(_weights(wavelengths_nm, grid) > 0.0, axis=0))
        return weighted
    on_grid, read = grid.wavelengths(), np.zeros(wavelengths_nm.size, dtype=bool)
    for segment in grid.segments():
        start, stop = _reach(wavelengths_nm, on_grid[segment][0], on_grid[segment][-1])
        read[start : stop + 1] = True
    numbers: Integers = np.flatnonzero(read)
    return numbers


def as_slice(numbers: Integers) -> slice | Integers:
    """Return consecutive numbers as a slice, which copies nothing, and others as they are."""
    if numbers.size and np.all(np.diff(numbers) == 1):
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def _way_out(first: float, last: float) -> str:
    """Return what to do about a range that does not cover the grid.

    A range that no Vis-NIR instrument has is probably in another unit.
    """
    if last < _LEAST_NM:
        return "these look like micrometres: label the bands in nm, which is 1,000 times as much"
    if first >= _MOST_NM:
        return (
            "if these are the mid-infrared, train a model of its own for it; if they are "
            "wavenumbers in cm-1, give 10,000,000 over each, which is nm"
        )
    return (
        "use a model for this range, such as default, default:NAME (ccnvr inspect default lists "
        "them) or one fine-tuned from it, or train one by a recipe whose [grid] lies inside it"
    )


def resampling_matrix(wavelengths_nm: Array, grid: Grid) -> Array:
    """Return the matrix `(grid bands, instrument bands)` of linear interpolation onto the grid.

    Raises:
        WavelengthError: the wavelengths do not cover the grid, so it would extrapolate.
    """
    check_wavelengths(wavelengths_nm, grid)
    return _weights(wavelengths_nm, grid)


def interpolation(wavelengths_nm: Array, grid: Grid) -> tuple[Integers, Array]:
    """Return `resampling_matrix` as the numbers of two bands for each row, and their weights.

    Both are `(2, grid bands)`.

    Raises:
        WavelengthError: the wavelengths do not cover the grid, so it would extrapolate.
    """
    check_wavelengths(wavelengths_nm, grid)
    return _neighbours(wavelengths_nm, grid)

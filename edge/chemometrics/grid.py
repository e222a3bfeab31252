"""From an instrument's bands to a model's grid: whether they suit it, and the interpolation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

# The alias marks a name that this module offers, because what needs a grid mostly needs both.
from ccnvr.edge.chemometrics.wavelength_grid import Grid as Grid
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError

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


# Ranges that end below the one or begin above the other are no Vis-NIR instrument's.
_LEAST_NM, _MOST_NM = 100.0, 2_500.0


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

"""The wavelength grid of a model, and the interpolation of an instrument's bands onto it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError

MOST_BANDS = 4_200
"""The number of bands of the finest library, LUCAS; it limits the memory that a grid can take."""

WIDEST_GAP_NM = 12.0
"""The widest gap between bands inside the model's range.

The narrowest useful features of soil are about 25 nm wide, so a wider gap could hide one.
"""


class WavelengthError(CcnvrError):
    """The error for wavelengths that do not suit the model."""


@contextmanager
def naming_source(name: object) -> Iterator[None]:
    """Put the name of a file or library before the message of a `WavelengthError`."""
    try:
        yield
    except WavelengthError as error:
        raise WavelengthError(f"{name}: {error}") from error


@dataclass(frozen=True)
class Grid:
    """Evenly spaced wavelengths in nm.

    Raises:
        ValueError: there are too few or too many bands, or a wavelength is not positive.
    """

    start_nm: float
    step_nm: float
    bands: int

    def __post_init__(self) -> None:
        if (
            not 2 <= self.bands <= MOST_BANDS
            or not 0 < self.step_nm < 1e4
            or not 0 < self.start_nm < 1e6
        ):
            raise ValueError(
                f"grid of {self.bands} bands from {self.start_nm} nm by {self.step_nm} nm is not "
                "possible; "
                f"2 to {MOST_BANDS} bands and positive wavelengths are"
            )

    @property
    def stop_nm(self) -> float:
        """The last wavelength, in nm."""
        return self.start_nm + self.step_nm * (self.bands - 1)

    def wavelengths(self) -> Array:
        """Return the wavelengths `(bands,)`, in nm."""
        return self.start_nm + self.step_nm * np.arange(self.bands, dtype=np.float64)


def check_wavelengths(wavelengths_nm: Array, grid: Grid) -> None:
    """Check that spectra at these wavelengths `(bands,)`, in nm, can be interpolated onto the grid.

    Raises:
        WavelengthError: they are not finite or not increasing, do not cover the grid, or have a gap
            inside it.
    """
    if (
        wavelengths_nm.size < 2
        or not np.all(np.isfinite(wavelengths_nm))
        or np.any(np.diff(wavelengths_nm) <= 0)
    ):
        raise WavelengthError(
            f"the {wavelengths_nm.size} wavelengths must be two or more increasing numbers in nm; "
            "check the instrument's calibration or the file's header"
        )
    first, last = wavelengths_nm[0], wavelengths_nm[-1]
    if first > grid.start_nm or last < grid.stop_nm:
        raise WavelengthError(
            f"the spectrum covers {first:.1f}-{last:.1f} nm but the model needs "
            f"{grid.start_nm:.1f}-{grid.stop_nm:.1f} nm; " + _way_out(first, last)
        )
    # Bands just outside the grid count too: its ends are interpolated between them and the first
    # bands inside.
    inside = wavelengths_nm[
        (wavelengths_nm > grid.start_nm - WIDEST_GAP_NM)
        & (wavelengths_nm < grid.stop_nm + WIDEST_GAP_NM)
    ]
    gap = float(np.max(np.diff(inside), initial=0.0)) if inside.size > 1 else float(last - first)
    if gap > WIDEST_GAP_NM:
        raise WavelengthError(
            f"bands lie up to {gap:.1f} nm apart where the model needs {WIDEST_GAP_NM:g} nm or "
            "less; give spectra with all bands that the instrument measured"
        )


def _way_out(first: float, last: float) -> str:
    """Return what to do about a range that does not cover the grid.

    A range that no Vis-NIR instrument has is probably in another unit.
    """
    if last < 100.0:
        return "these look like micrometres: label the bands in nm, which is 1,000 times as much"
    if first > 2_600.0:
        return (
            "these look like wavenumbers in cm-1: label the bands in nm, which is 10,000,000 "
            "divided by the wavenumber"
        )
    return "use a bundle made for this range, or, to train one, a [grid] inside it"


def resampling_matrix(wavelengths_nm: Array, grid: Grid) -> Array:
    """Return the matrix `(grid bands, instrument bands)` of linear interpolation onto the grid.

    Raises:
        WavelengthError: the wavelengths do not cover the grid, so it would extrapolate.
    """
    check_wavelengths(wavelengths_nm, grid)
    target = grid.wavelengths()
    # Clipped, because a grid that ends exactly on the last band has no band to the right of it.
    right = np.clip(
        np.searchsorted(wavelengths_nm, target, side="right"), 1, wavelengths_nm.size - 1
    )
    left = right - 1
    share = (target - wavelengths_nm[left]) / (wavelengths_nm[right] - wavelengths_nm[left])
    matrix = np.zeros((grid.bands, wavelengths_nm.size))
    rows = np.arange(grid.bands)
    matrix[rows, left] = 1.0 - share
    matrix[rows, right] += share
    return matrix

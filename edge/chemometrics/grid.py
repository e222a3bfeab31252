"""The grid of wavelengths that a model reads, and whether an instrument's bands can serve it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError

MOST_BANDS = 4_200
"""As many as the finest library has (LUCAS); bounds what a recipe can make this module allocate."""

WIDEST_GAP_NM = 12.0
"""Between bands inside the model's range: soil's narrowest useful features are some 25 nm wide."""


class WavelengthError(CcnvrError):
    """The wavelengths of a spectrum cannot serve the model."""


@contextmanager
def naming_source(name: object) -> Iterator[None]:
    """Names the file, or the library, whose wavelengths cannot serve."""
    try:
        yield
    except WavelengthError as error:
        raise WavelengthError(f"{name}: {error}") from error


@dataclass(frozen=True)
class Grid:
    """Evenly spaced wavelengths, in nm."""

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
        """`(bands,)` wavelengths in nm."""
        return self.start_nm + self.step_nm * np.arange(self.bands, dtype=np.float64)


def check_wavelengths(wavelengths_nm: Array, grid: Grid) -> None:
    """Refuse wavelengths that are not increasing, not finite, too far apart, or do not cover the
    grid.

    Raises:
        WavelengthError: with the range found and the range needed.
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
    inside = wavelengths_nm[
        (wavelengths_nm > grid.start_nm - WIDEST_GAP_NM)
        & (wavelengths_nm < grid.stop_nm + WIDEST_GAP_NM)
    ]
    gap = float(np.max(np.diff(inside), initial=0.0)) if inside.size > 1 else float(last - first)
    if gap > WIDEST_GAP_NM:
        raise WavelengthError(
            f"bands lie up to {gap:.1f} nm apart where the model needs {WIDEST_GAP_NM:g} nm or "
            "less; give spectra with all "
            "bands that the instrument measured"
        )


def _way_out(first: float, last: float) -> str:
    """What to do where `first` to `last` does not cover a grid: what no Vis-NIR instrument sees may
    have another unit.
    """
    if last < 100.0:
        return "these look like micrometres: name the bands by nm, which is 1,000 times as much"
    if first > 2_600.0:
        return (
            "these look like wavenumbers in cm-1: name the bands by nm, which is 10,000,000 "
            "over the wavenumber"
        )
    return "use a bundle made for this range, or, to train one, a [grid] inside it"


def resampling_matrix(wavelengths_nm: Array, grid: Grid) -> Array:
    """`(grid bands, instrument bands)` matrix of linear interpolation onto the grid; never
    extrapolates.

    Raises:
        WavelengthError: the wavelengths do not cover the grid.
    """
    check_wavelengths(wavelengths_nm, grid)
    target = grid.wavelengths()
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

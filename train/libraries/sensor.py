"""Library spectra as another sensor would see them, so that a model can be trained for an
instrument that has no library yet.

Each pixel sees a Gaussian share of the spectrum about its centre. That is taken in absorbance, as
resampling is, so that both are one matrix and every library has it alike. Light adds up in
reflectance; where a spectrum is curved within a pixel, the two differ to second order: by less than
0.0005 in dry soils (SL.125) at 16 nm, but by up to 0.035 on the flank of water's band at 1,900 nm
in moist ones (CV.98); test_instrument holds both. Noise, stray light and a shifted wavelength scale
are left to augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ccnvr.edge.chemometrics.grid import (
    MOST_BANDS,
    Grid,
    WavelengthError,
    check_wavelengths,
    resampling_matrix,
)
from ccnvr.firmware_bridge.arrays import Array

_SD_PER_FWHM = 1.0 / np.sqrt(8.0 * np.log(2.0))


@dataclass(frozen=True)
class Sensor:
    """A sensor, in nm: each pixel's centre, and the full width at half maximum of its line shape,
    one for all or one each.
    """

    centres_nm: tuple[float, ...]
    fwhm_nm: float | tuple[float, ...]

    def __post_init__(self) -> None:
        centres, widths = np.array(self.centres_nm), np.array(self.fwhm_nm)
        if not 2 <= centres.size <= MOST_BANDS:
            raise ValueError(
                f"centres_nm has {centres.size} wavelengths and must have from 2 to {MOST_BANDS}"
            )
        # The first is compared with 0.
        if np.any(falls := np.diff(centres, prepend=0.0) <= 0.0):
            pixel = int(np.argmax(falls))
            raise ValueError(
                f"centres_nm[{pixel}] is {centres[pixel]:g} nm; wavelengths must be above 0 and "
                "increase"
            )
        if widths.size not in (1, centres.size):
            raise ValueError(
                f"fwhm_nm has {widths.size} widths for {centres.size} centres; give one for all, "
                "or one each"
            )
        if not np.all((widths > 0.0) & (widths < 1e3)):
            raise ValueError(f"fwhm_nm of {widths.min():g} nm is not a width; it must be above 0")


def line_shapes(wavelengths_nm: Array, sensor: Sensor) -> Array:
    """`(pixels, library bands)` matrix that takes a library's spectra to the sensor's; rows add up
    to 1.

    A band counts for the interval that it stands for, so uneven bands do no harm. At the library's
    ends a line shape is cut off, which moves a pixel there by up to 0.34 of its width.

    Raises:
        WavelengthError: a pixel lies outside the library, or is narrower than the library's own
            step there.
    """
    centres = np.array(sensor.centres_nm)
    widths = np.broadcast_to(np.array(sensor.fwhm_nm), centres.shape)
    first, last = wavelengths_nm[0], wavelengths_nm[-1]
    if centres[0] < first or centres[-1] > last:
        raise WavelengthError(
            f"the instrument's pixels lie at {centres[0]:g}-{centres[-1]:g} nm and the library "
            f"covers {first:g}-{last:g} nm; "
            "name pixels inside it only, or take another library"
        )
    steps = np.diff(wavelengths_nm)
    here = steps[
        np.clip(np.searchsorted(wavelengths_nm, centres, side="right") - 1, 0, steps.size - 1)
    ]
    if np.any(narrow := widths < here):
        pixel = int(np.argmax(narrow))
        raise WavelengthError(
            f"the pixel at {centres[pixel]:g} nm is {widths[pixel]:g} nm wide and the library's "
            f"bands lie {here[pixel]:g} nm "
            "apart there, so it cannot show what the sensor sees; take a finer library"
        )
    distance = (wavelengths_nm - centres[:, None]) / (widths[:, None] * _SD_PER_FWHM)
    shapes = np.exp(-0.5 * distance**2) * np.gradient(wavelengths_nm)
    # Beyond five sd nothing is left that float32 spectra could show.
    shapes[np.abs(distance) > 5.0] = 0.0
    matrix: Array = shapes / shapes.sum(axis=1, keepdims=True)
    return matrix


@dataclass(frozen=True)
class View:
    """How a library's spectra are looked at: on `grid`, and as `instrument` would see them if one
    is given.
    """

    grid: Grid
    sensor: Sensor | None = None

    def matrix(self, wavelengths_nm: Array) -> Array:
        """`(grid bands, library bands)`, from a library's absorbance to the grid's; bands outside
        the view have weight 0.

        Raises:
            WavelengthError: the library's, or the instrument's, wavelengths do not cover the grid,
                or the library cannot show what the instrument sees.
        """
        if self.sensor is None:
            return resampling_matrix(wavelengths_nm, self.grid)
        # Pixels may lie beyond the grid and the library's bands apart.
        check_wavelengths(wavelengths_nm, self.grid)
        resample = resampling_matrix(np.array(self.sensor.centres_nm), self.grid)
        return resample @ line_shapes(wavelengths_nm, self.sensor)


def bands_used(matrix: Array) -> slice:
    """The library's bands that a matrix `(grid bands, library bands)` looks at; the others may be
    no reflectance.
    """
    used = np.flatnonzero(np.any(matrix != 0.0, axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)

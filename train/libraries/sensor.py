"""Resample library spectra to the bands of another sensor.

With it a model can be trained for an instrument that no library was measured with.

Each pixel of a sensor averages the spectrum with a Gaussian line shape about its centre. The
average is taken in absorbance, as resampling is, so that both are one matrix that is the same for
every library. Light adds up in reflectance, though. Where a spectrum is curved within a pixel the
two differ to second order: by less than 0.0005 in dry soils (SL.125) at a width of 16 nm, but by up
to 0.035 on the flank of the water band at 1,900 nm in moist ones (CV.98); test_sensor.py checks
both. Noise, stray light and a shifted wavelength scale are left to augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ccnvr.edge.chemometrics.grid import (
    WIDEST_GAP_NM,
    Grid,
    WavelengthError,
    bands_read,
    check_wavelengths,
    resampling_matrix,
)
from ccnvr.edge.chemometrics.wavelength_grid import MOST_BANDS
from ccnvr.firmware_bridge.arrays import Array, Integers

_SD_PER_FWHM = 1.0 / np.sqrt(8.0 * np.log(2.0))


@dataclass(frozen=True)
class Sensor:
    """The bands of a sensor.

    Raises:
        ValueError: the centres do not increase, or the widths do not fit them.
    """

    centres_nm: tuple[float, ...]
    """The centre of each pixel, increasing."""

    fwhm_nm: float | tuple[float, ...]
    """The full width at half maximum of the line shapes: one for all pixels, or one for each."""

    def __post_init__(self) -> None:
        centres, widths = np.array(self.centres_nm), np.array(self.fwhm_nm)
        if not 2 <= centres.size <= MOST_BANDS:
            raise ValueError(
                f"centres_nm has {centres.size} wavelengths and must have from 2 to {MOST_BANDS}"
            )
        # With 0 in front, so that the first centre is compared with it.
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

    def only(self, pixels: Integers) -> Sensor:
        """Return the sensor with these pixels alone."""
        centres = np.array(self.centres_nm)
        widths = np.broadcast_to(np.array(self.fwhm_nm), centres.shape)[pixels]
        return Sensor(tuple(centres[pixels].tolist()), tuple(widths.tolist()))


def line_shapes(wavelengths_nm: Array, sensor: Sensor) -> Array:
    """Return the matrix `(pixels, library bands)` from a library's spectra to the sensor's.

    Its rows add up to 1. Each band is weighted by the width of its interval, so uneven bands do no
    harm. At the library's ends, and beside its gaps, a line shape is cut off, which shifts a pixel
    there by up to 0.34 of its width.

    Raises:
        WavelengthError: a pixel lies outside the library, or is narrower than the library's step.
    """
    centres = np.array(sensor.centres_nm)
    widths = np.broadcast_to(np.array(sensor.fwhm_nm), centres.shape)
    first, last = wavelengths_nm[0], wavelengths_nm[-1]
    if centres[0] < first or centres[-1] > last:
        raise WavelengthError(
            f"the instrument's pixels lie at {centres[0]:g}-{centres[-1]:g} nm and the library "
            f"covers {first:g}-{last:g} nm; name pixels inside it only, or take another library"
        )
    steps = np.diff(wavelengths_nm)
    at = np.clip(np.searchsorted(wavelengths_nm, centres, side="right") - 1, 0, steps.size - 1)
    # A pixel on a band beside a gap of the library is shown by the bands on the other side.
    on_band = wavelengths_nm[at] == centres
    here = np.where(on_band, np.minimum(steps[at], steps[np.maximum(at - 1, 0)]), steps[at])
    if np.any(narrow := widths < here):
        pixel = int(np.argmax(narrow))
        raise WavelengthError(
            f"the pixel at {centres[pixel]:g} nm is {widths[pixel]:g} nm wide and the library's "
            f"bands lie {here[pixel]:g} nm apart there, so it cannot show what the sensor sees; "
            "take a finer library"
        )
    # A band beside a gap of the library does not stand for the gap.
    closed = np.cumsum([0.0, *np.minimum(steps, WIDEST_GAP_NM)])
    distance = (wavelengths_nm - centres[:, None]) / (widths[:, None] * _SD_PER_FWHM)
    shapes = np.exp(-0.5 * distance**2) * np.gradient(closed)
    # Beyond five standard deviations a weight is below the resolution of float32 spectra.
    shapes[np.abs(distance) > 5.0] = 0.0
    matrix: Array = shapes / shapes.sum(axis=1, keepdims=True)
    return matrix


@dataclass(frozen=True)
class View:
    """The wavelengths that a library's spectra are resampled to."""

    grid: Grid
    """The grid of the result."""

    sensor: Sensor | None = None
    """The sensor that the spectra are resampled to first, if any."""

    def matrix(self, wavelengths_nm: Array) -> Array:
        """Return the matrix `(grid bands, library bands)` that resamples a library's absorbance.

        Bands outside the view have weight 0.

        Raises:
            WavelengthError: the wavelengths of the library or of the sensor do not cover the grid,
                or the library's bands are too coarse for the sensor.
        """
        if self.sensor is None:
            return resampling_matrix(wavelengths_nm, self.grid)
        # The sensor may cover the grid where the library does not.
        check_wavelengths(wavelengths_nm, self.grid)
        sensor = self.sensor
        if self.grid.gaps:
            # The library may have no bands to show what the pixels inside a gap would see.
            sensor = sensor.only(bands_read(np.array(sensor.centres_nm), self.grid))
        resample = resampling_matrix(np.array(sensor.centres_nm), self.grid)
        return resample @ line_shapes(wavelengths_nm, sensor)


def bands_used(matrix: Array, grid: Grid) -> Integers:
    """Return the library's bands that a matrix `(grid bands, library bands)` uses.

    In each segment of the grid these are all bands from the first to the last with a weight. The
    others are not read, so they may hold anything.
    """
    used = np.zeros(matrix.shape[1], dtype=bool)
    for segment in grid.segments():
        weighted = np.flatnonzero(np.any(matrix[segment] != 0.0, axis=0))
        used[weighted[0] : weighted[-1] + 1] = True
    numbers: Integers = np.flatnonzero(used)
    return numbers

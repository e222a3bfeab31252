"""Spectral preprocessing, from absorbance to model input; training and the edge both use it.

In: absorbance at an instrument's bands. Out: the network's input, `(channels, bands)` float32 on
the model's grid.

Resampling, a bundle's correction and Savitzky-Golay filters are linear, so they become one
`FusedOperator` once the wavelengths are known. A spectrum then takes one product and the standard
normal variate (SNV).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.chemometrics.correction import Correction
from ccnvr.edge.chemometrics.filters import savgol_matrix
from ccnvr.edge.chemometrics.fused_operator import FusedOperator
from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError
from ccnvr.firmware_bridge.frozen import frozen

Floats = TypeVar("Floats", Array, NDArray[np.float32])


class SpectrumError(CcnvrError):
    """The error for a spectrum that cannot be used; `reason` is a short form for flags."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


# Bounds on what a bundle can ask for: each channel costs a matrix of up to 4,200 x 4,200 numbers
# while it is compiled.
_MOST_CHANNELS = 8
_LONGEST_WINDOW = 301
_HIGHEST_ORDER = 6


@frozen
class Channel:
    """One input channel of the network: a Savitzky-Golay filter, then an optional SNV.

    `window` is in bands of the model's grid, and 1 stands for no filter. Derivatives are per nm.

    Raises:
        ValueError: the filter is not possible.
    """

    window: int = 1
    polyorder: int = 0
    deriv: int = 0
    snv: bool = True

    def __post_init__(self) -> None:
        odd = self.window % 2 == 1 and 1 <= self.window <= _LONGEST_WINDOW
        if not (
            odd
            and 0 <= self.deriv <= self.polyorder < self.window
            and self.polyorder <= _HIGHEST_ORDER
        ):
            raise ValueError(
                f"filter of window {self.window}, order {self.polyorder}, derivative {self.deriv} "
                f"is not possible: the window must be odd, at most {_LONGEST_WINDOW} and above the "
                f"order, the order at most {_HIGHEST_ORDER} and at least the derivative"
            )


@frozen
class Preprocessing:
    """The grid and the channels that turn absorbance into model input.

    Raises:
        ValueError: there are too few or too many channels, or a filter is longer than a segment of
            the grid.
    """

    grid: Grid
    channels: tuple[Channel, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.channels) <= _MOST_CHANNELS:
            raise ValueError(
                f"there are {len(self.channels)} input channels; give 1 to {_MOST_CHANNELS}"
            )
        longest = max(channel.window for channel in self.channels)
        if longest > self.grid.shortest_segment:
            segment = "grid" if not self.grid.gaps else "shortest segment of the grid,"
            raise ValueError(
                f"a filter's window of {longest} is longer than the {segment} of "
                f"{self.grid.shortest_segment} bands"
            )


def absorbance(reflectance: Array) -> Array:
    """Return log10(1/R), elementwise, of reflectance R as a fraction.

    Raises:
        SpectrumError: a reflectance is not a positive finite number.
    """
    # Two reductions decide the usual case; the search for the worst band is left to the error.
    lowest = np.minimum.reduce(reflectance, axis=None)
    if not (lowest > 0.0 and isfinite(np.maximum.reduce(reflectance, axis=None))):
        worst = int(np.argmax(~((reflectance > 0.0) & np.isfinite(reflectance))))
        raise SpectrumError(
            "not_positive",
            f"reflectance of band {worst} is {np.ravel(reflectance)[worst]:.4g} and must be a "
            "positive number; take the references and the spectrum again",
        )
    return unchecked_absorbance(reflectance)


def unchecked_absorbance(reflectance: Array) -> Array:
    """Return log10(1/R), elementwise, of reflectance that is known to be positive and finite."""
    # Decadic absorbance, the unit of the libraries and of every bundle.
    decadic: Array = np.log10(reflectance)
    return np.negative(decadic, out=decadic)


def snv(spectra: Floats) -> Floats:
    """Return the standard normal variate (SNV) of spectra along the last axis.

    It is the spectrum minus its mean, divided by its standard deviation (with n and not n - 1):
    Barnes, Dhanoa & Lister 1989, Appl. Spectrosc. 43:772-777.

    Raises:
        SpectrumError: a spectrum is constant.
    """
    # In two passes: the mean of squares minus the square of the mean would cancel in float32.
    centred = spectra - spectra.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True))
    _refuse_constant(deviation)
    scaled: Floats = centred / deviation
    return scaled


def _refuse_constant(deviations: NDArray[np.floating]) -> None:
    """Raise a `SpectrumError` if a standard deviation is that of a constant."""
    # Rounding makes the deviation of a constant spectrum about 1e-17; that of a soil's second
    # derivative, the smallest input, is about 1e-7.
    if not np.minimum.reduce(deviations, axis=None) > 1e-12:
        raise constant_spectrum()


def constant_spectrum() -> SpectrumError:
    """Return the error of a spectrum that is constant."""
    return SpectrumError(
        "no_variation",
        "the spectrum is constant, so it cannot be scaled; check that the probe saw the sample",
    )


class Preprocessor:
    """Preprocessing, and the bundle's correction if it has one, compiled for one instrument.

    Not safe to call from several threads, because it reuses its buffers.

    Args:
        preprocessing: the grid and the channels.
        wavelengths_nm: the instrument's bands, in nm, increasing.
        correction: the bundle's correction, on the model's grid.
        beside: further channels, filtered by the same product and never scaled.

    Raises:
        WavelengthError: the wavelengths do not cover the grid.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        wavelengths_nm: Array | Sequence[float],
        correction: Correction | None = None,
        beside: Sequence[Channel] = (),
    ) -> None:
        self.preprocessing = preprocessing
        self.wavelengths_nm: Array = np.asarray(wavelengths_nm, dtype=np.float64)
        grid = preprocessing.grid
        filters = (filter_matrix(one, grid) for one in (*preprocessing.channels, *beside))
        self._operator = FusedOperator(filters, grid, self.wavelengths_nm, correction)
        self._count = len(preprocessing.channels)
        has_snv = np.array([one.snv for one in preprocessing.channels], dtype=np.float64)
        self._share: Array = has_snv / grid.bands
        """The weight of a band in a mean, of each channel; 0 without SNV."""
        self._ones = np.ones(grid.bands)
        self._without_snv: Array | None = None if has_snv.all() else 1.0 - has_snv

    def __call__(self, spectrum: Array) -> NDArray[np.float32]:
        """Return model input `(channels, bands)` for absorbance `(instrument bands,)`.

        Raises:
            SpectrumError: the spectrum has the wrong length, a value that is not finite, or no
                variation.
        """
        inputs: NDArray[np.float32] = self.batch(spectrum[None])[0]
        return inputs

    def batch(self, spectra: Array) -> NDArray[np.float32]:
        """Return model input `(n, channels, bands)` for absorbance `(n, instrument bands)`.

        Raises:
            SpectrumError: as for one spectrum.
        """
        return self.with_beside(spectra)[0]

    def with_beside(self, spectra: Array) -> tuple[NDArray[np.float32], Array]:
        """Return the model input of spectra, and their channels beside it, both as `batch` does.

        The channels beside the input of one spectrum lie in a buffer that the next call overwrites.

        Raises:
            SpectrumError: as for one spectrum.
        """
        self._check(spectra)
        filtered = self._operator(spectra)
        # Float32 comes last: second derivatives are differences of nearly equal numbers.
        inputs = self.scale(filtered[:, : self._count]).astype(np.float32)
        return inputs, filtered[:, self._count :]

    def filter(self, spectra: Array) -> Array:
        """Return the linear part of `batch`: filtered and corrected, but not yet scaled.

        Absorbance `(n, instrument bands)` becomes `(n, channels, bands)`.

        Raises:
            SpectrumError: a spectrum has the wrong length or a value that is not finite.
        """
        self._check(spectra)
        return self._operator(spectra)[:, : self._count].copy()

    def filter_change(self, changes: Array) -> Array:
        """Return what `filter` adds when `changes` `(n, instrument bands)` are added to absorbance.

        The constant offset of the correction belongs to the spectrum and is not added again.

        Raises:
            SpectrumError: a change has the wrong length or a value that is not finite.
        """
        self._check(changes)
        return self._operator.change(changes)[:, : self._count].copy()

    def scale(self, filtered: Floats) -> Floats:
        """Apply SNV in place to the channels that have it: the non-linear part of `batch`.

        `filtered` is `(..., channels, bands)`.

        Raises:
            SpectrumError: a channel is constant.
        """
        # A product with ones adds up in half the time of `np.add.reduce`.
        ones = self._ones.astype(filtered.dtype, copy=False)
        means = filtered.dot(ones)
        means *= self._share
        filtered -= means[..., None]
        # In two passes: the mean of squares minus the square of the mean would cancel in float32.
        deviations = np.multiply(filtered, filtered).dot(ones)
        deviations *= self._share
        if self._without_snv is not None:
            deviations += self._without_snv
        np.sqrt(deviations, out=deviations)
        _refuse_constant(deviations)
        scaled: Floats = np.divide(filtered, deviations[..., None], out=filtered)
        return scaled

    def _check(self, spectra: Array) -> None:
        bands = spectra.shape[-1]
        if bands != self.wavelengths_nm.size:
            raise SpectrumError(
                "wrong_length",
                f"the spectrum has {bands} bands but the instrument stated "
                f"{self.wavelengths_nm.size}; reconnect the instrument, or give the wavelengths "
                "that belong to this spectrum",
            )
        # A sum is finite only if all of its terms are, and decides the usual case quickly.
        if not isfinite(np.add.reduce(spectra, axis=None)) and not np.all(np.isfinite(spectra)):
            where = int(np.argmax(~np.isfinite(np.ravel(spectra)))) % bands
            raise SpectrumError(
                "not_a_number",
                f"the absorbance at {self.wavelengths_nm[where]:.1f} nm is not a number; rescan, "
                "or correct the file",
            )


def filter_matrix(channel: Channel, grid: Grid) -> Array:
    """Return the matrix `(bands, bands)` of a channel's filter, which acts inside each segment."""
    if channel.window == 1:
        return np.eye(grid.bands)
    matrix = np.zeros((grid.bands, grid.bands))
    for segment in grid.segments():
        matrix[segment, segment] = savgol_matrix(
            segment.stop - segment.start,
            channel.window,
            channel.polyorder,
            channel.deriv,
            grid.step_nm,
        )
    return matrix

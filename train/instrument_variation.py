"""Random differences between instruments, for augmentation: training spectra as sister instruments might have measured them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Array = NDArray[np.float64]


@dataclass(frozen=True)
class InstrumentVariation:
    """How far instruments differ; standard deviations, but for `broadening_nm`; 0 turns one off.

    In absorbance: `offset`; `slope`, from the middle of the grid to its ends; `noise`, white, per band. Relative: `gain`.
    In nm: `shift_nm` of the wavelength scale, and `broadening_nm`, the sd of the widest Gaussian that resolution is lost
    by: what a spectrum loses is drawn evenly in variance, from none to that.
    """

    offset: float = 0.0
    slope: float = 0.0
    gain: float = 0.0
    shift_nm: float = 0.0
    broadening_nm: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value < (100.0 if name.endswith("_nm") else 1.0):
                raise ValueError(f"{name} = {value} is not from 0 to below {100 if name.endswith('_nm') else 1}")


def vary_instrument(spectra: Array, step_nm: float, variation: InstrumentVariation, rng: np.random.Generator) -> Array:
    """Absorbance `(n, bands)` on a grid of `step_nm`, each spectrum as an instrument of its own would have measured it.

    Optics first, then electronics: resolution, wavelength shift, gain, slope, offset, noise. Beyond the grid's ends a
    spectrum is taken to stay level. Resolution is lost in absorbance here, not in reflectance: for soil's shallow bands the
    two hardly differ.
    """
    count, bands = spectra.shape
    varied = _shifted(_broadened(spectra, variation.broadening_nm / step_nm, rng), variation.shift_nm / step_nm, rng)
    offset, slope, gain = (rng.normal(0.0, sd, (count, 1)) for sd in (variation.offset, variation.slope, variation.gain))
    varied = varied * (1.0 + gain) + offset + slope * np.linspace(-1.0, 1.0, bands)
    return varied + rng.normal(0.0, variation.noise, spectra.shape) if variation.noise else varied


def _broadened(spectra: Array, sd_bands: float, rng: np.random.Generator) -> Array:
    """A share of each spectrum is seen through the widest Gaussian: the mixture's variance is that share of its variance."""
    if sd_bands == 0.0:
        return spectra
    share = rng.uniform(0.0, 1.0, (len(spectra), 1))
    return spectra + share * (_smoothed(spectra, sd_bands) - spectra)


def _smoothed(spectra: Array, sd_bands: float) -> Array:
    smooth: Array = gaussian_filter1d(spectra, sd_bands, axis=1, mode="nearest")
    return smooth


def _shifted(spectra: Array, sd_bands: float, rng: np.random.Generator) -> Array:
    """Each spectrum read at a scale that is off by a random number of bands, by linear interpolation."""
    if sd_bands == 0.0:
        return spectra
    count, bands = spectra.shape
    shift = rng.normal(0.0, sd_bands, (count, 1))
    whole = np.floor(shift)
    left = np.arange(bands) + whole.astype(np.int64)
    lower, upper = (np.take_along_axis(spectra, np.clip(left + side, 0, bands - 1), axis=1) for side in (0, 1))
    shifted: Array = lower + (shift - whole) * (upper - lower)
    return shifted

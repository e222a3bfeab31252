"""Random changes of training spectra that another instrument, or the next scan of the same soil, could make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """Standard deviations of the random changes; 0 turns one off.

    `slope` tilts absorbance by so much from the middle of the grid to its ends; `noise` is white, per band, in
    absorbance. `input_shift` adds an offset and a tilt to each of the network's input channels and scales it, after
    Bjerrum et al. 2017 (arXiv:1710.01927), who did so to spectra.
    """

    slope: float = 0.1
    noise: float = 0.0
    input_shift: float = 0.1

    def __post_init__(self) -> None:
        if min(self.slope, self.noise, self.input_shift) < 0.0:
            raise ValueError("slope, noise and input_shift are standard deviations and must not be negative")


def vary_absorbance(spectra: Array, augmentation: Augmentation, rng: np.random.Generator) -> Array:
    """Absorbance `(n, bands)` with a random tilt and noise."""
    count, bands = spectra.shape
    tilt = rng.normal(0.0, augmentation.slope, (count, 1)) * np.linspace(-1.0, 1.0, bands)
    return spectra + tilt + rng.normal(0.0, augmentation.noise, spectra.shape)


def vary_inputs(inputs: Float32, augmentation: Augmentation, rng: np.random.Generator) -> Float32:
    """Model input `(n, channels, bands)` with a random offset, tilt and gain of each channel."""
    count, channels, bands = inputs.shape
    offset, tilt, gain = rng.normal(0.0, augmentation.input_shift, (3, count, channels, 1)).astype(np.float32)
    ramp = np.linspace(-1.0, 1.0, bands, dtype=np.float32)
    varied: Float32 = inputs * (1.0 + gain) + offset + tilt * ramp
    return varied

"""How much the noise of a spectrum widens the prediction intervals of its estimates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.noise import NoiseMeter, NoiseResponse
from ccnvr.edge.chemometrics.targets import GAUSSIAN_90
from ccnvr.firmware_bridge.arrays import Array

_REFERENCE_NOISE = 1e-4
"""The noise, in absorbance, at which the typical sensitivity is measured.

It is below the noise of most instruments, yet large enough to change an int8 network's outputs.
"""

_NEGLIGIBLE_SHARE = 0.3
"""The share of an interval's half width below which the typical sensitivity is accurate enough.

The two half widths add in quadrature, so noise below this share widens the interval by under 5 %.
"""


class SpectrumNoise(NamedTuple):
    """A spectrum `(bands,)`, and its noise by blocks `(8,)` and overall, in absorbance."""

    absorbance: Array
    of_blocks: Array
    overall: float


class NoiseUncertainty:
    """The half width that a spectrum's noise adds to the 90 % intervals of a network's outputs.

    The typical sensitivity of the outputs to noise is measured once, on `soils`. It is used where
    the noise matters little; elsewhere the spectrum's own sensitivity is measured, which takes
    several runs of the network.

    Args:
        outputs: maps absorbance `(n, bands)` to standardised outputs `(n, targets)`.
        wavelengths_nm: the instrument's bands `(bands,)`.
        grid: the model's grid.
        soils: absorbance of typical soils, `(n, bands)`.

    Raises:
        SpectrumError: a soil's spectrum cannot be used.
    """

    def __init__(
        self,
        outputs: Callable[[Array], Array],
        wavelengths_nm: Array,
        grid: Grid,
        soils: list[Array],
    ) -> None:
        self._noise_of = NoiseMeter(wavelengths_nm)
        self._output_sd = NoiseResponse(outputs, wavelengths_nm, grid)
        noise = np.full(wavelengths_nm.size, _REFERENCE_NOISE)
        output_sds = [self._output_sd(soil, outputs(soil[None])[0], noise) for soil in soils]
        sensitivity = np.sqrt(np.mean(np.array(output_sds) ** 2, axis=0)) / _REFERENCE_NOISE
        self._typical_half_widths: list[float] = (GAUSSIAN_90 * sensitivity).tolist()
        """The half widths for a noise of 1, one of each output."""

    def measure(self, absorbance: Array) -> list[SpectrumNoise]:
        """Return the noise of spectra `(n, bands)`."""
        noise_of = self._noise_of
        return [
            SpectrumNoise(spectrum, of_blocks, noise_of.overall(of_blocks))
            for spectrum, of_blocks in zip(absorbance, noise_of.of_blocks(absorbance), strict=True)
        ]

    def half_widths(
        self, noise: SpectrumNoise, outputs: Sequence[float], model_half_widths: Sequence[float]
    ) -> list[float]:
        """Return the half width that noise causes for each output, in standardised units.

        Args:
            noise: a spectrum and its noise.
            outputs: the network's standardised outputs for it.
            model_half_widths: the half widths without noise; infinite where the bundle has no
                interval.
        """
        halves = [noise.overall * one for one in self._typical_half_widths]
        for half, known in zip(halves, model_half_widths, strict=True):
            if not half <= _NEGLIGIBLE_SHARE * known:
                break
        else:
            return halves
        # Soils differ in sensitivity, and strong noise also biases an output. Adding as much noise
        # again to this very spectrum shows both.
        added = self._noise_of.at_bands(noise.of_blocks)
        response = self._output_sd(noise.absorbance, np.array(outputs), added)
        own: list[float] = (GAUSSIAN_90 * response).tolist()
        return own

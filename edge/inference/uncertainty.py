"""How much the noise of a spectrum widens the prediction intervals of its estimates."""

from __future__ import annotations

from collections.abc import Callable

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
        self._typical_sensitivity: Array = (
            np.sqrt(np.mean(np.array(output_sds) ** 2, axis=0)) / _REFERENCE_NOISE
        )

    def half_widths(self, absorbance: Array, outputs: Array, model_half_widths: Array) -> Array:
        """Return the half widths `(n, targets)` caused by noise, in standardised units.

        Args:
            absorbance: the spectra, `(n, bands)`.
            outputs: the network's standardised outputs for them, `(n, targets)`.
            model_half_widths: the half widths without noise, `(n, targets)`; infinite where the
                bundle has no interval.
        """
        noise = np.atleast_2d(self._noise_of(absorbance))
        overall = np.sqrt(np.mean(noise**2, axis=1, keepdims=True))
        halves: Array = GAUSSIAN_90 * overall * self._typical_sensitivity
        enough = np.all(halves <= _NEGLIGIBLE_SHARE * model_half_widths, axis=1)
        for row in np.flatnonzero(~enough):
            # Soils differ in sensitivity, and strong noise also biases an output. Adding as much
            # noise again to this very spectrum shows both.
            response = self._output_sd(absorbance[row], outputs[row], noise[row])
            halves[row] = GAUSSIAN_90 * response
        return halves

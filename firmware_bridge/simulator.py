"""A simulated handheld spectrometer: reflectance in, detector counts with noise out.

The instrument it states: a 512-pixel extended-InGaAs array, 1101.5-2496.0 nm, 16-bit, tungsten-halogen lamp. Counts are

    dark offset + dark current x t + lamp x quantum efficiency x t x reflectance

plus photon noise (Poisson, as its normal limit) and read noise (normal), rounded and clipped at saturation. It does not
model the slit's width, stray light or temperature drift.
"""

from __future__ import annotations

import secrets
import time

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.board import Board
from ccnvr.firmware_bridge.device import Exposure
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind
from ccnvr.firmware_bridge.messages import CoefficientKind, ScanRequest

Array = NDArray[np.float64]

PIXELS = 512
SATURATION = 65_535
WHITE_PANEL_REFLECTANCE = 0.99

_WHITE_RATE = 4.2  # counts per microsecond at the brightest pixel, white panel
_DARK_RATE = 0.12  # counts per microsecond
_DARK_OFFSET = 900.0  # counts
_ELECTRONS_PER_COUNT = 60.0
_READ_NOISE = 3.0  # counts
_TEMPERATURE_C = 25.0
_DISPERSION = (1101.5, 2.775, -9.0e-5)  # nm over pixels, lowest power first


def pixel_wavelengths() -> Array:
    """`(512,)` wavelengths of the pixels in nm: a grating's slightly curved dispersion."""
    pixel = np.arange(PIXELS, dtype=np.float64)
    first, slope, curve = _DISPERSION
    return first + slope * pixel + curve * pixel**2


def _lamp_times_efficiency(wavelengths_nm: Array) -> Array:
    """Relative signal of a white surface: Planck photon rate at 2,700 K x a detector that fades beyond 2,400 nm."""
    micrometres = wavelengths_nm / 1000.0
    photons = micrometres**-4 / np.expm1(14_387.77 / (micrometres * 2_700.0))
    efficiency = 1.0 / (1.0 + np.exp((wavelengths_nm - 2_450.0) / 40.0))
    signal = photons * efficiency
    relative: Array = signal / signal.max()
    return relative


def onto_pixels(wavelengths_nm: Array, reflectance: Array) -> Array:
    """Spectra `(n, bands)` at `wavelengths_nm` -> `(n, 512)` at the pixels, by linear interpolation.

    Raises:
        UsageError: the spectra do not cover the pixels.
    """
    pixels = pixel_wavelengths()
    if wavelengths_nm[0] > pixels[0] or wavelengths_nm[-1] < pixels[-1]:
        raise UsageError(
            f"the spectra cover {wavelengths_nm[0]:.1f}-{wavelengths_nm[-1]:.1f} nm but the simulated instrument sees "
            f"{pixels[0]:.1f}-{pixels[-1]:.1f} nm; give spectra that cover it"
        )
    return np.array([np.interp(pixels, wavelengths_nm, spectrum) for spectrum in reflectance])


def synthetic_soils(count: int, seed: int) -> Array:
    """`(count, 512)` made-up reflectance at the pixels: a slope and the bands of water, hydroxyl and clay.

    For trying an instrument without data; no model's accuracy can be judged on them.
    """
    rng = np.random.default_rng(seed)
    wavelengths = pixel_wavelengths()
    soils = np.empty((count, PIXELS))
    for row in range(count):
        level, slope = rng.uniform(0.2, 0.45), rng.uniform(0.0, 0.15)
        absorbance = -np.log10(level + slope * (wavelengths - 1100.0) / 1400.0)
        for centre, width, depth in ((1414.0, 25.0, 0.03), (1915.0, 35.0, 0.08), (2207.0, 20.0, 0.04)):
            absorbance += depth * rng.uniform(0.3, 1.5) * np.exp(-0.5 * ((wavelengths - centre) / width) ** 2)
        soils[row] = 10.0**-absorbance
    return soils


def new_boot() -> int:
    """A boot counter that no earlier start had, but for one chance in four thousand million."""
    return secrets.randbits(32)


def simulated_board() -> Board:
    """Lamp, shutter, button, thermometer, 1 KiB of memory, and the coefficients that the simulated detector has."""
    return Board(coefficients={CoefficientKind.WAVELENGTH: _DISPERSION, CoefficientKind.LINEARITY: (1.0,)})


class SimulatedSpectrometer:
    """A `device.Detector` that looks at the given soils in turn, and starts over after the last.

    `reflectance` is `(n, 512)` at the pixels. Noise depends on `seed` and the scan's number only. `pace`
    scales the time that a scan takes: 1 is real time, 0 none.
    """

    def __init__(self, reflectance: Array, *, seed: int = 1, boot: int = 1, serial: str = "SIM-512", pace: float = 1.0) -> None:
        self.info = InstrumentInfo(
            model="ccnvr simulated NIR-512",
            serial=serial,
            firmware="simulator 1",
            boot=boot,
            wavelengths_nm=pixel_wavelengths(),
            saturation_counts=SATURATION,
            shortest_integration_us=100,
            longest_integration_us=500_000,
            most_averages=1_000,
        )
        self._reflectance = reflectance
        self._signal = _WHITE_RATE * _lamp_times_efficiency(self.info.wavelengths_nm)
        self._seed = seed
        self._pace = pace
        self._samples_taken = 0

    def expose(self, request: ScanRequest, number: int) -> Exposure:
        """Take one scan of the dark, the white panel or the next soil."""
        if self._pace > 0.0:
            time.sleep(self._pace * request.integration_us * request.averages / 1e6)
        rng = np.random.default_rng((self._seed, number))
        expected = self._signal * request.integration_us * self._light(request.kind)
        dark = _DARK_OFFSET + _DARK_RATE * request.integration_us
        # Dark current makes electrons too, so it adds to the shot noise; the offset is electronic and does not.
        shot_variance = (expected + _DARK_RATE * request.integration_us) / _ELECTRONS_PER_COUNT
        deviation = np.sqrt(shot_variance + _READ_NOISE**2)
        noise = rng.standard_normal((request.averages, PIXELS)) * deviation
        counts = np.rint(expected + dark + noise)
        saturated = bool(np.any(counts >= SATURATION))
        sums = np.clip(counts, 0, SATURATION).sum(axis=0).astype(np.uint32)
        return Exposure(sums, saturated, _TEMPERATURE_C)

    def temperature_c(self) -> float:
        """Always the same."""
        return _TEMPERATURE_C

    def _light(self, kind: ScanKind) -> Array | float:
        if kind is ScanKind.DARK:
            return 0.0
        if kind is ScanKind.WHITE:
            return WHITE_PANEL_REFLECTANCE
        soil: Array = self._reflectance[self._samples_taken % len(self._reflectance)]
        self._samples_taken += 1
        return soil

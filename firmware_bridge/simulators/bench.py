"""The physical half of every simulated instrument: lamp, white panel, soils and detector.

The half that speaks a protocol is a `SimulatedDevice`. For reflectance R and integration time t, a
detector gives

    dark offset + dark current x t + lamp x quantum efficiency x t x R

plus photon noise (Poisson, as its normal limit) and read noise (normal), rounded and clipped at
saturation. The width of the slit and light scattered within the instrument are not modelled.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.instrument import ScanKind

WHITE_PANEL_REFLECTANCE = 0.99


@frozen
class Detector:
    """The sensitivity and the noise of a detector.

    `white_rate` is in counts per microsecond for the brightest pixel on a white panel, `dark_rate`
    in counts per microsecond, `read_noise` in counts. The detector becomes insensitive beyond
    `fades_nm`.
    """

    # The defaults are those of the simulated handheld: after the default integration time of 10 ms
    # white reaches two thirds of saturation, where shot noise is about 1 part in 1,600.
    saturation: int = 65_535
    white_rate: float = 4.2
    dark_rate: float = 0.12
    dark_offset: float = 900.0
    electrons_per_count: float = 60.0
    read_noise: float = 3.0
    fades_nm: float = 2_450.0

    def frames(
        self,
        rng: np.random.Generator,
        signal: Array,
        light: Array | float,
        integration_us: float,
        averages: int,
    ) -> Array:
        """Return counts `(averages, pixels)`, not yet clipped.

        `signal` is `(pixels,)`, relative to the brightest pixel; `light` is the reflectance.
        """
        # Photon noise is drawn as normal: at thousands of electrons the Poisson distribution is no
        # longer skewed, and dark pixels are dominated by read noise.
        expected = self.white_rate * signal * integration_us * light
        dark = self.dark_offset + self.dark_rate * integration_us
        # Dark current consists of electrons as well, so it adds to the shot noise; the offset is
        # electronic and does not.
        shot_variance = (expected + self.dark_rate * integration_us) / self.electrons_per_count
        deviation = np.sqrt(shot_variance + self.read_noise**2)
        frames: Array = np.rint(
            expected + dark + rng.standard_normal((averages, signal.size)) * deviation
        )
        return frames


def lamp_times_efficiency(wavelengths_nm: Array, fades_nm: float) -> Array:
    """Return the signal of a white surface, relative to the brightest pixel.

    It is the photon rate of a black body at 2,700 K (Planck's law) times the efficiency of a
    detector that fades beyond `fades_nm`.
    """
    micrometres = wavelengths_nm / 1000.0
    # 14,387.77 um K is the second radiation constant, hc/k. The power is 4 and not 5, because a
    # detector counts photons and not their energy.
    photons = micrometres**-4 / np.expm1(14_387.77 / (micrometres * 2_700.0))
    efficiency = 1.0 / (1.0 + np.exp((wavelengths_nm - fades_nm) / 40.0))
    signal = photons * efficiency
    relative: Array = signal / signal.max()
    return relative


def made_up_soils(wavelengths_nm: Array, count: int, seed: int) -> Array:
    """Return synthetic reflectance `(count, pixels)`.

    Each is a slope with the bands of water, hydroxyl and clay. They serve to try an instrument
    without data; no model's accuracy can be judged by them.
    """
    rng = np.random.default_rng(seed)
    soils = np.empty((count, wavelengths_nm.size))
    for row in range(count):
        level, slope = rng.uniform(0.2, 0.45), rng.uniform(0.0, 0.15)
        absorbance = -np.log10(level + slope * (wavelengths_nm - 1100.0) / 1400.0)
        # The overtone of O-H, the combination band of water, and Al-OH of clay minerals.
        for centre, width, depth in (
            (1414.0, 25.0, 0.03),
            (1915.0, 35.0, 0.08),
            (2207.0, 20.0, 0.04),
        ):
            absorbance += (
                depth
                * rng.uniform(0.3, 1.5)
                * np.exp(-0.5 * ((wavelengths_nm - centre) / width) ** 2)
            )
        soils[row] = 10.0**-absorbance
    return soils


class Bench:
    """The samples under the probe of a simulated instrument, and the light that comes back.

    `put` is the operator's hand. Until it is called, a simulated operator works by the book:
    darkness while the lamp is off (for the first scan, if the host has no lamp to switch:
    `has_lamp=False`), then the white panel for one scan, then soil after soil. One scan consists of
    `acquisitions` of the instrument; `skips` of them are taken before, to identify it. `pace`
    scales the time that an acquisition takes: 1 is real time, 0 none.
    """

    def __init__(
        self,
        wavelengths_nm: Array,
        detector: Detector | None = None,
        *,
        seed: int = 1,
        pace: float = 0.0,
        reflectance: Array | None = None,
        has_lamp: bool = True,
        skips: int = 0,
    ) -> None:
        self.wavelengths_nm = wavelengths_nm
        self.detector = detector or Detector()
        self.acquisitions = 1
        self.lamp_works, self.flooded, self.drift_c, self.temperature_c = True, False, 0.0, 25.0
        self.stray: Array | float = 0.0
        """The light that falls on samples from outside, in reflectance; references have none."""
        # Bounded, because a simulator may run for days.
        self.seen: deque[Array] = deque(maxlen=256)
        """The last acquisitions as the detector saw them, which a driver must report."""
        self.exposed_us = 0.0
        """The integration time of the last acquisition."""
        self._reflectance = (
            made_up_soils(wavelengths_nm, 20, seed) if reflectance is None else reflectance
        )
        self._signal = lamp_times_efficiency(wavelengths_nm, self.detector.fades_nm)
        self._seed, self._pace = seed, pace
        self._acquired = 0
        self._under_probe: ScanKind | None = None
        self._soil = 0
        self._has_lamp, self._skips, self._of_this_round = has_lamp, skips, 0

    def see(self, wavelengths_nm: Array, reflectance: Array) -> None:
        """Put other soils under the probe, in turn: reflectance `(n, bands)` at `wavelengths_nm`.

        Pixels beyond the ends of the spectra see their first and last value.
        """
        self._reflectance = np.array(
            [np.interp(self.wavelengths_nm, wavelengths_nm, soil) for soil in reflectance]
        )

    def put(self, kind: ScanKind) -> None:
        """Put something else under the probe: nothing, the white panel, or the next soil."""
        # A sample after a sample means that the operator has moved on to the next soil.
        self._soil += kind is self._under_probe is ScanKind.SAMPLE
        self._under_probe = kind

    def expose(self, integration_us: float, averages: int = 1, *, lamp: bool = True) -> Array:
        """Return whole counts `(pixels,)`, the rounded mean of the averages."""
        self._acquired += 1
        kind, soil = (
            (self._under_probe, self._soil)
            if self._under_probe is not None
            else self._by_the_book(lamp)
        )
        sums, _ = self.sums(
            kind, integration_us, averages, number=self._acquired, soil=soil, lamp=lamp
        )
        counts: Array = np.rint(sums / averages)
        return counts

    def _by_the_book(self, lamp: bool) -> tuple[ScanKind, int]:
        """Return what a simulated operator has under the probe next, and the number of the soil.

        A round is dark, white, then one soil after another; if the host can switch the lamp, it
        begins with white.
        """
        if not lamp:
            self._of_this_round = 0
            return ScanKind.DARK, 0
        if self._skips:
            self._skips -= 1
            return ScanKind.SAMPLE, 0
        # If the host can switch the lamp, darkness needs no turn of its own: a round begins with
        # white.
        scan = self._of_this_round // self.acquisitions + self._has_lamp
        self._of_this_round += 1
        return {0: ScanKind.DARK, 1: ScanKind.WHITE}.get(scan, ScanKind.SAMPLE), max(0, scan - 2)

    def sums(
        self,
        kind: ScanKind,
        integration_us: float,
        averages: int,
        *,
        number: int,
        soil: int = 0,
        lamp: bool = True,
    ) -> tuple[Array, bool]:
        """Return counts `(pixels,)` added up over the averages, and whether a pixel saturated.

        Noise depends only on the seed and on `number`.
        """
        if self._pace > 0.0:
            time.sleep(self._pace * integration_us * averages / 1e6)
        self.temperature_c += self.drift_c
        # A generator for each scan, so that its noise does not depend on those before it.
        rng = np.random.default_rng((self._seed, number))
        light = self._light(kind, soil) if lamp and self.lamp_works else 0.0
        if kind is ScanKind.SAMPLE:
            light = light + self.stray
        frames = self.detector.frames(rng, self._signal, light, integration_us, averages)
        if self.flooded:
            # Flooded by ambient light, every pixel saturates.
            frames += self.detector.saturation
        top = self.detector.saturation
        self.exposed_us = integration_us
        sums: Array = np.clip(frames, 0, top).sum(axis=0)
        self.seen.append(sums / averages)
        return sums, bool(np.any(frames >= top))

    def _light(self, kind: ScanKind, soil: int) -> Array | float:
        if kind is ScanKind.DARK:
            return 0.0
        if kind is ScanKind.WHITE:
            return WHITE_PANEL_REFLECTANCE
        light: Array = self._reflectance[soil % len(self._reflectance)]
        return light


class SimulatedDevice(ABC):
    """The half of a simulated instrument that speaks a protocol: bytes in, bytes out."""

    greeting: bytes = b""
    """What the instrument says to a host that has just connected."""

    baud: int | None = None
    """The rate that its serial port has now; None if any rate will do."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.reset()

    def tick(self) -> None:  # noqa: B027 - for most instruments time changes nothing
        """Let time pass."""

    def press(self) -> None:  # noqa: B027 - most instruments have no button
        """Press the button, if there is one."""

    @abstractmethod
    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`."""

    @abstractmethod
    def reset(self) -> None:
        """Restart: forget settings and commands that arrived only in part."""

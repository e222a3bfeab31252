"""A simulated handheld spectrometer on the ccnvr link.

It states a 512-pixel extended-InGaAs array, 1101.5-2496.0 nm, 16 bits, and a tungsten-halogen lamp.
Light and noise are those of `simulators.bench`.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.instrument import InstrumentInfo, ScanKind
from ccnvr.firmware_bridge.link.board import Board
from ccnvr.firmware_bridge.link.device import Device
from ccnvr.firmware_bridge.link.messages import CoefficientKind, Held, ScanRequest
from ccnvr.firmware_bridge.link.spectrometer import Exposure
from ccnvr.firmware_bridge.simulators.bench import Bench, Detector, SimulatedDevice, made_up_soils

PIXELS = 512
DETECTOR = Detector()

_DISPERSION = (1101.5, 2.775, -9.0e-5)  # nm over pixels, lowest power first


def pixel_wavelengths() -> Array:
    """Return the wavelengths `(512,)` of the pixels in nm.

    They follow the slightly curved dispersion of a grating.
    """
    pixel = np.arange(PIXELS, dtype=np.float64)
    first, slope, curve = _DISPERSION
    return first + slope * pixel + curve * pixel**2


def onto_pixels(wavelengths_nm: Array, reflectance: Array) -> Array:
    """Interpolate spectra `(n, bands)` at `wavelengths_nm` linearly to the pixels, `(n, 512)`.

    Raises:
        UsageError: the spectra do not cover the pixels.
    """
    pixels = pixel_wavelengths()
    if wavelengths_nm[0] > pixels[0] or wavelengths_nm[-1] < pixels[-1]:
        raise UsageError(
            f"the spectra cover {wavelengths_nm[0]:.1f}-{wavelengths_nm[-1]:.1f} nm but the "
            f"simulated instrument sees {pixels[0]:.1f}-{pixels[-1]:.1f} nm; give spectra that "
            "cover that range"
        )
    return np.array([np.interp(pixels, wavelengths_nm, spectrum) for spectrum in reflectance])


def synthetic_soils(count: int, seed: int) -> Array:
    """Return synthetic reflectance `(count, 512)` at the pixels; see `made_up_soils`."""
    return made_up_soils(pixel_wavelengths(), count, seed)


def new_boot() -> int:
    """Return a random boot counter, which repeats once in four thousand million times."""
    return secrets.randbits(32)


def simulated_board() -> Board:
    """Return a board with everything the link knows.

    It has lamp, shutter, button, thermometer, 1 KiB of memory, and the coefficients of the
    simulated detector.
    """
    return Board(
        coefficients={CoefficientKind.WAVELENGTH: _DISPERSION, CoefficientKind.LINEARITY: (1.0,)}
    )


class SimulatedSpectrometer:
    """A simulated `link.spectrometer.Spectrometer` that sees the given soils in turn.

    After the last soil it starts over. `reflectance` is `(n, 512)` at the pixels. Noise depends
    only on `seed` and the number of the scan. `pace` scales the time of a scan: 1 is real time, 0
    none.
    """

    def __init__(
        self,
        reflectance: Array,
        *,
        seed: int = 1,
        boot: int = 1,
        serial: str = "SIM-512",
        pace: float = 1.0,
    ) -> None:
        self.info = InstrumentInfo(
            model="ccnvr simulated NIR-512",
            serial=serial,
            firmware="simulator 1",
            boot=boot,
            wavelengths_nm=pixel_wavelengths(),
            saturation_counts=DETECTOR.saturation,
            shortest_integration_us=100,
            longest_integration_us=500_000,
            most_averages=1_000,
        )
        self.bench = Bench(
            self.info.wavelengths_nm, DETECTOR, seed=seed, pace=pace, reflectance=reflectance
        )
        self.board = Board()
        """The board, whose shutter may be held open during a dark scan."""
        self._samples_taken = 0

    def expose(self, request: ScanRequest, number: int) -> Exposure:
        """Take one scan of darkness, of the white panel or of the next soil."""
        # Behind an open shutter, a dark scan sees the sample in the light of the room.
        room = request.kind is ScanKind.DARK and self.board.shutter is Held.ON
        sums, saturated = self.bench.sums(
            ScanKind.SAMPLE if room else request.kind,
            request.integration_us,
            request.averages,
            number=number,
            soil=self._samples_taken // self.bench.acquisitions,
            lamp=not room,
        )
        self._samples_taken += request.kind is ScanKind.SAMPLE
        # The link carries sums in 32 bits, which hold those of 1,000 averages of 65,535 counts.
        return Exposure(sums.astype(np.uint32), saturated, self.bench.temperature_c)

    def temperature_c(self) -> float:
        """Return the temperature of the bench."""
        return self.bench.temperature_c


class SimulatedHandheld(SimulatedDevice):
    """A `SimulatedSpectrometer` behind the ccnvr link, which can lose its power."""

    def __init__(self, spectrometer: SimulatedSpectrometer) -> None:
        self._spectrometer = spectrometer
        self._board = simulated_board()
        self._starts = -1
        super().__init__(spectrometer.bench)

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`."""
        return self._device.receive(data)

    def tick(self) -> None:
        """Let time pass."""
        self._device.tick()
        # The link may have fallen back to its first rate by itself (decision 0032).
        self.baud = self._device.baud

    def press(self) -> None:
        """Press the button."""
        self._device.press()

    def reset(self) -> None:
        """Restart.

        Kept scans, presses and what is held are lost; the boot counter goes on and the memory
        stays.
        """
        # The first call comes from the base class's __init__ and is not a restart.
        self._starts += 1
        info = self._spectrometer.info
        self._spectrometer.info = replace(info, boot=(info.boot + (self._starts > 0)) % 2**32)
        # The user memory and the coefficients survive a loss of power (PROTOCOL.md); the rest does
        # not.
        self._board = replace(self._board, lamp=Held.AUTOMATIC, shutter=Held.AUTOMATIC, presses=0)
        self._spectrometer.board = self._board
        self._device = Device(self._spectrometer, self._board)
        self.baud = self._device.baud


def make(seed: int, pace: float) -> SimulatedHandheld:
    """Return the simulator of driver `ccnvr`."""
    return SimulatedHandheld(
        SimulatedSpectrometer(synthetic_soils(20, seed), seed=seed, boot=new_boot(), pace=pace)
    )

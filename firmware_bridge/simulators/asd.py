"""A simulated ASD FieldSpec behind its TCP commands."""

from __future__ import annotations

import re

import numpy as np

from ccnvr.firmware_bridge.drivers.asd import HEADER_INTS, OPTIMISED, RESTORE, WAVELENGTHS
from ccnvr.firmware_bridge.simulators.bench import Bench, Detector, SimulatedDevice

_TABLE = {"VStartingWavelength": 350.0, "VEndingWavelength": 1_000.0, "SerialNumber": 18_140.0}
_COMMAND = re.compile(rb"RESTORE,1|OPT,7|A,1,(\d{1,4})")
_ADDRESS, _PORT = "127.0.0.1", "8080"
_STEP = 2  # an integration time of 17 ms x 2^2


class SimulatedFieldSpec(SimulatedDevice):
    """A simulated FieldSpec, which takes each piece that arrives for one command.

    Its commands have no end mark.
    """

    # The length of the banner depends on the address, as with the real instrument.
    greeting = f"Connected to {_ADDRESS} on port {_PORT}".ljust(
        47 + len(_ADDRESS) + len(_PORT)
    ).encode()

    def reset(self) -> None:
        """Restart; there are no settings to forget."""

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`."""
        match = _COMMAND.fullmatch(data)
        if match is None:
            return b""
        if data.startswith(b"RESTORE"):
            names = [name.encode() for name in _TABLE] + [b""] * (200 - len(_TABLE))
            # The table has a fixed size; entries that are not used are empty.
            values = [*_TABLE.values()] + [0.0] * (200 - len(_TABLE))
            return RESTORE.pack(100, 0, *names, *values, len(_TABLE), 0)
        if data.startswith(b"OPT"):
            return OPTIMISED.pack(100, 0, _STEP, 0, 0, 0, 0)
        return self._spectrum(max(1, int(match[1])))

    def _spectrum(self, averages: int) -> bytes:
        counts = self.bench.expose(17_000 * 2**_STEP, averages)
        header = np.zeros(HEADER_INTS, ">i4")
        # What the first word means is not known, and the driver ignores it.
        header[[0, 16, 17]] = 100, _STEP, averages
        top = self.bench.detector.saturation
        # A FieldSpec joins the spectra of its three detectors at 1000 and 1800 nm.
        thirds = (
            WAVELENGTHS <= 1_000,
            (WAVELENGTHS > 1_000) & (WAVELENGTHS <= 1_800),
            WAVELENGTHS > 1_800,
        )
        # The header states saturation for each of the three detectors.
        for index, detector in zip((20, 36, 52), thirds, strict=True):
            header[index] = np.any(counts[detector] >= top)
        return header.tobytes() + counts.astype(">f4").tobytes()


def make(seed: int, pace: float) -> SimulatedFieldSpec:
    """Return the simulator of driver `asd`."""
    # One acquisition is skipped, because the driver takes one to learn the integration time.
    return SimulatedFieldSpec(
        Bench(
            WAVELENGTHS,
            Detector(white_rate=0.65, dark_rate=0.001),
            seed=seed,
            pace=pace,
            has_lamp=False,
            skips=1,
        )
    )

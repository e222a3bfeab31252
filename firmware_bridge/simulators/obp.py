"""A simulated STS-NIR behind the Ocean Binary Protocol.

With `version=0x2000` it is an SR of the second generation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from ccnvr.firmware_bridge.drivers import obp
from ccnvr.firmware_bridge.framing import Damage, SlidingDecoder
from ccnvr.firmware_bridge.polled.instrument import wavelengths_nm
from ccnvr.firmware_bridge.polled.obp_frames import (
    ACK,
    ACK_WANTED,
    NACK,
    RESPONSE,
    ObpMessage,
    encode,
    next_message,
)
from ccnvr.firmware_bridge.simulators.bench import Bench, Detector, SimulatedDevice

PIXELS = 1_024
# In float32, as the instrument sends them: host and simulator then compute with equal numbers.
COEFFICIENTS = np.array([634.2, 0.4931, -1.8e-5, -3.0e-9], dtype="<f4")
WAVELENGTHS = wavelengths_nm(PIXELS, COEFFICIENTS.tolist())
# The converter of an STS has 14 bits.
SATURATION = 16_383
# The rates that the simulated instrument accepts.
_RATES = (9_600, 19_200, 38_400, 57_600, 115_200, 230_400)


class SimulatedOcean(SimulatedDevice):
    """A simulated Ocean instrument, which answers OBP messages of one version.

    With `offers_md5=False` it is an instrument that cannot send checksums.
    """

    def __init__(self, bench: Bench, version: int = 0x1100, offers_md5: bool = True) -> None:
        self._version, self._offers_md5 = version, offers_md5
        super().__init__(bench)

    def reset(self) -> None:
        """Restart."""
        self.baud = 9_600
        self._decoder = SlidingDecoder(next_message)
        self._protected, self._lamp = False, True
        self._integration_us, self._averages = 10_000, 1

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`; what is not a message is ignored."""
        messages = (event for event in self._decoder.feed(data) if not isinstance(event, Damage))
        return b"".join(self._answer(message) for message in messages)

    def _answer(self, request: ObpMessage) -> bytes:
        # The checksum of the reply is chosen before the request is carried out, which may change
        # it.
        protected, error, data = self._protected, 0, None
        if request.version != self._version:
            error = 1
        else:
            try:
                data = self._carry_out(request)
                error = 2 if data is None else 0
            # The message of the exception is the number of the error; see `_carry_out`.
            except ValueError as refusal:
                error = int(str(refusal))
        acknowledged = NACK if error else ACK if request.flags & ACK_WANTED else 0
        flags = RESPONSE | acknowledged
        return encode(
            ObpMessage(
                request.type, request.regarding, data or b"", flags, error, self._version, protected
            )
        )

    def _carry_out(self, request: ObpMessage) -> bytes | None:
        """Return the data of the reply; None for an unknown message.

        Raises:
            ValueError: the request is refused; the message is the number of the error.
        """
        common: dict[int, Callable[[bytes], bytes]] = {
            obp.SERIAL: lambda _: b"S12345\0\0",
            obp.CHECKSUM_TYPE: self._set_checksum,
            obp.SET_BAUD: self._set_baud,
            obp.LAMP: self._set_lamp,
        }
        return self._known(common, request) if request.type in common else self._own(request)

    def _own(self, request: ObpMessage) -> bytes | None:
        if self._version == 0x2000:
            return self._known(
                {
                    obp.SET_INTEGRATION_2: self._set_integration,
                    obp.COEFFICIENTS_2: lambda _: (
                        np.float32(COEFFICIENTS.size).tobytes() + COEFFICIENTS.tobytes()
                    ),
                    obp.SPECTRUM_2: lambda _: bytes(obp.METADATA_2) + self._spectrum(),
                    obp.SATURATION_2: lambda _: struct.pack("<I", SATURATION),
                },
                request,
            )
        return self._known(
            {
                obp.FIRMWARE: lambda _: struct.pack("<H", 0x0103),
                obp.SPECTRUM: lambda _: self._spectrum(),
                obp.SATURATION: lambda _: struct.pack("<I", SATURATION),
                obp.INTEGRATION: lambda _: struct.pack("<I", self._integration_us),
                obp.SHORTEST: lambda _: struct.pack("<I", 10),
                obp.LONGEST: lambda _: struct.pack("<I", 85_000_000),
                obp.SET_INTEGRATION: self._set_integration,
                obp.AVERAGES: lambda _: struct.pack("<H", self._averages),
                obp.SET_AVERAGES: self._set_averages,
                obp.PIXELS: lambda _: struct.pack("<H", PIXELS),
                obp.COEFFICIENT_COUNT: lambda _: bytes([COEFFICIENTS.size]),
                obp.COEFFICIENT: lambda data: COEFFICIENTS[data[0] : data[0] + 1].tobytes(),
                obp.TEMPERATURE: lambda _: struct.pack("<f", self.bench.temperature_c),
            },
            request,
        )

    @staticmethod
    def _known(commands: dict[int, Callable[[bytes], bytes]], request: ObpMessage) -> bytes | None:
        command = commands.get(request.type)
        try:
            return None if command is None else command(request.data)
        except (struct.error, IndexError):
            raise ValueError("5") from None

    def _spectrum(self) -> bytes:
        return (
            self.bench.expose(self._integration_us, self._averages, lamp=self._lamp)
            .astype("<u2")
            .tobytes()
        )

    def _set_checksum(self, data: bytes) -> bytes:
        if not self._offers_md5 or data not in (b"\0", b"\1"):
            raise ValueError("8")
        self._protected = data == b"\1"
        return b""

    def _set_baud(self, data: bytes) -> bytes:
        (rate,) = struct.unpack("<I", data)
        if rate not in _RATES:
            raise ValueError("6")
        self.baud = rate
        return b""

    def _set_lamp(self, data: bytes) -> bytes:
        self._lamp = bool(data[0])
        return b""

    def _set_integration(self, data: bytes) -> bytes:
        (value,) = struct.unpack("<I", data)
        if not 10 <= value <= 85_000_000:
            raise ValueError("6")
        self._integration_us = value
        return b""

    def _set_averages(self, data: bytes) -> bytes:
        (self._averages,) = struct.unpack("<H", data)
        return b""


def bench(seed: int = 1, pace: float = 0.0) -> Bench:
    """Return the lamp, samples and detector of a simulated STS-NIR."""
    detector = Detector(
        saturation=SATURATION,
        white_rate=1.1,
        dark_rate=0.002,
        dark_offset=1_500.0,
        fades_nm=1_080.0,
    )
    return Bench(WAVELENGTHS, detector, seed=seed, pace=pace)


def make(seed: int, pace: float) -> SimulatedOcean:
    """Return the simulator of driver `obp`."""
    return SimulatedOcean(bench(seed, pace))

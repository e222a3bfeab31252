"""A simulated USB2000+ behind its letter commands, in binary mode."""

from __future__ import annotations

from ccnvr.firmware_bridge.drivers.ooi import ACK, END, ETX, HEADER, MOST_ADDED, NAK, START, STX
from ccnvr.firmware_bridge.polled.instrument import wavelengths_nm
from ccnvr.firmware_bridge.simulators.bench import Bench, Detector, SimulatedDevice

PIXELS = 2_048
COEFFICIENTS = (339.7, 0.3792, -1.57e-5, -2.1e-9)
WAVELENGTHS = wavelengths_nm(PIXELS, COEFFICIENTS)
# Letters that are followed by a word, and the largest word of some of them.
_WITH_WORD = b"ABGIJKMPTk"
_HIGHEST = {"A": MOST_ADDED, "J": 1, "T": 4, "B": 15}


class SimulatedLetters(SimulatedDevice):
    """A simulated USB2000+, which answers each letter once its data have arrived.

    Whatever is not a command is answered with NAK.
    """

    def reset(self) -> None:
        """Restart."""
        self._pending = b""
        self._words = {"A": 1, "I": 10, "J": 1}

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`."""
        self._pending += data
        reply = b""
        while self._pending:
            letter, size = self._pending[:1], self._size()
            if len(self._pending) < size:
                return reply
            # A letter without data has the value 0.
            value, self._pending = (
                int.from_bytes(self._pending[1:size], "big"),
                self._pending[size:],
            )
            reply += self._answer(letter, value)
        return reply

    def _size(self) -> int:
        # These two select ASCII or binary mode, by a second letter.
        if self._pending[:1] in (b"a", b"b"):
            return 2
        return 3 if self._pending[0] in _WITH_WORD else 1

    def _answer(self, letter: bytes, value: int) -> bytes:
        if letter == b"v":
            return ACK + (1_000).to_bytes(2, "big")
        if letter == b"S":
            return self._spectrum()
        if letter in (b"a", b"b"):
            return ACK if value == letter.upper()[0] else NAK
        if letter[0] not in _WITH_WORD or value > _HIGHEST.get(letter.decode(), 65_535):
            return NAK
        self._words[letter.decode()] = value
        return ACK

    def _spectrum(self) -> bytes:
        added = max(1, self._words["A"])
        if added > MOST_ADDED:
            return ETX
        counts = self.bench.expose(1_000 * self._words["I"], added, lamp=bool(self._words["J"]))
        header = HEADER.pack(START, int(added > 1), added, self._words["I"], 0, 0, 0)
        # The instrument sends sums and leaves the division to the host, hence the double words.
        values = (counts * added).astype(">u4" if added > 1 else ">u2")
        return STX + header + values.tobytes() + END.to_bytes(2, "big")


def make(seed: int, pace: float) -> SimulatedLetters:
    """Return the simulator of driver `ooi`."""
    detector = Detector(white_rate=4.0, dark_rate=0.001, dark_offset=1_200.0, fades_nm=900.0)
    return SimulatedLetters(Bench(WAVELENGTHS, detector, seed=seed, pace=pace))

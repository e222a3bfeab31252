"""Scripted faults of a line and of an instrument, between a simulated device and its port.

A script is a list of `KIND[=AMOUNT]@WHEN`, separated by commas. WHEN counts the device's replies
from 1: `7` is the seventh, `7+` the seventh and all after it, `2/5` the second and every fifth
after it, and `10%` that share of them by chance. With `>` in front, a fault strikes what the host
sends, and counts that. An example is `flip@10%,stall=0.5@20,>drop@5,hangup@100`. The same seed
makes the same faults, for every simulator.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Protocol

from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.simulators.bench import Bench, SimulatedDevice

KINDS = {
    "drop": ("the reply is lost", 0.0),
    "flip": ("AMOUNT bits of it are inverted", 1.0),
    "duplicate": ("it comes twice", 0.0),
    "reorder": ("it comes after the next one", 0.0),
    "stall": ("it comes AMOUNT seconds late", 1.0),
    "truncate": ("its end is lost", 0.0),
    "garbage": ("AMOUNT random bytes come before it", 32.0),
    "hangup": ("the line is cut in the middle of it", 0.0),
    "reset": ("the device restarts in the middle of it", 0.0),
    "baud": ("the line runs at another rate: noise both ways", 0.0),
    "drip": ("it comes byte by byte, AMOUNT bytes per second", 1000.0),
    "lamp": ("the lamp is out from then on", 0.0),
    "saturation": ("the detector is flooded from then on", 0.0),
    "drift": ("the device warms by AMOUNT degrees C with each scan from then on", 1.0),
}
"""By kind, what the fault does, and its amount if none is given."""

# Faults of the instrument itself, which last from the reply that they strike.
_BENCH = ("lamp", "saturation", "drift")
# Faults that can strike what the host sends.
_UPWARD = ("drop", "flip", "duplicate", "truncate", "garbage")
# An item of a script: direction, kind, amount, first reply, and how it goes on.
_ITEM = re.compile(
    r"(?P<up>>?)(?P<kind>[a-z]+)(=(?P<amount>\d+(\.\d+)?))?@(?P<first>\d+)((?P<on>\+)|/(?P<every>\d+)|(?P<share>%))?"
)


@frozen
class Fault:
    """One item of a script.

    It strikes reply (or request) number `first`, then every `every`-th, or a `share` of all by
    chance.
    """

    kind: str
    amount: float
    first: int
    every: int = 0
    share: float = 0.0
    upward: bool = False

    def strikes(self, reply: int, source: random.Random) -> bool:
        """Return whether the fault strikes the reply of this number."""
        if self.share:
            return source.random() < self.share
        if self.every:
            return reply >= self.first and (reply - self.first) % self.every == 0
        return reply == self.first


@frozen
class Piece:
    """Bytes that leave `after_s` after the piece before; then the line may be cut."""

    data: bytes
    after_s: float = 0.0
    hang_up: bool = False


def parse(script: str) -> list[Fault]:
    """Return the faults of a script.

    Raises:
        UsageError: it is malformed.
    """
    return [_fault(item) for part in script.split(",") if (item := part.strip())]


def _fault(item: str) -> Fault:
    match = _ITEM.fullmatch(item)
    if match is None or match["kind"] not in KINDS:
        raise UsageError(
            f"fault {item!r} is not KIND[=AMOUNT]@WHEN, as in flip@10% or stall=0.5@7; kinds "
            f"are {', '.join(KINDS)}"
        )
    kind, first = match["kind"], int(match["first"])
    amount = float(match["amount"] or KINDS[kind][1])
    share = first / 100.0 if match["share"] else 0.0
    # A drip of no bytes a second would never end.
    possible = first >= 1 and share <= 1.0 and amount <= 1e6 and (kind != "drip" or amount > 0.0)
    if not possible:
        raise UsageError(
            f"fault {item!r} must count replies from 1, with a share up to 100 % and an amount up "
            "to a million; correct it"
        )
    if match["up"] and kind not in _UPWARD:
        raise UsageError(
            f"fault {item!r} cannot strike what the host sends; those that can are "
            f"{', '.join(_UPWARD)}"
        )
    every = 1 if match["on"] else int(match["every"] or 0)
    return Fault(kind, amount, first, every, share, bool(match["up"]))


class Answering(Protocol):
    """The least that a line needs of a device.

    Faults of the instrument itself need a `SimulatedDevice`.
    """

    @property
    def baud(self) -> int | None:
        """The rate that its port has now; None if any rate will do."""
        ...

    def tick(self) -> None:
        """Let time pass, which may change the rate."""
        ...

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to send back after `data`."""
        ...


class Line:
    """A device behind a line with faults: bytes of the host in, pieces for the host out."""

    def __init__(self, device: Answering, faults: list[Fault] | None = None, seed: int = 1) -> None:
        self.device = device
        self.requests = 0
        self.replies = 0
        """How many replies the device has given."""
        self.struck = 0
        """How often a fault has struck one."""
        self.faults = faults or []
        self._source = random.Random(seed)  # noqa: S311 - faults are to be repeatable, not secret
        self._held = b""

    def connect(self) -> bytes:
        """Return what the device says unasked to a host that has just connected."""
        return self.device.greeting if isinstance(self.device, SimulatedDevice) else b""

    def exchange(self, data: bytes) -> Iterator[Piece]:
        """Yield what the host gets in return for its bytes."""
        self.requests += 1
        data = self._on_the_way(data)
        # A wrong rate spoils both directions, so that it is decided before the device hears
        # anything.
        coming = self.replies + 1
        rolled = [
            fault
            for fault in self.faults
            if not fault.upward and fault.strikes(coming, self._source)
        ]
        if any(fault.kind == "baud" for fault in rolled):
            data = self._noise(len(data))
        for fault in rolled:
            # Before the device answers, so that this scan shows the fault already.
            if fault.kind in _BENCH and isinstance(self.device, SimulatedDevice):
                _set(self.device.bench, fault)
        reply = self.device.receive(data)
        self.struck += len(rolled)
        if not reply:
            return
        self.replies += 1
        # A reply that `reorder` held back follows the next one.
        late, self._held = self._held, b""
        pieces = [Piece(reply)]
        for fault in rolled:
            pieces = self._strike(fault, pieces)
        yield from pieces
        if late:
            yield Piece(late)

    def _on_the_way(self, data: bytes) -> bytes:
        """Return what the device hears of the host's bytes."""
        for fault in self.faults:
            if fault.upward and fault.strikes(self.requests, self._source):
                self.struck += 1
                data = self._damage(fault, data)
        return data

    def _strike(self, fault: Fault, pieces: list[Piece]) -> list[Piece]:
        """Return what becomes of a reply."""
        data = b"".join(piece.data for piece in pieces)
        match fault.kind:
            case "stall":
                return [Piece(data, fault.amount)]
            case "drip":
                return [Piece(data[i : i + 1], 1.0 / fault.amount) for i in range(len(data))]
            case "hangup":
                return [Piece(self._cut(data), hang_up=True)]
            case "reorder":
                self._held = data
                return []
            case "reset" if isinstance(self.device, SimulatedDevice):
                self.device.reset()
        return [Piece(self._damage(fault, data))]

    def _damage(self, fault: Fault, data: bytes) -> bytes:
        match fault.kind:
            case "drop":
                return b""
            case "flip":
                return self._flip(data, int(fault.amount))
            case "duplicate":
                return data + data
            case "truncate" | "reset":
                return self._cut(data)
            case "garbage":
                return self._noise(int(fault.amount)) + data
            case "baud":
                return self._noise(len(data))
        return data

    def _cut(self, data: bytes) -> bytes:
        return data[: self._source.randrange(len(data))] if data else b""

    def _noise(self, count: int) -> bytes:
        return self._source.randbytes(count)

    def _flip(self, data: bytes, bits: int) -> bytes:
        flipped = bytearray(data)
        for _ in range(bits if data else 0):
            position = self._source.randrange(8 * len(data))
            flipped[position // 8] ^= 1 << position % 8
        return bytes(flipped)


def _set(bench: Bench, fault: Fault) -> None:
    if fault.kind == "lamp":
        bench.lamp_works = False
    elif fault.kind == "saturation":
        bench.flooded = True
    else:
        bench.drift_c = fault.amount

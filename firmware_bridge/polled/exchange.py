"""Commands and answers with the instruments of other makers.

Here are time-outs, repeats and the way back into step. The ccnvr link has a session of its own,
`link/session.py`; all other protocols share this one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ccnvr.firmware_bridge.errors import InstrumentError, LinkLost
from ccnvr.firmware_bridge.framing import Damage, SlidingDecoder
from ccnvr.firmware_bridge.instrument import LinkStatistics
from ccnvr.firmware_bridge.transport import Transport

T = TypeVar("T")
F = TypeVar("F")

# With one reply in ten damaged, four tries fail once in ten thousand times.
ATTEMPTS = 4
"""An operation is given up after this many tries."""

# More than any reply that may still be on its way; beyond it, somebody else is talking.
_MOST_DISCARDED = 1 << 20


class Trouble(Exception):
    """A try that failed; `Exchange.insist` tries again, so that it never leaves a driver."""


class Silent(Trouble):
    """Nothing arrived in time, or not all of it."""


class Garbled(Trouble):
    """What arrived is not an answer to what was asked."""


class Denied(Trouble):
    """The instrument says that it cannot, perhaps because it received a damaged command."""


class Exchange:
    """A dialogue over `transport`: commands are sent, and their answers read.

    `timeout_s` is the longest silence within a reply that is waited for. `resynchronise` brings
    host and instrument back into step before an operation is repeated, and may use this exchange.
    """

    def __init__(
        self,
        transport: Transport,
        statistics: LinkStatistics,
        timeout_s: float,
        resynchronise: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.timeout_s = timeout_s
        self.wake_s = 0.0
        """How long resynchronising may take, if that is much."""
        self._statistics = statistics
        self._resynchronise = resynchronise
        self._arrived = bytearray()
        self._give_up = float("inf")
        # An earlier host may have left half a command in the instrument, or its answer on the line.
        self._in_step = False

    def insist(self, what: str, operation: Callable[[], T], busy_s: float = 0.0) -> T:
        """Carry out `operation`, and repeat it after `Trouble`.

        There are at most `ATTEMPTS` tries, which take no longer than `patience_s(busy_s)` together.
        `what` names the operation in messages; `busy_s` is the time that the instrument itself
        needs for it.

        Raises:
            LinkLost: the instrument fell silent, or what arrives makes no sense.
            InstrumentError: the instrument refused each time.
        """
        self._give_up = time.monotonic() + self.patience_s(busy_s)
        trouble: Trouble = Silent("nothing was tried")
        for attempt in range(ATTEMPTS):
            self._statistics.retries += attempt > 0
            try:
                if not self._in_step:
                    self.settle()
                    self._resynchronise()
                # Whatever interrupts the operation, even an exception from outside, leaves the
                # dialogue in the middle; only its end proves that both are still in step.
                self._in_step = False
                result = operation()
                self._in_step = True
                return result
            except Trouble as raised:
                trouble = raised
                self._statistics.frames_missing += isinstance(raised, Silent)
                self._statistics.frames_damaged += isinstance(raised, Garbled)
            if time.monotonic() >= self._give_up:
                break
        kind = InstrumentError if isinstance(trouble, Denied) else LinkLost
        raise kind(
            f"{what} failed on {self.transport.url}: {trouble}; check the instrument's power, the "
            "cable, the baud rate and driver= in the URL"
        ) from None

    def patience_s(self, busy_s: float = 0.0) -> float:
        """Return the longest time that an operation may take, all its tries together."""
        return ATTEMPTS * (4.0 * self.timeout_s + self.wake_s + busy_s)

    def send(self, data: bytes) -> None:
        """Send a command, and drop what arrived before it, which cannot be an answer to it."""
        while self._fill(0.0):
            pass
        # A second line end behind an answer belongs to that answer and is not a late reply.
        self._statistics.frames_stale += bool(self._arrived.strip())
        self._arrived.clear()
        self.transport.write(data)

    def settle(self) -> None:
        """Wait until the line has been quiet for a time-out, and drop what arrived."""
        dropped = 0
        while self._fill(min(self.timeout_s, self._give_up - time.monotonic())):
            dropped += len(self._arrived)
            self._arrived.clear()
            if dropped > _MOST_DISCARDED:
                raise Garbled(f"more than {_MOST_DISCARDED} unexpected bytes arrived")
        self._arrived.clear()

    def read_exactly(self, count: int, busy_s: float = 0.0) -> bytes:
        """Return the next `count` bytes; the instrument may first be busy for `busy_s`."""
        wait = self.timeout_s + busy_s
        while len(self._arrived) < count:
            if not self._fill(wait):
                raise Silent(f"only {len(self._arrived)} of {count} bytes arrived")
            wait = self.timeout_s
        return self._take(count)

    def read_until(self, end: bytes, limit: int, busy_s: float = 0.0) -> bytes:
        """Return the next bytes up to and without `end`, at most `limit` of them."""
        wait, searched = self.timeout_s + busy_s, 0
        while (found := self._arrived.find(end, max(0, searched - len(end)))) < 0:
            searched = len(self._arrived)
            if searched > limit:
                raise Garbled(f"{searched} bytes arrived without {end!r}")
            if not self._fill(wait):
                raise Silent(f"{searched} bytes arrived, but no {end!r}")
            wait = self.timeout_s
        return self._take(found + len(end))[:found]

    def read_frame(
        self, decoder: SlidingDecoder[F], wanted: Callable[[F], bool], busy_s: float = 0.0
    ) -> F:
        """Return the first frame that is `wanted`; others are late, and are counted and skipped."""
        wait, damage = self.timeout_s + busy_s, ""
        while True:
            for event in decoder.feed(self._take(len(self._arrived))):
                if isinstance(event, Damage):
                    damage = f"a damaged frame arrived ({event.reason})"
                elif wanted(event):
                    return event
                else:
                    self._statistics.frames_stale += 1
            # Only after all that has arrived was looked at: the answer may follow the noise.
            if damage:
                raise Garbled(damage)
            if not self._fill(wait):
                raise Silent("no frame arrived")
            wait = self.timeout_s

    def _take(self, count: int) -> bytes:
        taken = bytes(self._arrived[:count])
        del self._arrived[:count]
        return taken

    def _fill(self, wait_s: float) -> bool:
        """Add what arrives to the buffer; return False if nothing did."""
        remaining = self._give_up - time.monotonic()
        if remaining <= 0.0:
            return False
        data = self.transport.read(max(0.0, min(wait_s, remaining)))
        self._statistics.bytes_read += len(data)
        self._arrived += data
        return bool(data)

"""The rate of an instrument's serial line: when it changes, and when it falls back.

PROTOCOL.md, section 2, has the state diagram.
"""

from __future__ import annotations

from collections.abc import Callable

from ccnvr.firmware_bridge.link_constants import BAUD_FALLBACK_MS


class LineRate:
    """The rate that a port must have now, `baud`; `clock` returns the time in seconds."""

    def __init__(self, starting_baud: int, clock: Callable[[], float]) -> None:
        self.baud = starting_baud
        self._starting = self._next = starting_baud
        self._clock = clock
        self._unheard_since: float | None = None

    def change(self, baud: int) -> None:
        """Run at `baud` from the next tick on, because the reply still leaves at the old rate."""
        self._next = baud

    def hear(self, *, intelligible: bool) -> None:
        """Take note of bytes that arrived, and whether there was a whole frame among them."""
        if intelligible:
            self._unheard_since = None
        elif self._unheard_since is None:
            self._unheard_since = self._clock()

    def tick(self) -> bool:
        """Apply what is due by now; return whether the line fell back to its starting rate."""
        now = self._clock()
        if self.baud != self._next:
            # A host that never follows to the new rate must not strand the instrument there, so
            # the time runs from the change on.
            self.baud, self._unheard_since = self._next, now
        if self._unheard_since is None or now - self._unheard_since <= BAUD_FALLBACK_MS / 1000.0:
            return False
        self._unheard_since = None
        if self.baud == self._starting:
            return False
        self.baud = self._next = self._starting
        return True

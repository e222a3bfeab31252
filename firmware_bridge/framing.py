"""Frames in a byte stream: what a decoder reports, and the decoder that slides over a buffer.

A protocol whose frames have a start mark and a stated length supplies one function, which looks at
the beginning of a buffer; `SlidingDecoder` does the rest. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that form no frame.

    Damage is a value and not an exception, because noise is normal on a line. `reason` says which
    check failed. `found` is the number of bytes dropped; for some reasons, which their codec lists,
    it is the value of the byte that failed the check.
    """

    reason: str
    found: int


@dataclass(frozen=True, slots=True)
class Step(Generic[F]):
    """The content of the beginning of a buffer, and the number of its bytes."""

    event: F | Damage
    size: int

    @classmethod
    def over(cls, size: int, reason: str) -> Step[F]:
        """Return the step over `size` bytes in which no frame begins."""
        return cls(Damage(reason, size), size)


class SlidingDecoder(Generic[F]):
    """A decoder that turns a byte stream, cut anywhere, into frames and damage.

    `take_next` looks at the bytes received so far and returns its next step, or None while the
    frame at the beginning is incomplete. After damage the decoder goes on with the next byte, so
    that a frame inside a damaged one is found. It holds at most one frame, provided that
    `take_next` bounds the stated length.
    """

    def __init__(self, take_next: Callable[[bytearray], Step[F] | None]) -> None:
        self._take_next = take_next
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[F | Damage]:
        """Return what is complete after `data`, in order; no bytes make it raise."""
        self._buffer += data
        events: list[F | Damage] = []
        # Each step accounts for at least one byte, so the loop ends.
        while (step := self._take_next(self._buffer)) is not None:
            del self._buffer[: step.size]
            events.append(step.event)
        return events


def bytes_before(start: bytes, buffer: bytearray) -> int:
    """Return how many bytes precede the mark `start`, or the part of it that has arrived."""
    found = buffer.find(start)
    if found >= 0:
        return found
    partial = next((n for n in range(len(start) - 1, 0, -1) if buffer.endswith(start[:n])), 0)
    return len(buffer) - partial

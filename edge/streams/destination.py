"""Places that the daemon's records are delivered to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ccnvr.firmware_bridge.frozen import frozen

Deliver = Callable[[dict[str, Any]], None]
"""Takes one record."""

IDLE_S = 1.0


class Undelivered(Exception):
    """What was handed over last has not arrived, and the stream is to end; it comes again."""


@frozen
class Destination:
    """A place that records are delivered to.

    Attributes:
        name: the name of its cursor in the store.
        deliver: takes one record.
        settle: waits until all records that were taken have arrived, and raises `Undelivered` if
            the daemon ends before; None if they have arrived when `deliver` returns.
        stop: is told, from another thread, that the daemon ends, so that nothing waits for long.
        idle: is called every `IDLE_S` while there is no record, for news that no record brings;
            may raise `Undelivered` as `settle` does.
    """

    name: str
    deliver: Deliver
    settle: Callable[[], None] | None = None
    stop: Callable[[], None] | None = None
    idle: Callable[[], None] | None = None

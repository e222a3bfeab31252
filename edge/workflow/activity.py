"""The states of the daemon's work with an instrument, and the ways from one to the next.

docs/measuring.md draws them; a test compares the drawing with `WAYS`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from enum import Enum

_LOG = logging.getLogger(__name__)


class Activity(Enum):
    """What the daemon does with the instrument; each value is the sentence that `status` shows."""

    CONNECTING = "connecting to the instrument"
    RECOVERING = "reading scans that waited in the instrument"
    AWAITING_REFERENCES = "waiting for references"
    AWAITING_OPERATOR = "waiting for the operator"
    TAKING_REFERENCES = "taking references"
    CHECKING = "scanning the check sample"
    READY = "ready for the next scan"
    MEASURING = "scanning a sample"
    ENDED = "ended"


_A = Activity

WAYS: Mapping[Activity, frozenset[Activity]] = {
    _A.CONNECTING: frozenset({_A.RECOVERING, _A.ENDED}),
    _A.RECOVERING: frozenset(
        {_A.CONNECTING, _A.AWAITING_REFERENCES, _A.TAKING_REFERENCES, _A.READY, _A.ENDED}
    ),
    _A.AWAITING_REFERENCES: frozenset(
        {_A.CONNECTING, _A.AWAITING_OPERATOR, _A.TAKING_REFERENCES, _A.READY, _A.ENDED}
    ),
    _A.AWAITING_OPERATOR: frozenset(
        {
            _A.CONNECTING,
            _A.AWAITING_REFERENCES,
            _A.TAKING_REFERENCES,
            _A.CHECKING,
            _A.READY,
            _A.ENDED,
        }
    ),
    _A.TAKING_REFERENCES: frozenset(
        {_A.CONNECTING, _A.AWAITING_REFERENCES, _A.AWAITING_OPERATOR, _A.READY, _A.ENDED}
    ),
    _A.CHECKING: frozenset({_A.CONNECTING, _A.READY, _A.ENDED}),
    _A.READY: frozenset(
        {
            _A.CONNECTING,
            _A.AWAITING_REFERENCES,
            _A.AWAITING_OPERATOR,
            _A.TAKING_REFERENCES,
            _A.MEASURING,
            _A.ENDED,
        }
    ),
    _A.MEASURING: frozenset({_A.CONNECTING, _A.READY, _A.ENDED}),
    # After SIGHUP another round begins.
    _A.ENDED: frozenset({_A.CONNECTING}),
}
"""The states that may follow each state. Any state may follow itself."""


class ActivityLog:
    """The present state; the reader changes it, and others ask for it."""

    def __init__(self) -> None:
        self._present = Activity.CONNECTING
        self._lock = threading.Lock()

    @property
    def present(self) -> Activity:
        """The present state."""
        with self._lock:
            return self._present

    def change(self, to: Activity) -> None:
        """Go on to another state."""
        with self._lock:
            before, self._present = self._present, to
        if to is not before and to not in WAYS[before]:
            # An error of the program, but not one for which anybody's measuring should end.
            _LOG.error("state %s followed %s, which it must not; report this", to.name, before.name)

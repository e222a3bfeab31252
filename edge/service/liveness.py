"""What each thread of the daemon is doing, and by when it will have done it."""

from __future__ import annotations

import threading
import time


class Liveness:
    """The deadlines that threads set themselves; a thread that misses its own is stuck.

    Attributes:
        status: one sentence for whoever asks the service manager.
    """

    def __init__(self) -> None:
        self.status = ""
        # By name, because another round has threads of the same names, which take their place.
        self._due: dict[str, float] = {}
        self._lock = threading.Lock()

    def doing(self, within_s: float) -> None:
        """Declare that this thread will call again within so many seconds."""
        with self._lock:
            self._due[threading.current_thread().name] = time.monotonic() + within_s

    def waiting(self) -> None:
        """Declare that this thread waits for another one, or has ended."""
        with self._lock:
            self._due.pop(threading.current_thread().name, None)

    def late(self) -> list[str]:
        """Return the names of the threads that have missed their deadlines."""
        # Not the wall clock, which may be set while a thread is busy.
        now = time.monotonic()
        with self._lock:
            return [name for name, due in self._due.items() if due < now]

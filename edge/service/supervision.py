"""How the world outside steers and watches one run of the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ccnvr.edge.service.liveness import Liveness
from ccnvr.edge.service.notifier import Notifier
from ccnvr.edge.service.run_signals import RunSignals


class Supervision:
    """The signals of the process, the progress of its threads, and the service manager.

    Attributes:
        signals: what signals ask of the run.
        progress: what the threads are doing.
    """

    def __init__(self) -> None:
        self.signals = RunSignals()
        self.progress = Liveness()
        self._notifier = Notifier()

    @property
    def managed(self) -> bool:
        """Whether a service manager started this process, so that nobody may be there."""
        return self._notifier.managed

    @contextmanager
    def active(self) -> Iterator[None]:
        """Handle signals and report progress while the block runs."""
        with self.signals.handled(), self._notifier.watching(self.progress):
            yield

    def ready(self) -> None:
        """Tell the service manager that the daemon serves, or serves again after a reload."""
        self._notifier.send("READY=1")

    def reloading(self) -> None:
        """Tell the service manager that the configuration is being read again."""
        # sd_notify(3) asks for the time as well: by it systemd tells which READY=1 ends this
        # reload.
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

"""Messages to systemd, and the watchdog that it keeps (sd_notify(3), sd_watchdog_enabled(3))."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from ccnvr.edge.service.liveness import Liveness

_LOG = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 5.0
"""The longest time between two looks at progress and status, in s."""


class Notifier:
    """The sender of a service's state; does nothing where no service manager asked for it.

    Args:
        environment: the variables NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID of systemd.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte with which addresses outside the file system begin.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        # A child inherits the variables, but must not feed the watchdog in its parent's place.
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        given = environment.get("WATCHDOG_USEC", "") if mine else ""
        # `isdigit` alone also holds for superscripts, which `int` refuses.
        self.watchdog_s = int(given) / 1e6 if given.isascii() and given.isdigit() else 0.0
        """The time after which systemd takes a silent service for stuck, in s; 0 for none."""

    @property
    def managed(self) -> bool:
        """Whether a service manager started this process, so that nobody may be there."""
        return bool(self._address)

    def send(self, *assignments: str) -> None:
        """Send assignments such as `READY=1`; never waits, and loses what cannot be sent."""
        if not self._address:
            return
        # A socket for each message: the manager may make its own anew, as after daemon-reexec.
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        ):
            # A manager that does not read must not hold up the daemon.
            channel.setblocking(False)
            channel.sendto("\n".join(assignments).encode(), self._address)

    @contextmanager
    def watching(self, progress: Liveness) -> Iterator[None]:
        """Report progress and status while the block runs.

        The watchdog is fed only while no thread has missed the deadline that it set itself, so that
        a stuck daemon is started again.
        """
        finished = threading.Event()
        thread = threading.Thread(
            target=self._watch, args=(progress, finished), name="watchdog", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            finished.set()
            # Joined first, so that no status follows the end.
            thread.join()
            self.send("STOPPING=1")

    def _watch(self, progress: Liveness, finished: threading.Event) -> None:
        # Three times as often as it must be, since a busy computer may be late once or twice.
        pause = min(self.watchdog_s / 3 or _LONGEST_PAUSE_S, _LONGEST_PAUSE_S)
        told_status, told_late = "", False
        while True:
            late = progress.late()
            if late and not told_late:
                _LOG.error(
                    "%s has not moved for too long; the service manager is no longer told that all "
                    "is well",
                    " and ".join(late),
                )
            told_late = bool(late)
            if self.watchdog_s and not late:
                self.send("WATCHDOG=1")
            if progress.status != told_status:
                told_status = progress.status
                self.send(f"STATUS={told_status}")
            if finished.wait(pause):
                return

"""Lines on standard output that a stuck reader cannot hold up beyond the end of the run."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from ccnvr.edge.streams.destination import Undelivered

NAME = "standard output"
"""The name of standard output in its errors, which tells them from those of other files."""

_SLICE_BYTES = 4_096
"""PIPE_BUF: a pipe that is ready to be written to takes as many bytes at once without waiting."""

_LOOK_UP_MS = 200


_UNREAD = Undelivered(
    f"nobody read the last records from {NAME}; they come again at the next start"
)


class LineOutput:
    """A writer of lines to a file descriptor.

    It writes past Python's buffers, whose locks a blocked write would hold until the process is
    killed.

    Args:
        descriptor: the file descriptor.
        overdue: tells whether the run must end, so that no reader is waited for any longer.
    """

    def __init__(self, descriptor: int, overdue: Callable[[], bool]) -> None:
        self._descriptor = descriptor
        self._overdue = overdue
        # Files are always ready, pipes and terminals only if their readers read.
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, line: str) -> None:
        """Write a line and its end; waits for a slow reader.

        Raises:
            Undelivered: the run must end, and the reader has not taken the line.
            OSError: the descriptor cannot be written to; its file name is `NAME`.
        """
        if self._overdue():
            raise _UNREAD
        # Begun only in time: half a line would spoil the next run's first one.
        data = (line + "\n").encode()
        try:
            while data:
                if self._poll.poll(_LOOK_UP_MS):
                    data = data[self._put(data[:_SLICE_BYTES]) :]
                elif self._overdue():
                    raise _UNREAD
        except OSError as error:
            error.filename = NAME
            raise

    def _put(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            # Another process has set the descriptor, which it shares, to be non-blocking.
            time.sleep(_LOOK_UP_MS / 1e3)
            return 0

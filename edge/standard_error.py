"""Messages on standard error: one sentence a line, for a person or for systemd's journal."""

from __future__ import annotations

import os
import select
import sys
import threading

# The levels of `logging`, which most commands need for nothing else: importing it takes as long as
# reading a bundle's manifest.
INFO, WARNING, ERROR, CRITICAL = 20, 30, 40, 50

_DEBUG_PRIORITY = 7
_PRIORITIES = ((CRITICAL, 2), (ERROR, 3), (WARNING, 4), (INFO, 6))
"""Lowest level and syslog priority; see sd-daemon(3)."""


_LONGEST_LINE = 4_000
"""A line in bytes that a pipe takes at once where it takes anything; less than PIPE_BUF."""

_lock = threading.Lock()
_blocking = True
_lost = 0


def never_block() -> None:
    """Drop lines that standard error does not take at once, for the rest of the process.

    For a daemon: whoever reads its log and stops reading must not stop the measuring.
    """
    global _blocking
    _blocking = False


def tell(message: str, level: int = INFO) -> None:
    """Write a message as one line; the line is lost if standard error is closed or broken.

    On a terminal or in a file the line reads `ccnvr: MESSAGE`. Where systemd's journal reads
    standard error, the line starts with the priority of `level` instead, such as `<4>MESSAGE`.
    """
    if sys.stderr is None:
        discard()
    # One line: the journal would take each further line for a message of its own.
    text = " ".join(message.splitlines())
    line = f"<{_priority(level)}>{text}\n" if _to_journal() else f"ccnvr: {text}\n"
    if not _blocking and (descriptor := _descriptor()) is not None:
        _write_or_drop(descriptor, line)
        return
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except (OSError, ValueError):
        discard()


def _write_or_drop(descriptor: int, line: str) -> None:
    """Write a line if the descriptor takes it now; count it as lost if not."""
    global _lost
    with _lock:
        if _lost:
            line = line.replace("\n", f" ({_lost} earlier messages could not be written)\n")
        data = line.encode("utf-8", "replace")
        # A longer one could block half-way through.
        if len(data) > _LONGEST_LINE:
            data = data[: _LONGEST_LINE - 4] + b"...\n"
        # poll and not select, whose descriptors must be below 1024.
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        try:
            # Past Python's buffer, which would keep what was not written and try it again.
            ready = bool(poll.poll(0)) and os.write(descriptor, data) > 0
        except OSError:
            ready = False
        _lost = 0 if ready else _lost + 1


def _descriptor() -> int | None:
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return None  # a test or a program has put something without a file in its place


def discard() -> None:
    """Send everything that is written to standard error from now on to the null device.

    Without this, `print(..., file=sys.stderr)` writes to standard output where `sys.stderr` is
    None, and Python's last flush of a broken standard error replaces the exit code by 120.
    """
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process


def _priority(level: int) -> int:
    return next((priority for lowest, priority in _PRIORITIES if level >= lowest), _DEBUG_PRIORITY)


def _to_journal() -> bool:
    """Return whether the journal reads standard error.

    JOURNAL_STREAM holds the device and inode of the journal's socket. The variable alone proves
    nothing, because a terminal's shell inherits it from its user service; see systemd.exec(5).
    """
    stream = os.environ.get("JOURNAL_STREAM", "")
    if not stream:
        return False
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False  # no file behind standard error
    return stream == f"{status.st_dev}:{status.st_ino}"

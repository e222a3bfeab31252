"""The lock of a folder of slots, so that `ccnvr update` and the daemon change it in turn."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ccnvr.firmware_bridge.errors import CcnvrError

LOCK_FILE = ".slots.lock"
"""The file that is locked: one beside `slots.json`, which is renamed at each change."""

PATIENCE_S = 5.0
"""How long another process is waited for: writing a bundle to an SD card takes a second or two."""

_LOOK_EVERY_S = 0.02


@contextmanager
def locked(folder: Path, patience_s: float | None = None) -> Iterator[None]:
    """Keep other processes, and other threads of this one, from changing a folder of slots.

    The kernel releases the lock however the process ends. It is not to be taken twice in a row.

    Args:
        folder: the folder.
        patience_s: how long to wait for who holds it, in seconds; `PATIENCE_S` by default.

    Raises:
        CcnvrError: another process holds the lock all the time, or the lock's file
            cannot be opened, or the folder has no locks.
    """
    descriptor = _open(folder / LOCK_FILE)
    try:
        _lock(descriptor, folder, PATIENCE_S if patience_s is None else patience_s)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return _open_to_write_or_read(path)
    except OSError as error:
        # No link is followed, because someone else may have planted it in the folder.
        remedy = (
            "delete it, as it is a link"
            if error.errno == errno.ELOOP
            else f"allow this user to read it, or run this as a user who may write to {path.parent}"
        )
        raise CcnvrError(f"{path} cannot be opened ({error.strerror}); {remedy}") from error


def _open_to_write_or_read(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
    except PermissionError:
        if not os.path.lexists(path):
            raise
        # The file may be of another user, such as root, who brought the bundle. Reading suffices
        # for a lock; NFS alone asks for the right to write.
        return os.open(path, os.O_RDONLY | flags)


def _lock(descriptor: int, folder: Path, patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                raise CcnvrError(
                    f"another ccnvr update, or the daemon, has been changing {folder} for "
                    f"{patience_s:g} s; try again, and stop whichever hangs"
                ) from None
        except OSError as error:
            raise CcnvrError(
                f"{folder} cannot be locked ({error.strerror}); name a folder on a file system "
                "with locks"
            ) from error
        time.sleep(_LOOK_EVERY_S)

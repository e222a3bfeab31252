"""The lock that keeps a second daemon out, and the notice that a store was taken away."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ccnvr.edge.storage import wal
from ccnvr.edge.storage.trouble import StoreError, StoreMoved, explain

MODE = 0o640
"""A store holds where and when someone measured; others have no business with it."""


class OwnerLock:
    """An flock on the store's file itself, made if it does not exist.

    It lies on the file's inode, so that hard links, symbolic links and bind mounts of the file are
    one store. SQLite locks by fcntl, which on Linux does not meet flock. The kernel releases it
    however this process ends.

    Made before SQLite opens the file and closed after SQLite closed it: closing any descriptor of a
    file drops the locks that fcntl holds on it in this process.

    Raises:
        StoreError: another daemon holds the lock, or the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        except OSError as error:
            raise explain(path, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise StoreError(
                f"another daemon uses store {path}; stop it, or name another store"
            ) from None
        except OSError as error:
            self.close()
            raise StoreError(
                f"store {path} cannot be locked ({error.strerror}); name a store on a file system "
                "with locks"
            ) from error

    def start(self, length: int) -> bytes:
        """Return the first bytes of the file."""
        return os.pread(self._descriptor, length, 0)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)


class Whereabouts:
    """Where an open store's two files are, to notice that they are not there any more.

    SQLite goes on writing to a file that was deleted, and reports success.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # As text, because each commit looks here, and a path is turned into text each time.
        self._files = {str(file): _identity(str(file)) for file in (path, wal.path_of(path))}

    def check(self) -> None:
        """Check that both files are still those that were opened.

        Raises:
            StoreMoved: one of them was removed or replaced.
        """
        for file, known in self._files.items():
            if _identity(file) != known:
                raise StoreMoved(
                    f"store {self._path} was removed or replaced while ccnvr used it "
                    f"({Path(file).name} is not the file that was opened)"
                )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    # No other file can get this inode as long as SQLite holds the store open.
    return status.st_dev, status.st_ino

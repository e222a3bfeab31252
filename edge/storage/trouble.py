"""The errors of a store as sentences, by their cause, and whether they may pass by themselves."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from ccnvr.firmware_bridge.errors import CcnvrError

_PRIMARY = 0xFF
"""The bits of SQLite's error code that name the kind of error; the others name its place."""


class StoreError(CcnvrError):
    """The error for a store that cannot be opened, read or written."""


class StoreTrouble(StoreError):
    """An error that may pass by itself or by what a person does beside the daemon."""


class StoreDamaged(StoreError):
    """The error for a file that SQLite can no longer follow; `salvage` saves its records."""


class StoreMoved(StoreError):
    """The error for a file that was removed or replaced while it was open."""


SENTENCES = {
    errno.ENOSPC: "its disk is full; free disk space",
    errno.EDQUOT: "this user's disk quota is used up; free disk space or raise the quota",
    errno.EROFS: "its file system is read-only; mount it for writing, and check the disk if it "
    "became read-only by itself",
    errno.EIO: "the disk reports input/output errors; check the disk or memory card",
    errno.EBUSY: "another program has locked it; close that program",
}
"""What passes, and what to do about it."""


def explain(path: Path, error: sqlite3.Error | OSError) -> StoreError:
    """Return an error as a sentence that names the store, the cause and what to do."""
    number = _errno_of(path, error)
    if number is None:
        return damaged(path, str(error))
    if number in SENTENCES:
        return StoreTrouble(f"store {path} cannot be used: {SENTENCES[number]}")
    reason = os.strerror(number) if number else str(error)
    return StoreError(
        f"store {path} cannot be opened ({reason}); name one in a folder that you can write to"
    )


class ErrorsExplained:
    """The context in which an error of SQLite or the disk becomes one that says what to do.

    It may be entered again and again. A class and not a generator, because each commit enters it.

    Raises:
        StoreError: SQLite or the disk reported an error.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        """Explain the error, if there was one."""
        if isinstance(error, sqlite3.Error | OSError):
            raise explain(self._path, error) from error
        if isinstance(error, UnicodeDecodeError):
            # SQLite's own message quotes what it found in a damaged schema.
            raise damaged(self._path, "its schema is no text") from error


def damaged(path: Path, why: str) -> StoreDamaged:
    """Return the error for a file that SQLite cannot follow."""
    return StoreDamaged(
        f"store {path} is damaged ({why}); run ccnvr doctor {path} --repair, which keeps the "
        "damaged file"
    )


def _errno_of(path: Path, error: sqlite3.Error | OSError) -> int | None:
    """Return the system's number of an error, 0 if there is none, None if the file is damaged."""
    if isinstance(error, OSError):
        return error.errno or 0
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return None
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return errno.EBUSY
    if code == sqlite3.SQLITE_FULL:
        return errno.ENOSPC
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return probe(path) or (errno.EIO if code == sqlite3.SQLITE_IOERR else 0)
    return 0


def probe(path: Path) -> int:
    """Return the number of the error that a small file beside the store meets; 0 if it meets none.

    SQLite keeps the number to itself: it reports a read-only file system, a full one and a broken
    one alike.
    """
    beside = path.with_name(f".{path.name}.probe")
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A full disk may still take an empty file; only data and an fsync meet the error.
            os.pwrite(descriptor, bytes(4096), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            with suppress(OSError):
                beside.unlink()
    except OSError as error:
        return error.errno or 0
    return 0

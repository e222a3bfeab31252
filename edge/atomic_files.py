"""Files written so that a reader sees the old content or the new one, never a mixture."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ccnvr.firmware_bridge.errors import CcnvrError, UsageError

_NO_SYNC_OF_FOLDERS = (errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What a file system answers that cannot sync a folder, or a folder that may not be read."""


def check_writable(path: Path) -> None:
    """Check before long work that `write_atomically` can write a file, as far as can be foreseen.

    Raises:
        UsageError: there is something at `path` that is not a regular file, or its folder does not
            exist or cannot be written to.
    """
    folder = path.parent
    with _lookup_explained(path, "choose another"):
        _check_is_file(path)
        folder_mode = _mode(folder)
    if not stat.S_ISDIR(folder_mode):
        raise UsageError(
            f"{path} cannot be written because there is no folder {folder}; make it, or choose "
            "another"
        )
    # Only a forecast: the file system has the last word when the file is opened.
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"{path} cannot be written because this user may not write to {folder}; choose "
            "another folder"
        )


def check_absent(path: Path, option: str) -> None:
    """Check before long work that no file would be overwritten; `option` names `path`.

    Raises:
        UsageError: there is something at `path`, or that cannot be found out.
    """
    with _lookup_explained(path, f"give another {option}"):
        exists = _mode(path) != 0
    if exists:
        raise UsageError(f"{path} exists already; give another {option}, or delete it")


def is_same_file(path: Path, other: Path) -> bool:
    """Return whether two paths lead to the same existing file, possibly through links."""
    # Not by pathlib, which raises below a folder that may not be entered.
    return os.path.isfile(path) and os.path.isfile(other) and os.path.samefile(path, other)


def check_folder(folder: Path, option: str) -> None:
    """Check before long work that `make_folder` can make a folder; `option` names it.

    Raises:
        UsageError: the folder cannot be made or written to.
    """
    # The nearest folder above it that exists decides.
    with _lookup_explained(folder, f"give another folder for {option}"):
        there = next(place for place in (folder, *folder.absolute().parents) if _mode(place))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(
            f"{there} is not a folder that can be written to; give another folder for {option}"
        )


def make_folder(folder: Path, option: str = "--out") -> None:
    """Make a folder and those above it, unless it exists; `option` names it.

    Raises:
        UsageError: the folder cannot be made where it is named; see `check_folder`.
        CcnvrError: the disk is full, or fails.
    """
    check_folder(folder, option)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CcnvrError(
            f"{folder} cannot be made ({error.strerror}); give another {option}"
        ) from error


def _check_is_file(path: Path) -> None:
    if not path.name or ((mode := _mode(path)) and not stat.S_ISREG(mode)):
        raise UsageError(f"{str(path)!r} is not a file that can be written; name a file")


def _mode(path: Path) -> int:
    """Return the mode of what is at a path, 0 if there is nothing.

    Raises:
        OSError: that cannot be found out.
    """
    # Not by `Path.exists`, whose answers to the same error differ between versions of Python.
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


@contextmanager
def _lookup_explained(path: Path, remedy: str) -> Iterator[None]:
    """Turn the error of looking up a path that the user named into one that says what to do."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be used ({error.strerror}); {remedy}") from error


def remove_leftovers(folder: Path, files: str = "*") -> None:
    """Delete the temporary files of a `write_atomically` whose process was killed.

    Only for files that no other process writes: its temporary files would be deleted too.

    Args:
        folder: the folder.
        files: a pattern for the names of the files that were to be written.
    """
    for part in folder.glob(f".{files}.*.part"):
        part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where its file system can.

    Raises:
        OSError: the disk fails.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_FOLDERS:
            raise


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file for writing, and rename it to `path` when the block succeeds.

    The rename is durable when this returns, so that of two files the second is never there without
    the first, even after a power cut.

    Raises:
        UsageError: there is something at `path` that is not a regular file.
        CcnvrError: the folder cannot be written to, or the disk is full.
    """
    # In the same folder, because a rename is atomic only within one file system.
    beside = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        _check_is_file(path)
        with open(beside, "wb") as stream:
            yield stream
            stream.flush()
            # Before the rename: after a power cut the name must not lead to unwritten content.
            os.fsync(stream.fileno())
        os.replace(beside, path)
        # A file system may otherwise write two renames in any order.
        sync_folder(path.parent)
    except OSError as error:
        raise CcnvrError(
            f"{path} cannot be written ({error.strerror}); make the folder, free space, or choose "
            "another"
        ) from error
    finally:
        # What keeps it from being deleted kept it from being made, and was told.
        with suppress(OSError):
            beside.unlink()

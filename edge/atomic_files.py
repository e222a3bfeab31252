"""Writing files so that a reader sees the old one or the new one, never half of either."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ccnvr.firmware_bridge.errors import CcnvrError, UsageError


def check_writable(path: Path) -> None:
    """Before long work: whether `write_atomically` will be able to, as far as can be told without
    writing.

    Raises:
        UsageError: there is something at `path` that is no regular file.
        CcnvrError: its folder is not there, or cannot be written to.
    """
    _check_is_file(path)
    folder = path.parent
    if not folder.is_dir():
        raise CcnvrError(
            f"{path} cannot be written, for there is no folder {folder}; make it, or choose another"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CcnvrError(
            f"{path} cannot be written, for nobody may write to {folder} as this user; choose "
            "another folder"
        )


def check_absent(path: Path, option: str) -> None:
    """Before long work, where a file of the user's would be lost; `option` is what names it.

    Raises:
        UsageError: there is something at `path` already.
    """
    if path.exists():
        raise UsageError(f"{path} is there already; give another {option}, or delete it")


def is_same_file(path: Path, other: Path) -> bool:
    """Whether two paths lead to one file that is there, links and ways of writing them aside."""
    return path.is_file() and other.is_file() and path.samefile(other)


def check_folder(folder: Path, option: str) -> None:
    """Before long work, and without making it: whether `make_folder` will be able to; `option` is
    what names the folder.

    Raises:
        CcnvrError: the folder cannot be made or written to.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise CcnvrError(
            f"{there} is no folder that can be written to; give another folder for {option}"
        )


def make_folder(folder: Path, option: str = "--out") -> None:
    """Make a folder, and those above it, if it is not there; `option` is what names it.

    Raises:
        CcnvrError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CcnvrError(
            f"{folder} cannot be made ({error.strerror}); give another {option}"
        ) from error


def _check_is_file(path: Path) -> None:
    if not path.name or (path.exists() and not path.is_file()):
        raise UsageError(f"{str(path)!r} is no file that can be written; name a file")


def remove_leftovers(folder: Path) -> None:
    """What `write_atomically` was writing in a folder when its process was killed; for folders that
    nobody else writes to.
    """
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path`; when the block ends well, flush it to disk and rename it into
    place.

    Raises:
        UsageError: there is something at `path` that is no regular file, and must not be replaced
            by one.
        CcnvrError: the folder cannot be written to, or the disk is full.
    """
    _check_is_file(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise CcnvrError(
            f"{path} cannot be written ({error.strerror}); make the folder, free space, or choose "
            "another"
        ) from error
    finally:
        beside.unlink(missing_ok=True)

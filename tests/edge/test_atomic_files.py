"""Files are renamed into their place only when they are whole, and the rename is durable."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ccnvr.edge.atomic_files import (
    check_absent,
    check_folder,
    check_writable,
    is_same_file,
    write_atomically,
)
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from tests.support.modes import modes_hold


def record_calls(monkeypatch: pytest.MonkeyPatch, folder_error: int = 0) -> list[str]:
    """Record fsync and rename in their order; a folder's fsync fails with `folder_error`."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("sync folder" if is_folder else "sync file")
        if is_folder and folder_error:
            raise OSError(folder_error, os.strerror(folder_error))
        fsync(descriptor)

    def recorded_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    return calls


def test_content_then_name_then_folder_are_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = record_calls(monkeypatch)
    with write_atomically(tmp_path / "file") as stream:
        stream.write(b"content")
    assert calls == ["sync file", "rename", "sync folder"]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_file_system_without_sync_of_folders_is_written_to_and_a_failing_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        record_calls(patched, errno.EINVAL)
        with write_atomically(tmp_path / "file") as stream:
            stream.write(b"content")
    record_calls(monkeypatch, errno.EIO)
    with pytest.raises(CcnvrError, match="cannot be written"):  # noqa: SIM117
        with write_atomically(tmp_path / "file") as stream:
            stream.write(b"content")


@pytest.fixture(params=["a closed folder", "a name that is too long"])
def cannot_be_looked_up(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A path of which nobody can say what is there, and the reason."""
    if request.param != "a closed folder":
        return Path("/", "x" * 300), "File name too long"
    closed = tmp_path / "closed"
    closed.mkdir(0o000)
    return closed / "x.csv", "Permission denied"


@pytest.mark.parametrize(
    "check",
    [
        check_writable,
        partial(check_absent, option="--out"),
        partial(check_folder, option="--out"),
    ],
)
def test_what_cannot_be_looked_up_is_wrong_use(
    check: Callable[[Path], None], cannot_be_looked_up: tuple[Path, str]
) -> None:
    path, reason = cannot_be_looked_up
    told = pytest.raises(
        UsageError, match=rf"x(\.csv)? cannot be used \({reason}\); (choose|give) another"
    )
    with modes_hold(), told:
        check(path)


def test_what_cannot_be_looked_up_is_not_written(cannot_be_looked_up: tuple[Path, str]) -> None:
    path, reason = cannot_be_looked_up
    # No wrong use: a daemon's disk may come back.
    told = pytest.raises(CcnvrError, match=rf"cannot be written \({reason}\)")
    with modes_hold():
        assert not is_same_file(path, path)
        with told as refused, write_atomically(path):
            pass
    assert not isinstance(refused.value, UsageError)

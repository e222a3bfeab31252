"""Files are renamed into their place only when they are whole, and the rename is durable."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from ccnvr.edge.atomic_files import write_atomically
from ccnvr.firmware_bridge.errors import CcnvrError


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

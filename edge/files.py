"""Writing files so that a reader sees the old one or the new one, never half of either."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ccnvr.firmware_bridge.errors import CcnvrError, UsageError


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path`; when the block ends well, flush it to disk and rename it into place.

    Raises:
        UsageError: there is something at `path` that is no regular file, and must not be replaced by one.
        CcnvrError: the folder cannot be written to, or the disk is full.
    """
    if not path.name or (path.exists() and not path.is_file()):
        raise UsageError(f"{str(path)!r} is no file that can be written; name a file")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise CcnvrError(
            f"{path} cannot be written ({error.strerror}); make the folder, free space, or choose another"
        ) from error
    finally:
        beside.unlink(missing_ok=True)

"""The write-ahead log of a store, examined before SQLite sees it.

SQLite reads a log up to the first page whose checksum is wrong, and forgets the rest without a
word. Each page's checksum continues that of the page before it, and both are stored, so each page
behind a damaged one can still be proved by itself (https://www.sqlite.org/fileformat2.html,
section 4).
"""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

from ccnvr.firmware_bridge.frozen import frozen

# The variant whose checksums are little-endian, as SQLite writes it on little-endian computers.
_MAGIC = 0x377F0682
_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
_PAGE_SIZES = (512, 4096)
"""The page sizes of stores, tried where the log's own header is damaged."""

LARGEST_LOG = 256 << 20
"""The largest log in bytes that is examined. SQLite starts it anew at about 1 MB."""


@frozen
class Frame:
    """A page in the log: its number, whether a transaction ends with it, and its content."""

    page_number: int
    commits: bool
    page: bytes
    intact: bool


@frozen
class LogState:
    """What the log holds.

    Attributes:
        frames: the frames of the log's present round, in order; damaged ones too.
        readable: how many of them SQLite reads, which ends with a transaction.
    """

    frames: tuple[Frame, ...] = ()
    readable: int = 0

    @property
    def unreachable(self) -> tuple[Frame, ...]:
        """The frames from the first damaged one on; none if the log is whole.

        Intact frames without the end of their transaction were never committed, as a kill leaves
        them, and are no damage.
        """
        rest = self.frames[self.readable :]
        return rest if any(not frame.intact for frame in rest) else ()

    @property
    def transactions_unreachable(self) -> int:
        """The number of transactions that SQLite will not read; the last may be incomplete."""
        rest = self.unreachable
        whole = sum(frame.commits for frame in rest)
        return whole + bool(rest and not rest[-1].commits)


def path_of(store: Path) -> Path:
    """Return the path of a store's log."""
    return store.with_name(f"{store.name}-wal")


def examine(path: Path) -> LogState:
    """Return what a log holds; nothing if there is no such file.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_LOG)
    except FileNotFoundError:
        return LogState()
    header = _read_header(data)
    if header is not None:
        page_size, salts, checksum = header
        return _walk(data, page_size, salts, checksum)
    guesses = [_walk(data, size, _likely_salts(data, size), None) for size in _PAGE_SIZES]
    return max(guesses, key=lambda state: sum(frame.intact for frame in state.frames))


def _read_header(data: bytes) -> tuple[int, bytes, tuple[int, int]] | None:
    """Return page size, salts and checksum, or None if the header is damaged."""
    if len(data) < _HEADER_BYTES:
        return None
    magic, _, page_size = struct.unpack_from(">III", data)
    stored: tuple[int, int] = struct.unpack_from(">II", data, 24)
    if magic != _MAGIC or _checksum(data[:24], (0, 0)) != stored:
        return None
    return page_size, data[16:24], stored


def _likely_salts(data: bytes, page_size: int) -> bytes:
    """Return the salts that the log's first frames share."""
    step = page_size + _FRAME_HEADER_BYTES
    found = [data[start + 8 : start + 16] for start in range(_HEADER_BYTES, len(data), step)]
    # By majority, because the salts of a single frame may be damaged too.
    return Counter(found[:16]).most_common(1)[0][0] if found else b""


def _walk(data: bytes, page_size: int, salts: bytes, checksum: tuple[int, int] | None) -> LogState:
    """Read the frames that carry `salts`; `checksum` is the header's, or None if it is damaged."""
    frames: list[Frame] = []
    readable, chain_whole = 0, checksum is not None
    step = page_size + _FRAME_HEADER_BYTES
    for start in range(_HEADER_BYTES, len(data), step):
        head = data[start : start + _FRAME_HEADER_BYTES]
        page = data[start + _FRAME_HEADER_BYTES : start + step]
        if len(head) < _FRAME_HEADER_BYTES:
            break
        number, size_after, stored = (
            *struct.unpack_from(">II", head),
            struct.unpack(">II", head[16:]),
        )
        intact = (
            checksum is not None
            and len(page) == page_size
            and head[8:16] == salts
            and _checksum(head[:8] + page, checksum) == stored
        )
        # SQLite writes over the log from its beginning; what an earlier round left has other
        # salts. A frame whose salts alone are damaged is followed by more of this round.
        if not intact and head[8:16] != salts and not _goes_on(data, start + step, step, salts):
            break
        checksum = stored
        frames.append(Frame(number, size_after > 0, page, intact))
        chain_whole = chain_whole and intact
        if chain_whole and size_after > 0:
            readable = len(frames)
    return LogState(tuple(frames), readable)


def _goes_on(data: bytes, start: int, step: int, salts: bytes) -> bool:
    return any(data[later + 8 : later + 16] == salts for later in range(start, len(data), step))


def _checksum(data: bytes, start: tuple[int, int]) -> tuple[int, int]:
    """Return SQLite's checksum of `data`, which continues `start`."""
    first, second = start
    words = struct.unpack(f"<{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second

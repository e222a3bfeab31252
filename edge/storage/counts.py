"""The compact form of a scan's counts in the store, from which they return bit for bit.

Most instruments send the sum of several integer scans. These sums change little from pixel to
pixel, so their differences fill few bytes; zlib takes the rest out.
"""

from __future__ import annotations

import zlib
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

MOST_PIXELS = 1 << 20
"""The most counts that are decoded; it bounds what a damaged record can ask for."""

_ZLIB_HEADER, _STORED_BLOCK = b"\x78\x01", b"\0"

_MOST_STORED = 0xFFFF
"""The most bytes that a block of deflate can hold as they are."""

_MEMORY = 5
"""How much memory zlib takes, from 1 to 9; that of 8, its default, takes longer to clear."""

_SMALL = bytes((*range(32), *range(224, 256)))
"""The lowest bytes of differences from -32 to 31."""

_EVEN = bytes(range(0, 256, 2))


class CountsFormat(IntEnum):
    """How a record holds its counts."""

    RAW = 0
    """Little-endian float64, as schemas 1 and 2 stored them."""
    SUMS = 1
    """Counts times averages as int32: differences, bytes by significance, zlib."""
    FLOAT32 = 2
    """Little-endian float32, bytes by significance, zlib."""
    FLOAT64 = 3
    """Little-endian float64, bytes by significance, zlib."""


def encode(counts: NDArray[np.float64], averages: int) -> tuple[CountsFormat, bytes]:
    """Return the shortest format that gives `counts` (pixels,) back exactly, and their bytes."""
    exact = counts.astype("<f8", copy=False).tobytes()
    with np.errstate(invalid="ignore", over="ignore"):
        whole = np.rint(counts * averages).astype("<i4")
        # Compared after the conversion: whole numbers have no -0.0, and what does not fit them
        # becomes some other number.
        if (whole / averages).astype("<f8", copy=False).tobytes() == exact:
            return CountsFormat.SUMS, _pack_sums(whole)
        single = counts.astype("<f4")
    if single.astype("<f8").tobytes() == exact:
        return CountsFormat.FLOAT32, _pack(single)
    return CountsFormat.FLOAT64, _pack(counts.astype("<f8"))


def decode(form: int, data: bytes, averages: int) -> NDArray[np.float64]:
    """Return the counts (pixels,) that `encode` made `data` from.

    Raises:
        ValueError: the data are not in this format.
    """
    if form == CountsFormat.RAW:
        return np.frombuffer(data, "<f8")
    if form == CountsFormat.SUMS:
        sums = np.cumsum(_unpack(data, "<u4"), dtype="<u4").view("<i4")
        return sums / float(averages)
    if form not in (CountsFormat.FLOAT32, CountsFormat.FLOAT64):
        raise ValueError(f"{form} is not a format of counts")
    return _unpack(data, "<f4" if form == CountsFormat.FLOAT32 else "<f8").astype(np.float64)


def _pack_sums(whole: NDArray[np.int32]) -> bytes:
    # Unsigned, so that differences wrap around instead of overflowing.
    sums = whole.view("<u4")
    differences = sums.copy()
    np.subtract(sums[1:], sums[:-1], out=differences[1:])
    # Bytes of equal significance side by side: the high ones are nearly constant.
    plain = differences.tobytes()
    lowest, others = plain[::4], plain[1::4] + plain[2::4] + plain[3::4]
    if _is_noise(lowest):
        return _with_noise(lowest, others)
    # The end of a block gives the lowest bytes a code of their own. Without it, level 6 takes twice
    # as long and more bytes.
    deflater = zlib.compressobj(3, zlib.DEFLATED, zlib.MAX_WBITS, _MEMORY)
    first = deflater.compress(lowest) + deflater.flush(zlib.Z_BLOCK)
    return first + deflater.compress(others) + deflater.flush()


def _is_noise(lowest: bytes) -> bool:
    """Return whether the lowest bytes of differences take each value about equally often."""
    some = lowest[:: 1 + len(lowest) // 512]
    # Those of less noise are mostly small, and those of sums in even steps are mostly even.
    large, odd = len(some.translate(None, _SMALL)), len(some.translate(None, _EVEN))
    return 3 * large > 2 * len(some) and 3 * odd > len(some) and len(lowest) <= _MOST_STORED


def _with_noise(lowest: bytes, others: bytes) -> bytes:
    """Return bytes in zlib's format (RFC 1950 and 1951), those of noise as they are.

    No code shortens them, and zlib takes three times as long to find that out as for the others.
    """
    size = len(lowest)
    deflater = zlib.compressobj(3, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY)
    pieces = (
        _ZLIB_HEADER,
        _STORED_BLOCK,
        size.to_bytes(2, "little"),
        (size ^ 0xFFFF).to_bytes(2, "little"),
        lowest,
        deflater.compress(others) + deflater.flush(),
        zlib.adler32(others, zlib.adler32(lowest)).to_bytes(4, "big"),
    )
    return b"".join(pieces)


def _pack(values: NDArray[np.generic]) -> bytes:
    columns = values.view(np.uint8).reshape(-1, values.itemsize)
    return zlib.compress(columns.T.tobytes(), 6)


def _unpack(data: bytes, kind: str) -> NDArray[np.generic]:
    size = np.dtype(kind).itemsize
    inflater = zlib.decompressobj()
    try:
        # Bounded here, because a few bytes may be compressed gigabytes.
        plain = inflater.decompress(data, size * MOST_PIXELS)
    except zlib.error as error:
        raise ValueError(f"the counts cannot be decompressed ({error})") from error
    if not inflater.eof or len(plain) % size:
        raise ValueError("the counts are cut short")
    rows = np.frombuffer(plain, np.uint8).reshape(size, -1)
    return np.ascontiguousarray(rows.T).view(kind).reshape(-1)

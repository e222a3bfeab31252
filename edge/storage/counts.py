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
    exact = counts.astype("<f8").tobytes()
    with np.errstate(invalid="ignore", over="ignore"):
        sums = np.rint(counts * averages)
        if np.all(np.abs(sums) < 2.0**31):
            whole = sums.astype("<i4")
            # Compared after the conversion, because whole numbers have no -0.0.
            if (whole / averages).astype("<f8").tobytes() == exact:
                # Unsigned, so that differences wrap around instead of overflowing.
                differences = np.diff(whole.view("<u4"), prepend=np.zeros(1, "<u4"))
                return CountsFormat.SUMS, _pack(differences)
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


def _pack(values: NDArray[np.generic]) -> bytes:
    # Bytes of equal significance side by side: the high ones are nearly constant.
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

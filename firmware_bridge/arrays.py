"""Array types that the whole toolkit shares, and the median of an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""Spectra, values and whatever is computed from them, in double precision."""

Float32 = NDArray[np.float32]
"""Model inputs and outputs."""

Integers = NDArray[np.int64]
"""Row numbers, counts and groups."""


def median(values: NDArray[Any], axis: int = -1) -> Array:
    """Return the median of an array along an axis; NaN where a value is NaN, or there is none.

    `np.median` imports `numpy.ma` for its first array of floats, which takes a twentieth of the
    instructions of a short command.
    """
    last = values.shape[axis] - 1
    if last < 0:
        return np.full(values.sum(axis).shape, np.nan)
    middle = [last // 2, (last + 1) // 2]
    # The last one too, which is where NaN is put.
    ordered = np.partition(values, [*middle, last], axis=axis)
    found: Array = ordered.take(middle, axis).mean(axis)
    end = ordered.take(last, axis)
    return np.where(np.isnan(end), end, found)

"""Array types that the whole toolkit shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""Spectra, values and whatever is computed from them, in double precision."""

Float32 = NDArray[np.float32]
"""Model inputs and outputs."""

Integers = NDArray[np.int64]
"""Row numbers, counts and groups."""

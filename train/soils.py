"""What a library's reader returns: soils on one grid, before a part is chosen and properties are put in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Soils:
    """`spectra` is absorbance `(n, grid bands)`; `measured` maps a property to `(n,)` values, NaN where not measured.

    `train` marks the training part `(n,)` of a library that has official parts.
    """

    sample_ids: list[str]
    spectra: Array
    measured: dict[str, Array]
    train: NDArray[np.bool_] | None = None

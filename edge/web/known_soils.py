"""The reflectance of soils that a model knows, for the page to draw behind a spectrum."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ccnvr.edge.bundle import archive, family
from ccnvr.edge.bundle.archive import DEFAULT
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError


class KnownSoils:
    """The soils of a bundle's self-test, or of that of the family which serves an instrument.

    Args:
        bundle: the bundle as the configuration names it.
    """

    def __init__(self, bundle: str) -> None:
        self._bundle = bundle
        self._read = lru_cache(4)(self._read_soils)

    def __call__(self, wavelengths_nm: Array) -> tuple[Array, Array, Array] | None:
        """Return their wavelengths in nm, and lowest and highest reflectance, each `(bands,)`.

        None if nothing is known of them, since the page can do without.
        """
        try:
            named = self._bundle
            source = family.choose(wavelengths_nm).source if named == DEFAULT else named
            return self._read(source)
        except CcnvrError:
            return None

    @staticmethod
    def _read_soils(source: str) -> tuple[Array, Array, Array]:
        bundle = archive.read(source)
        soils = 10.0 ** -np.array(bundle.self_test().absorbance)
        grid = bundle.manifest.preprocessing.grid
        return grid.wavelengths(), soils.min(axis=0), soils.max(axis=0)

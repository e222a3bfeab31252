"""A few soils that a model knows, for the page to draw beside a spectrum."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from ccnvr.edge.bundle import archive, family
from ccnvr.edge.bundle.archive import DEFAULT
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError

MOST_SOILS = 5


class ExampleSoils:
    """The soils of a bundle's self-test, or of that of the family which serves an instrument.

    They show what a spectrum should look like. They are too few to tell the range of all soils that
    the model knows; whether it knows a spectrum is what the flag `out_of_domain` says.

    Args:
        bundle: returns the bundle that runs, as a configuration names it.
    """

    def __init__(self, bundle: Callable[[], str]) -> None:
        self._bundle = bundle
        # Kept, because the page asks again with each spectrum, and a bundle is read as a whole.
        self._read = lru_cache(4)(self._read_soils)

    def __call__(self, wavelengths_nm: Array) -> tuple[Array, Array] | None:
        """Return their wavelengths `(bands,)` in nm and reflectance `(soils, bands)`.

        None if there are none, since the page can do without.
        """
        try:
            named = self._bundle()
            source = family.choose(wavelengths_nm).source if named == DEFAULT else named
            # An update may put another bundle at the same place.
            place = Path(source)
            return self._read(source, place.stat().st_mtime_ns if place.is_file() else 0)
        except (CcnvrError, OSError):
            return None

    @staticmethod
    def _read_soils(source: str, changed_ns: int) -> tuple[Array, Array]:
        bundle = archive.opened(source)
        soils = 10.0 ** -np.array(bundle.self_test().absorbance[:MOST_SOILS])
        return bundle.manifest.preprocessing.grid.wavelengths(), soils

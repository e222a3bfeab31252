"""What the readers of instruments' files share: a spectrum as a file states it, and reads that
cannot leave the file.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Any

import numpy as np

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.frozen import frozen

MOST_POINTS = 100_000
"""More points than any spectrum has; bounds what a short file can make a reader allocate."""

MOST_SPECTRA = 4_096
"""In one file."""

# Micrometres that a file calls nanometres, for example, end up below this.
_SHORTEST_NM = 100.0


class Malformed(Exception):
    """A file is not what it should be, or holds what cannot be used.

    The text goes on after the file's name.
    """


class HoldsNoSpectrum(Malformed):
    """A sound file holds no spectrum of a sample, but for example a background."""


class AxisUnit(Enum):
    """The unit of a file's axis."""

    NANOMETRE = "nm"
    MICROMETRE = "um"
    WAVENUMBER = "1/cm"


@frozen
class RawSpectrum:
    """A spectrum as a file has it: `axis` and `values` are `(points,)`.

    `quantity` is one of `spectra_table.QUANTITIES`, or None where the file says reflectance but not
    on which scale. `notes` are the choices that the reader made.
    """

    axis: Array
    unit: AxisUnit
    values: Array
    quantity: str | None
    notes: tuple[str, ...] = ()

    def wavelengths_nm(self) -> tuple[Array, Array]:
        """Return `(wavelengths in nm, values)`, both by increasing wavelength.

        Raises:
            Malformed: the axis does not run one way through positive numbers, or holds no
                wavelengths.
        """
        if self.axis.shape != self.values.shape or not 2 <= self.axis.size <= MOST_POINTS:
            raise Malformed(
                f"has {self.axis.size} places on its axis and {self.values.size} values"
            )
        if not np.all(np.isfinite(self.axis)) or not np.all(self.axis > 0.0):
            raise Malformed("has an axis with values that are not positive numbers")
        step = np.diff(self.axis)
        if not (np.all(step > 0.0) or np.all(step < 0.0)):
            # A first step of 0 has no direction; 1 stands for it, so that this step is the one
            # reported.
            at = self.axis[int(np.argmax(np.sign(step) != (np.sign(step[0]) or 1.0)))]
            raise Malformed(
                f"has an axis that turns back at {at:g} {self.unit.value}; save it without "
                "overlap of the detectors"
            )
        if self.unit is AxisUnit.WAVENUMBER:
            nanometres = 1e7 / self.axis
        else:
            nanometres = self.axis * (1000.0 if self.unit is AxisUnit.MICROMETRE else 1.0)
        if nanometres.min() < _SHORTEST_NM:
            raise Malformed(
                f"has an axis that begins at {nanometres.min():g} nm by its unit, which no "
                "instrument measures; save it with the axis in its own unit"
            )
        increasing = slice(None) if nanometres[0] < nanometres[-1] else slice(None, None, -1)
        return nanometres[increasing], self.values[increasing]


def unpack(layout: str, data: bytes, offset: int) -> tuple[Any, ...]:
    """Return the `struct` fields at `offset`.

    Raises:
        Malformed: the file ends before them.
    """
    # Offsets come from the file itself. A negative one would count from the end of the data and
    # read something else without an error.
    if offset < 0 or offset + struct.calcsize(layout) > len(data):
        raise Malformed(f"ends at byte {len(data)}, within what should be at byte {offset}")
    return struct.unpack_from(layout, data, offset)


def numbers(dtype: str, count: int, data: bytes, offset: int) -> Array:
    """Return `count` numbers at `offset`, in double precision.

    Raises:
        Malformed: the file ends before them, or there are fewer than 2 or more than `MOST_POINTS`.
    """
    if not 2 <= count <= MOST_POINTS:
        raise Malformed(f"states {count} points, which no spectrum has")
    if offset < 0 or offset + count * np.dtype(dtype).itemsize > len(data):
        raise Malformed(f"states {count} points but ends before the last")
    return np.frombuffer(data, dtype, count, offset).astype(np.float64)

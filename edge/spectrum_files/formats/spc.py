"""Galactic (Thermo) SPC files, by the "Universal Data Format Specification" of Galactic Industries.

Read is the new format, little-endian, with one spectrum or several, evenly spaced or with an axis
of their own.
"""

from __future__ import annotations

import numpy as np

from ccnvr.edge.spectrum_files.formats.raw_spectrum import (
    MOST_SPECTRA,
    AxisUnit,
    Malformed,
    RawSpectrum,
    numbers,
    unpack,
)
from ccnvr.firmware_bridge.arrays import Array

_HEADER, _SUBHEADER = 512, 32
_NEW_LITTLE_ENDIAN = 0x4B
_OTHERS = {0x4C: "the big-endian format", 0x4D: "the SPC format from before 1996"}

_SHORT_INTEGERS, _SEVERAL, _OWN_AXES, _HAS_AXIS = 0x01, 0x04, 0x40, 0x80
_FLOATS = -128

_UNITS = {1: AxisUnit.WAVENUMBER, 2: AxisUnit.MICROMETRE, 3: AxisUnit.NANOMETRE}
# Absorbance, log(1/R), percent; reflectance comes without its scale.
_QUANTITIES = {2: "absorbance", 10: "absorbance", 11: "percent", 129: None}


def looks_like_spc(data: bytes) -> bool:
    """Whether the second byte is one of SPC's versions, which is weak evidence without the name."""
    return len(data) > 1 and data[1] in (_NEW_LITTLE_ENDIAN, *_OTHERS)


def read(data: bytes) -> list[RawSpectrum]:
    """Return all spectra of the file.

    Raises:
        Malformed: it is cut short or of another format, or its axis or its quantity is none that
            can be used.
    """
    flags, version, _, exponent, points, first, last, spectra = unpack("<BBBbiddi", data, 0)
    if version != _NEW_LITTLE_ENDIAN:
        raise Malformed(
            f"is in {_OTHERS.get(int(version), f'SPC version 0x{int(version):02x}')}; open it in "
            "the program that wrote it, or in GRAMS, and save it as new SPC or JCAMP-DX"
        )
    axis_type, value_type = (int(value) for value in unpack("<BB", data, 28))
    if axis_type not in _UNITS:
        raise Malformed(
            f"has an axis of SPC type {axis_type}; save it over wavelength in nm or um, or "
            "wavenumber"
        )
    if value_type not in _QUANTITIES:
        raise Malformed(
            f"has values of SPC type {value_type}; save reflectance, absorbance or log(1/R)"
        )
    if not 1 <= spectra <= MOST_SPECTRA:
        raise Malformed(f"states {spectra} spectra; 1 to {MOST_SPECTRA} can be read")
    offset, axis = _HEADER, None
    shared_axis = flags & (_HAS_AXIS | _OWN_AXES)
    if shared_axis == _HAS_AXIS:
        axis = numbers("<f4", points, data, offset)
        offset += 4 * axis.size
    found = []
    for _ in range(spectra):
        here, values, offset = _subfile(data, offset, flags, exponent, points, axis)
        if here is None:
            here = np.linspace(first, last, values.size)
        found.append(RawSpectrum(here, _UNITS[axis_type], values, _QUANTITIES[value_type]))
    return found


def _subfile(
    data: bytes, offset: int, flags: int, exponent: int, points: int, axis: Array | None
) -> tuple[Array | None, Array, int]:
    """Return axis, values and end of the spectrum whose header is at `offset`."""
    (own_exponent,) = unpack("<b", data, offset + 1)
    (own_points,) = unpack("<i", data, offset + 16)
    offset += _SUBHEADER
    if flags & _OWN_AXES:
        points = own_points
        axis = numbers("<f4", points, data, offset)
        offset += 4 * points
    if flags & _SEVERAL and exponent != _FLOATS:
        exponent = own_exponent
    if exponent == _FLOATS:
        return axis, numbers("<f4", points, data, offset), offset + 4 * points
    # Integers are fractions of 2 to the exponent.
    bits = 16 if flags & _SHORT_INTEGERS else 32
    values = numbers(f"<i{bits // 8}", points, data, offset) * 2.0 ** (exponent - bits)
    return axis, values, offset + points * bits // 8

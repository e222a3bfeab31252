"""ASD FieldSpec and LabSpec files (`.asd`), versions 1 to 8, by "ASD File Format version 8" of ASD
Inc.

A header of 484 bytes is followed by the target's spectrum, and from version 2 on by a reference
header and the white reference's spectrum in the same number format. Both are in the same units, so
reflectance is their ratio, as ASD's ViewSpec shows it, also where raw counts were saved.
"""

from __future__ import annotations

import numpy as np

from ccnvr.edge.spectrum_files.formats.raw_spectrum import (
    AxisUnit,
    Malformed,
    RawSpectrum,
    numbers,
    unpack,
)
from ccnvr.firmware_bridge.arrays import Array

MAGIC = (b"ASD", b"as2", b"as3", b"as4", b"as5", b"as6", b"as7", b"as8")

_HEADER = 484
_RAW, _REFLECTANCE = 0, 1
_KINDS = {2: "radiance", 4: "irradiance", 5: "a quality index", 6: "transmittance", 8: "absorbance"}
_NUMBERS = {0: "<f4", 1: "<i4", 2: "<f8"}
_RAW_NOTE = "raw counts are divided by the white reference in the file, as ViewSpec does"


def read(data: bytes) -> list[RawSpectrum]:
    """Return the file's reflectance.

    Raises:
        Malformed: it is cut short, holds neither reflectance nor raw counts, or raw counts without
            a white reference.
    """
    (kind,) = unpack("<B", data, 186)
    first_nm, step_nm, number_format = unpack("<ffB", data, 191)
    (channels,) = unpack("<H", data, 204)
    if kind not in (_RAW, _REFLECTANCE):
        raise Malformed(
            f"was saved as {_KINDS.get(kind, f'type {kind}')}; take a white reference and save "
            "reflectance"
        )
    if number_format not in _NUMBERS:
        raise Malformed(f"has number format {number_format}, which is none of 0, 1, 2")
    dtype, count = _NUMBERS[number_format], channels
    values = numbers(dtype, count, data, _HEADER)
    if data[:3] != b"ASD":
        values = values / _white_reference(data, dtype, count, kind)
    elif kind == _RAW:
        raise Malformed("was saved as raw counts; take a white reference and save reflectance")
    axis = first_nm + step_nm * np.arange(count, dtype=np.float64)
    notes = (_RAW_NOTE,) if kind == _RAW else ()
    return [RawSpectrum(axis, AxisUnit.NANOMETRE, values, "reflectance", notes)]


def _white_reference(data: bytes, dtype: str, count: int, kind: int) -> Array:
    """Return the white reference's spectrum, NaN where the detector saw nothing of it."""
    offset = _HEADER + count * np.dtype(dtype).itemsize
    if kind == _RAW and len(data) == offset:
        raise Malformed("was saved as raw counts; take a white reference and save reflectance")
    white = numbers(dtype, count, data, _after_reference_header(data, offset))
    if not np.any(white > 0.0):
        saved = "was saved as raw counts and " if kind == _RAW else ""
        raise Malformed(f"{saved}holds no white reference; take one and save reflectance")
    # A dead band is refused only where the model looks.
    return np.where(white > 0.0, white, np.nan)


def _after_reference_header(data: bytes, offset: int) -> int:
    """Return where the reference's spectrum begins: behind a flag of 2 bytes, two times of 8, and a
    text with a length of 2.
    """
    (length,) = unpack("<H", data, offset + 18)
    end: int = offset + 20 + length
    return end

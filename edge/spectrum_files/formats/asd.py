"""ASD FieldSpec and LabSpec files (`.asd`), versions 1 to 8, by "ASD File Format version 8" of ASD
Inc.

A header of 484 bytes, the target's spectrum, and from version 2 on a reference header and the white
reference's spectrum in the same number format. Both are in the same units, so reflectance is their
ratio.
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

MAGIC = (b"ASD", b"as2", b"as3", b"as4", b"as5", b"as6", b"as7", b"as8")

_HEADER = 484
_REFLECTANCE = 1
_KINDS = {0: "raw counts", 2: "radiance", 4: "irradiance", 6: "transmittance", 8: "absorbance"}
_NUMBERS = {0: "<f4", 1: "<i4", 2: "<f8"}


def read(data: bytes) -> list[RawSpectrum]:
    """The file's reflectance.

    Raises:
        Malformed: it is cut short, or was not saved as reflectance.
    """
    (kind,) = unpack("<B", data, 186)
    first_nm, step_nm, number_format = unpack("<ffB", data, 191)
    (channels,) = unpack("<H", data, 204)
    if kind != _REFLECTANCE:
        raise Malformed(
            f"was saved as {_KINDS.get(kind, f'type {kind}')}; take a white reference and save "
            "reflectance"
        )
    if number_format not in _NUMBERS:
        raise Malformed(f"has number format {number_format}, which is none of 0, 1, 2")
    dtype, count = _NUMBERS[number_format], channels
    values = numbers(dtype, count, data, _HEADER)
    if data[:3] != b"ASD":
        white = numbers(
            dtype,
            count,
            data,
            _after_reference_header(data, _HEADER + count * np.dtype(dtype).itemsize),
        )
        if not np.any(white > 0.0):
            raise Malformed("holds no white reference; take one and save reflectance")
        # A dead band of the reference becomes no number, which is refused only where the model
        # looks.
        values = values / white
    axis = first_nm + step_nm * np.arange(count, dtype=np.float64)
    return [RawSpectrum(axis, AxisUnit.NANOMETRE, values, "reflectance")]


def _after_reference_header(data: bytes, offset: int) -> int:
    """Behind a flag of 2 bytes, two times of 8, and a text with a length of 2."""
    (length,) = unpack("<H", data, offset + 18)
    end: int = offset + 20 + length
    return end

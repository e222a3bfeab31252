"""Bruker OPUS files. Bruker documents no format; this reads what the free readers agree on
(brukeropus 1.4.3 among them).

A header, a directory of blocks (type, length in 4-byte words, place), blocks of parameters and
blocks of values. A spectrum is a block of values and a block of parameters that have the same type
but for the field `parameters`.
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

MAGIC = b"\n\n\xfe\xfe"

_MOST_BLOCKS = 1_024
_MOST_PARAMETERS = 1_024

_UNITS = {"WN": AxisUnit.WAVENUMBER, "MI": AxisUnit.MICROMETRE}
# By the block type's field of content: log reflectance, absorbance, reflectance, in order of
# preference.
_QUANTITIES = {15: "absorbance", 4: "absorbance", 12: None}

# A block type's fields: complex 2 bits, origin 2, parameters 6, content 7, derivative 2, extension
# 3.
_PARAMETERS_SHIFT, _CONTENT_SHIFT = 4, 10
_PARAMETERS_MASK = 0x3F << _PARAMETERS_SHIFT
_DATA_PARAMETERS = 1 << _PARAMETERS_SHIFT
_RATIOED_AMPLITUDE = 0b1111
_TYPE_MASK = (1 << 22) - 1

Value = float | str


def read(data: bytes) -> list[RawSpectrum]:
    """The file's log reflectance or absorbance or reflectance, the first of them that it has.

    Raises:
        Malformed: it is cut short, has none of these, or several.
    """
    blocks = _directory(data)
    for content, quantity in _QUANTITIES.items():
        kind = _RATIOED_AMPLITUDE | content << _CONTENT_SHIFT
        values = [place for place, found in blocks if found == kind]
        parameters = [place for place, found in blocks if found == kind | _DATA_PARAMETERS]
        if len(values) > 1 or len(parameters) > 1:
            raise Malformed(
                f"holds {max(len(values), len(parameters))} spectra of one kind; save each in a "
                "file of its own"
            )
        if values and parameters:
            return [_spectrum(data, values[0], _parameters(data, parameters[0]), quantity)]
    raise Malformed(
        "holds no absorbance, reflectance or log(1/R) spectrum; save one of these in OPUS"
    )


def _spectrum(
    data: bytes, place: slice, parameters: dict[str, Value], quantity: str | None
) -> RawSpectrum:
    unit = _UNITS.get(str(parameters.get("DXU")))
    if unit is None:
        raise Malformed(
            f"has an axis in {parameters.get('DXU')!r}; save it over wavenumber (WN) or "
            "micrometres (MI)"
        )
    try:
        points = int(parameters["NPT"])
        first, last, scale = (float(parameters[name]) for name in ("FXV", "LXV", "CSF"))
    except (KeyError, ValueError, OverflowError) as error:
        raise Malformed(
            f"does not state its points, first and last place and scale ({error})"
        ) from None
    values = numbers("<f4", points, data[place], 0) * scale
    return RawSpectrum(np.linspace(first, last, values.size), unit, values, quantity)


def _directory(data: bytes) -> list[tuple[slice, int]]:
    """Place and type of each block."""
    start, _, count = unpack("<iii", data, 12)
    if not 0 < count <= _MOST_BLOCKS:
        raise Malformed(f"states {count} blocks; 1 to {_MOST_BLOCKS} can be read")
    blocks = []
    for number in range(count):
        kind, words, place = unpack("<Iii", data, start + 12 * number)
        if place <= 0:
            break
        if words < 0 or place + 4 * words > len(data):
            raise Malformed(f"states a block of {4 * words} bytes at byte {place} of {len(data)}")
        blocks.append((slice(place, place + 4 * words), kind & _TYPE_MASK))
    return blocks


def _parameters(data: bytes, place: slice) -> dict[str, Value]:
    """Names of three letters with an integer, a double or a text each."""
    block, offset = data[place], 0
    found: dict[str, Value] = {}
    while offset + 8 <= len(block) and len(found) < _MOST_PARAMETERS:
        name = block[offset : offset + 3].decode("latin-1")
        if name == "END":
            break
        kind, half_words = unpack("<hh", block, offset + 4)
        if half_words < 0:
            raise Malformed(f"states a length of {half_words} for its parameter {name!r}")
        if kind in (0, 1):
            (found[name],) = unpack("<i" if kind == 0 else "<d", block, offset + 8)
        else:
            text = block[offset + 8 : offset + 8 + 2 * half_words]
            found[name] = text.split(b"\0")[0].decode("latin-1")
        offset += 8 + 2 * half_words
    return found

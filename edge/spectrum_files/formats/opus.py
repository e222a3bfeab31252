"""Bruker OPUS files. Bruker documents no format; this reads what the free readers agree on
(brukeropus 1.4.3 among them).

A header is followed by a directory of blocks (type, length in 4-byte words, place), blocks of
parameters and blocks of values. A spectrum is a block of values and a block of parameters whose
types differ in the field `parameters` alone. Processing in OPUS, such as atmospheric compensation,
adds further blocks of the same content behind the first.
"""

from __future__ import annotations

import numpy as np

from ccnvr.edge.spectrum_files.formats.raw_spectrum import (
    AxisUnit,
    HoldsNoSpectrum,
    Malformed,
    RawSpectrum,
    numbers,
    unpack,
)

MAGIC = b"\n\n\xfe\xfe"

_MOST_BLOCKS = 1_024
_MOST_PARAMETERS = 1_024

_UNITS = {"WN": AxisUnit.WAVENUMBER, "MI": AxisUnit.MICROMETRE}
# By the block type's field of content, in order of preference.
_QUANTITIES = {15: "absorbance", 4: "absorbance", 12: None}
_CONTENTS = {15: "log reflectance", 4: "absorbance", 12: "reflectance"}

# A block type's fields: complex 2 bits, origin 2, parameters 6, content 7, derivative 2, extension
# 3. The extension counts blocks of one content.
_PARAMETERS_SHIFT, _CONTENT_SHIFT, _EXTENSION_SHIFT = 4, 10, 19
_DATA_PARAMETERS = 1 << _PARAMETERS_SHIFT
_RATIOED_AMPLITUDE = 0b1111
_TYPE_MASK = (1 << 22) - 1
_WITHOUT_EXTENSION = (1 << _EXTENSION_SHIFT) - 1
_SINGLE_CHANNELS = (0b0111, 0b1011)

Value = float | str


def read(data: bytes) -> list[RawSpectrum]:
    """Return the file's final log reflectance, absorbance or reflectance, the first that it has.

    Raises:
        Malformed: it is cut short, or has none of these.
    """
    blocks = _directory(data)
    for content, quantity in _QUANTITIES.items():
        kind = _RATIOED_AMPLITUDE | content << _CONTENT_SHIFT
        values, parameters = _of_kind(blocks, kind), _of_kind(blocks, kind | _DATA_PARAMETERS)
        if not values or not parameters:
            continue
        if len(values) != len(parameters):
            raise Malformed(
                f"holds {len(values)} spectra of one kind but {len(parameters)} blocks of "
                "parameters for them; save each spectrum in a file of its own"
            )
        notes: tuple[str, ...] = ()
        if len(values) > 1:
            notes = (
                f"of its {len(values)} {_CONTENTS[content]} spectra the last is read, which OPUS "
                "computed from the others",
            )
        return [_spectrum(data, values[-1], _parameters(data, parameters[-1]), quantity, notes)]
    if any(kind & 0b1111 in _SINGLE_CHANNELS for _, kind in blocks):
        raise HoldsNoSpectrum(
            "holds a background or a single-channel spectrum, and no absorbance, reflectance or "
            "log(1/R); save one of these in OPUS"
        )
    raise Malformed(
        "holds no absorbance, reflectance or log(1/R) spectrum; save one of these in OPUS"
    )


def _of_kind(blocks: list[tuple[slice, int]], kind: int) -> list[slice]:
    """Return the places of the blocks of one kind in the order in which OPUS added them."""
    found = [
        (block_kind >> _EXTENSION_SHIFT, place.start, place)
        for place, block_kind in blocks
        if block_kind & _WITHOUT_EXTENSION == kind
    ]
    return [place for _, _, place in sorted(found, key=lambda block: block[:2])]


def _spectrum(
    data: bytes,
    place: slice,
    parameters: dict[str, Value],
    quantity: str | None,
    notes: tuple[str, ...],
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
    return RawSpectrum(np.linspace(first, last, values.size), unit, values, quantity, notes)


def _directory(data: bytes) -> list[tuple[slice, int]]:
    """Return the place and the type of each block."""
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
    """Return a block of parameters: names of three letters with an integer, a double or a text."""
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

"""Spectra Vista files (`.sig`): `key= value` lines, `data=`, and columns of wavelength, reference,
target and reflectance in percent.
"""

from __future__ import annotations

import re

from ccnvr.edge.spectrum_files.formats.raw_spectrum import AxisUnit, Malformed, RawSpectrum
from ccnvr.edge.spectrum_files.formats.text_columns import columns, spliced

MAGIC = b"/*** Spectra Vista "

# The first of several records says what the software did last, as in
# factors= 0.795, 0.848, 1.000 [Overlap: Remove @ 970,1901, Matching Type: Radiance @ 976 - 1010]
_REMOVED = re.compile(r"Remove @ *(\d{3,4}(?:\.\d+)?) *, *(\d{3,4}(?:\.\d+)?)")


def read(data: bytes) -> list[RawSpectrum]:
    """Return the file's reflectance, with overlapping detectors spliced.

    Raises:
        Malformed: a part is missing.
    """
    lines = data.decode("latin-1").splitlines()
    start = next(
        (number for number, line in enumerate(lines) if line.replace(" ", "").lower() == "data="),
        None,
    )
    if start is None:
        raise Malformed("has no line 'data='")
    table = columns(lines, start + 1, 4)
    stated = next(filter(None, map(_REMOVED.search, lines[:start])), None)
    if stated is None:
        axis, values, notes = spliced(table[:, 0], table[:, 3])
    else:
        junctions = float(stated.group(1)), float(stated.group(2))
        axis, values, notes = spliced(table[:, 0], table[:, 3], junctions)
    return [RawSpectrum(axis, AxisUnit.NANOMETRE, values, "percent", notes)]

"""Text files with the spectrum in columns: Spectral Evolution (`.sed`) and Spectra
Vista (`.sig`).
"""

from __future__ import annotations

import numpy as np

from ccnvr.edge.spectrum_files.formats.raw_spectrum import (
    MOST_POINTS,
    AxisUnit,
    Malformed,
    RawSpectrum,
)
from ccnvr.firmware_bridge.arrays import Array

SIG_MAGIC = b"/*** Spectra Vista "

_SED_REFLECTANCE = {"Reflect. %": "percent", "Reflect. [1.0]": "reflectance"}


def looks_like_sed(data: bytes) -> bool:
    """Whether the head of a file is Spectral Evolution's."""
    return b"\nInstrument:" in data[:8_192] and b"\nMeasurement:" in data[:8_192]


def read_sed(data: bytes) -> list[RawSpectrum]:
    """A Spectral Evolution file: `Key: value` lines, `Data:`, a line of tab-separated names, and
    the columns.

    Raises:
        Malformed: a part is missing, or there is no column of reflectance.
    """
    lines = data.decode("latin-1").splitlines()
    start = next((number for number, line in enumerate(lines) if line.strip() == "Data:"), None)
    if start is None or start + 1 >= len(lines):
        raise Malformed("has no line 'Data:' with columns below it")
    names = [name.strip() for name in lines[start + 1].split("\t")]
    held = next((name for name in names if name in _SED_REFLECTANCE), None)
    if "Wvl" not in names or held is None:
        raise Malformed(
            f"has the columns {', '.join(names)[:200]!r}; save it with Wvl and 'Reflect. %' or "
            "'Reflect. [1.0]'"
        )
    columns = _columns(lines, start + 2, len(names))
    axis, values = columns[:, names.index("Wvl")], columns[:, names.index(held)]
    return [RawSpectrum(axis, AxisUnit.NANOMETRE, values, _SED_REFLECTANCE[held])]


def read_sig(data: bytes) -> list[RawSpectrum]:
    """A Spectra Vista file: `key= value` lines, `data=`, and wavelength, reference, target and
    reflectance in percent.

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
    columns = _columns(lines, start + 1, 4)
    return [RawSpectrum(columns[:, 0], AxisUnit.NANOMETRE, columns[:, 3], "percent")]


def _columns(lines: list[str], start: int, width: int) -> Array:
    """The numbers from line `start` on, `(rows, width)`."""
    rows = []
    for number, line in enumerate(lines[start:], start=start + 1):
        cells = line.split()
        if not cells:
            continue
        try:
            row = [float(cell) for cell in cells]
        except ValueError:
            raise Malformed(f"line {number} is {line[:40].strip()!r} and must be numbers") from None
        if len(row) != width:
            raise Malformed(f"line {number} has {len(row)} columns where {width} belong")
        rows.append(row)
        if len(rows) > MOST_POINTS:
            raise Malformed(f"has more than {MOST_POINTS} rows")
    return np.array(rows, dtype=np.float64).reshape(-1, width)

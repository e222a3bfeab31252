"""Spectral Evolution files (`.sed`): `Key: value` lines, `Data:`, a line of names, and columns."""

from __future__ import annotations

from ccnvr.edge.spectrum_files.formats.raw_spectrum import AxisUnit, Malformed, RawSpectrum
from ccnvr.edge.spectrum_files.formats.text_columns import columns, spliced
from ccnvr.edge.spectrum_files.messages import listed

# In order of preference. The ratio of target and reference is reflectance without the panel's own.
_REFLECTANCE: dict[str, str | None] = {
    "reflect. %": "percent",
    "reflect. [%]": "percent",
    "reflect. [1.0]": "reflectance",
    "reflect.": None,
    "reflectance": None,
    "tgt./ref. %": "percent",
    "tgt./ref. [%]": "percent",
    "tgt./ref. [1.0]": "reflectance",
    "tgt./ref.": "reflectance",
}
_WAVELENGTH = ("wvl", "wavelength", "wvl [nm]")
_TARGET, _REFERENCE = "(target)", "(ref.)"


def recognises(head: bytes) -> bool:
    """Whether the head of a file is Spectral Evolution's."""
    return b"\nInstrument:" in head and b"\nMeasurement:" in head


def read(data: bytes) -> list[RawSpectrum]:
    """Return the file's reflectance, or the ratio of its target and reference.

    Raises:
        Malformed: a part is missing, or no column is reflectance.
    """
    lines = data.decode("latin-1").splitlines()
    start = _start(lines)
    names = [name.strip() for name in lines[start + 1].split("\t")]
    lower = [name.lower() for name in names]
    axis = next((lower.index(name) for name in _WAVELENGTH if name in lower), None)
    held = next((name for name in _REFLECTANCE if name in lower), None)
    pair = _pair(lower)
    if axis is None or (held is None and pair is None):
        raise Malformed(
            f"has the columns {listed(names, 8)}; save it with Wvl and 'Reflect. %' or "
            "'Reflect. [1.0]'"
        )
    table = columns(lines, start + 2, len(names))
    notes: tuple[str, ...] = ()
    if held is not None:
        quantity, values = _REFLECTANCE[held], table[:, lower.index(held)]
    else:
        assert pair is not None
        target, reference = pair
        quantity, values = "reflectance", table[:, target] / table[:, reference]
        notes = (f"{names[target]} is divided by {names[reference]}",)
    places, values, splices = spliced(table[:, axis], values)
    return [RawSpectrum(places, AxisUnit.NANOMETRE, values, quantity, (*notes, *splices))]


def _start(lines: list[str]) -> int:
    """Return the number of the line before the names of the columns."""
    start = next((number for number, line in enumerate(lines) if line.strip() == "Data:"), None)
    if start is None or start + 1 >= len(lines):
        raise Malformed("has no line 'Data:' with columns below it")
    return start


def _pair(names: list[str]) -> tuple[int, int] | None:
    """Return the columns of a target and its reference in one quantity."""
    for column, name in enumerate(names):
        reference = name.replace(_TARGET, _REFERENCE)
        if _TARGET in name and reference in names:
            return column, names.index(reference)
    return None

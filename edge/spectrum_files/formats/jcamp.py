"""JCAMP-DX spectra, single or linked: `(X++(Y..Y))` in all its forms (free, packed, squeezed,
difference, with repeats) and `(XY..XY)`. By McDonald & Wilks 1988, Applied Spectroscopy 42:151-162.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ccnvr.edge.spectrum_files.formats.raw_spectrum import (
    MOST_POINTS,
    MOST_SPECTRA,
    AxisUnit,
    Malformed,
    RawSpectrum,
)
from ccnvr.edge.spectrum_files.messages import shown
from ccnvr.firmware_bridge.arrays import Array

_UNITS = (
    (re.compile(r"1/CM|CM\^?-1|CM\(-1\)|WAVENUMBER"), AxisUnit.WAVENUMBER),
    (re.compile(r"MICROMET|MICRON|^[UµΜ]M$|\([UµΜ]M\)"), AxisUnit.MICROMETRE),
    (re.compile(r"NANOMET|^NM$|\(NM\)|,NM$"), AxisUnit.NANOMETRE),
)
_QUANTITIES = {
    "ABSORBANCE": "absorbance",
    "ABS": "absorbance",
    "LOG(1/R)": "absorbance",
    "LOG1/R": "absorbance",
    "LOG10(1/R)": "absorbance",
    "%REFLECTANCE": "percent",
    "PERCENTREFLECTANCE": "percent",
    "REFLECTANCE(%)": "percent",
    "REFLECTANCE[%]": "percent",
    "%R": "percent",
    "REFLECTANCE": None,
}

# A pseudo-digit is a first digit and a sign, and for @A-Ia-i and %J-Rj-r what kind of number it
# begins.
_SQUEEZED = "ihgfedcba@ABCDEFGHI"
_DIFFERENCE = "rqponmlkj%JKLMNOPQR"
_REPEAT = "STUVWXYZs"

# An exponent must have its sign: E alone is a squeezed 5.
_TOKEN = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]\d{1,3})?|[@A-Ia-i]\d*|[%J-Rj-r]\d*|[S-Zs]\d*"
)
_SEPARATORS = " \t,;"

_TITLE = re.compile(rb"\s*##\s*TITLE\s*=", re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"([+-]?\d+),(\d+)")
_NUMBERS = ("FIRSTX", "LASTX", "DELTAX", "XFACTOR", "YFACTOR", "MINX", "MAXX", "FIRSTY")

Labels = dict[str, str]


def recognises(head: bytes) -> bool:
    """Whether the head of a file is that of JCAMP-DX; blanks in its labels do not count."""
    return _TITLE.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


def read(data: bytes) -> list[RawSpectrum]:
    """Return all spectra of the file.

    Raises:
        Malformed: a label is missing, a unit is unknown, or the values are not those
            that were stated.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    found = [_spectrum(labels, lines) for labels, lines in _blocks(text)]
    if not found:
        raise Malformed("holds no XYDATA or XYPOINTS")
    return found


def _blocks(text: str) -> Iterator[tuple[Labels, list[str]]]:
    """Give the labels and the lines of values of each block that has values."""
    labels: Labels = {}
    values: list[str] | None = None
    blocks = 0
    for line in text.splitlines():
        line = line.split("$$")[0].rstrip()
        if not line.startswith("##"):
            if values is not None and line.strip():
                values.append(line)
            continue
        if values:
            blocks += 1
            if blocks > MOST_SPECTRA:
                raise Malformed(
                    f"holds more than {MOST_SPECTRA} spectra; save them in several files"
                )
            yield labels, values
        name, _, value = line[2:].partition("=")
        name = re.sub(r"[\s/_-]", "", name).upper()
        labels = {} if name == "TITLE" else labels
        labels[name] = value.strip()
        values = [] if name in ("XYDATA", "XYPOINTS") else None
    if values:
        raise Malformed("ends within its values, without ##END")


def _spectrum(labels: Labels, lines: list[str]) -> RawSpectrum:
    if not any(_COMMA_NUMBER.fullmatch(labels.get(name, "")) for name in _NUMBERS):
        try:
            return _spectrum_with_points(labels, lines)
        except Malformed:
            # The labels may be whole numbers in a file with decimal commas.
            if not any(_COMMA_NUMBER.search(line) for line in lines):
                raise
            with suppress(Malformed):
                return _with_commas(labels, lines)
            raise
    return _with_commas(labels, lines)


def _with_commas(labels: Labels, lines: list[str]) -> RawSpectrum:
    """Return the spectrum of a file whose numbers have decimal commas, against the standard."""
    labels = {
        name: value.replace(",", ".") if _COMMA_NUMBER.fullmatch(value) else value
        for name, value in labels.items()
    }
    lines = [_COMMA_NUMBER.sub(r"\1.\2", line) for line in lines]
    found = _spectrum_with_points(labels, lines)
    return replace(found, notes=("numbers are read with decimal commas",))


def _spectrum_with_points(labels: Labels, lines: list[str]) -> RawSpectrum:
    unit = _unit(labels)
    quantity = re.sub(r"\s", "", labels.get("YUNITS", "")).upper()
    if quantity not in _QUANTITIES:
        raise Malformed(
            f"has YUNITS {shown(labels.get('YUNITS'))}; save REFLECTANCE, ABSORBANCE or LOG(1/R)"
        )
    layout = re.sub(r"\s", "", labels.get("XYDATA", labels.get("XYPOINTS", ""))).upper()
    if layout == "(XY..XY)":
        axis, values = _pairs(lines)
        axis = axis * _number(labels, "XFACTOR", 1.0)
    elif layout == "(X++(Y..Y))":
        axis, values = _evenly_spaced(labels, lines)
    else:
        raise Malformed(f"has its values as {shown(layout)}; save them as (X++(Y..Y)) or (XY..XY)")
    if "NPOINTS" in labels and _number(labels, "NPOINTS") != values.size:
        raise Malformed(f"states {_number(labels, 'NPOINTS'):g} points and has {values.size}")
    return RawSpectrum(axis, unit, values * _number(labels, "YFACTOR", 1.0), _QUANTITIES[quantity])


def _unit(labels: Labels) -> AxisUnit:
    stated = re.sub(r"\s", "", labels.get("XUNITS", "")).upper()
    for pattern, unit in _UNITS:
        if pattern.search(stated):
            return unit
    raise Malformed(
        f"has XUNITS {shown(labels.get('XUNITS'))}; save it in 1/CM, NANOMETERS or MICROMETERS"
    )


def _number(labels: Labels, name: str, default: float | None = None) -> float:
    try:
        value = float(labels[name]) if default is None else float(labels.get(name, default))
    except (KeyError, ValueError):
        stated = f" but {shown(labels[name])}" if name in labels else ""
        raise Malformed(f"has no number in ##{name}{stated}") from None
    if not np.isfinite(value):
        raise Malformed(f"has ##{name}={shown(labels[name])}, which is not a number")
    return value


def _pairs(lines: list[str]) -> tuple[Array, Array]:
    numbers = [value for line in lines for value in _decode(line)[0]]
    if len(numbers) % 2:
        raise Malformed("has an X without its Y")
    pairs = np.array(numbers).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _evenly_spaced(labels: Labels, lines: list[str]) -> tuple[Array, Array]:
    first, last, points = (_number(labels, name) for name in ("FIRSTX", "LASTX", "NPOINTS"))
    if not 2 <= points <= MOST_POINTS:
        raise Malformed(f"states {points:g} points, which no spectrum has")
    step, factor = (last - first) / (points - 1), _number(labels, "XFACTOR", 1.0)
    values: list[float] = []
    check = False
    for line in lines:
        (x, *ys), ends_in_difference = _decode(line)
        if check:
            # After a difference the next line repeats the last value, to show that none was lost.
            if not ys or ys[0] != values[-1]:
                raise Malformed(
                    f"loses its sums at {x * factor:g}: {ys[0] if ys else 'nothing'} where "
                    f"{values[-1]} belongs"
                )
            values.pop()
        if abs(x * factor - (first + step * len(values))) > abs(step) + abs(factor) / 2:
            raise Malformed(
                f"has a line at {x * factor:g} where {first + step * len(values):g} belongs"
            )
        values += ys
        if len(values) > points:
            raise Malformed(f"states {points:g} points and has more")
        check = ends_in_difference
    return np.linspace(first, last, int(points)), np.array(values)


def _decode(line: str) -> tuple[list[float], bool]:
    """Return a line's numbers, and whether the last one was written as a difference."""
    numbers: list[float] = []
    difference: float | None = None
    position = 0
    while position < len(line):
        if line[position] in _SEPARATORS:
            position += 1
            continue
        token = _TOKEN.match(line, position)
        if token is None:
            raise Malformed(f"has {shown(line[position : position + 20])} among its values")
        text = token.group()
        if text[0] in _REPEAT:
            times = int(str(_REPEAT.index(text[0]) + 1) + text[1:6]) - 1
            if not numbers or len(text) > 6 or len(numbers) + times > MOST_POINTS:
                raise Malformed(f"repeats a value as {text[:20]!r}")
            for _ in range(times):
                numbers.append(numbers[-1] + (difference or 0.0))
        elif text[0] in _DIFFERENCE:
            if len(numbers) < 2:
                raise Malformed("begins a line with a difference")
            difference = _pseudo(text, _DIFFERENCE)
            numbers.append(numbers[-1] + difference)
        else:
            difference = None
            numbers.append(_pseudo(text, _SQUEEZED) if text[0] in _SQUEEZED else float(text))
        position = token.end()
    if not numbers:
        raise Malformed("has an empty line among its values")
    return numbers, difference is not None


def _pseudo(text: str, digits: str) -> float:
    value = digits.index(text[0]) - 9
    return float(f"{'-' if value < 0 else ''}{abs(value)}{text[1:]}")

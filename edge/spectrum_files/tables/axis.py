"""What the numbers on a table's axis can mean.

A number between 350 and 2500 may be a wavelength in nm, a wavenumber in cm-1 of the mid-infrared or
the number of a band. A table is read only if its numbers can mean one thing, or if the file or the
user says which.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

from ccnvr.edge.spectrum_files.formats.raw_spectrum import AxisUnit
from ccnvr.firmware_bridge.arrays import Array

UNITS = {
    "nm": AxisUnit.NANOMETRE,
    "um": AxisUnit.MICROMETRE,
    "wavenumber": AxisUnit.WAVENUMBER,
}
"""The choices of the option `--axis`."""

# No air path lets shorter wavelengths through, and no Vis-NIR detector sees longer ones.
_SHORTEST_NM, _LONGEST_NM = 150.0, 2_700.0
_LONGEST_FOURIER_NM = 3_000.0
_LARGEST_MICROMETRE = 100.0
_LIMITS = {
    AxisUnit.NANOMETRE: (_SHORTEST_NM, 1e6),
    AxisUnit.MICROMETRE: (0.15, 1e3),
    AxisUnit.WAVENUMBER: (10.0, 1e7 / _SHORTEST_NM),
}

# Fourier-transform spectrometers sample by a helium-neon laser: their bands lie at whole multiples
# of its 15,798 cm-1 over a power of two.
_LASER_PER_CM = 15_798.0
_LASER_DIVISORS = 2.0 ** np.arange(8, 17)
_FEWEST_SAMPLED = 16


class Claim(Enum):
    """What a name says of its number besides that it is a place on an axis."""

    NANOMETRE = "nm"
    MICROMETRE = "um"
    WAVENUMBER = "cm-1"
    WAVELENGTH = "a wavelength"
    COUNT = "a count"
    UNKNOWN = "unknown"
    NOTHING = "nothing"


_STATED = {
    Claim.NANOMETRE: AxisUnit.NANOMETRE,
    Claim.MICROMETRE: AxisUnit.MICROMETRE,
    Claim.WAVENUMBER: AxisUnit.WAVENUMBER,
}


class NotAnAxis(Exception):
    """Numbers cannot be read as an axis; the text says why and what to do, after `where`."""


def understand(
    numbers: Array, claim: Claim, option: AxisUnit | None = None
) -> tuple[AxisUnit, bool]:
    """Return what distinct numbers are, and whether the file or the user states it.

    Raises:
        NotAnAxis: they can be several things, or nothing that is known.
    """
    ordered = np.sort(numbers)
    span = f"{ordered[0]:g} to {ordered[-1]:g}"
    if _counts(ordered):
        raise NotAnAxis(
            f"count the bands ({span} in steps of 1) and are no wavelengths, since no instrument "
            f"measures at {ordered[0]:g} nm; name each band by its wavelength in nm"
        )
    stated = _STATED.get(claim)
    if option is not None and stated is not None and option is not stated:
        raise NotAnAxis(f"are in {claim.value} by their names; leave out --axis")
    unit = option or stated
    if unit is not None:
        low, high = _LIMITS[unit]
        if not low <= ordered[0] <= ordered[-1] <= high:
            raise NotAnAxis(
                f"run from {span}, which are no {_called(unit)}; correct the names, or --axis"
            )
        # The user may be mistaken, so that the spectra must agree; --axis nm is the last word.
        return unit, stated is not None or unit is AxisUnit.NANOMETRE
    if claim in (Claim.UNKNOWN, Claim.COUNT):
        raise NotAnAxis(
            f"run from {span} and do not say what they are; if they are wavelengths in nm, give "
            "--axis nm"
        )
    return _deduced(ordered, claim), False


def nanometres(numbers: Array, unit: AxisUnit) -> Array:
    """Return places on an axis as wavelengths in nm."""
    if unit is AxisUnit.WAVENUMBER:
        return 1e7 / numbers
    return numbers * (1000.0 if unit is AxisUnit.MICROMETRE else 1.0)


def _called(unit: AxisUnit) -> str:
    if unit is AxisUnit.WAVENUMBER:
        return "wavenumbers in cm-1"
    return f"wavelengths in {unit.value}"


def _counts(ordered: Array) -> bool:
    """Whether the numbers count bands: whole ones that begin below any wavelength."""
    whole = bool(np.all(ordered == np.rint(ordered)))
    return whole and ordered[0] < _SHORTEST_NM and bool(np.all(np.diff(ordered) == 1.0))


def _deduced(ordered: Array, claim: Claim) -> AxisUnit:
    """Return the one meaning that unstated numbers can have."""
    low, high = ordered[0], ordered[-1]
    span = f"from {low:g} to {high:g}"
    if high <= _LARGEST_MICROMETRE:
        if claim is Claim.WAVELENGTH:
            return AxisUnit.MICROMETRE
        raise NotAnAxis(
            f"run {span}, and these look like micrometres: name the bands by nm, which is 1,000 "
            "times as much, or give --axis um"
        )
    if low < _SHORTEST_NM:
        raise NotAnAxis(
            f"run {span} and are no wavelengths, since no instrument measures at {low:g} nm: they "
            "seem to number the bands; name each band by its wavelength in nm"
        )
    if high <= _LONGEST_NM:
        if _sampled_by_laser(ordered):
            raise NotAnAxis(
                f"run {span} in the steps of a Fourier-transform spectrometer, so these look like "
                "wavenumbers in cm-1: give --axis wavenumber, or --axis nm if they are nm"
            )
        return AxisUnit.NANOMETRE
    if high <= _LONGEST_FOURIER_NM and low < _LONGEST_FOURIER_NM / 2.0 and _even(1e7 / ordered):
        # Even in wavenumber: what a Fourier-transform spectrometer measured, exported in nm.
        return AxisUnit.NANOMETRE
    if low > _LONGEST_NM:
        raise NotAnAxis(
            f"run {span}, and these look like wavenumbers in cm-1: give --axis wavenumber; if they "
            "are Angstrom, name the bands by nm, a tenth of each number"
        )
    raise NotAnAxis(
        f"run {span}, and these look like wavenumbers in cm-1 of the mid-infrared: give --axis "
        "wavenumber, or --axis nm if they are nm"
    )


def _even(numbers: Array) -> bool:
    """Whether there are at least ten numbers, in equal steps."""
    steps = np.diff(numbers)
    return numbers.size >= 10 and bool(np.ptp(steps) <= 1e-2 * abs(np.mean(steps)))


def _sampled_by_laser(ordered: Array) -> bool:
    """Whether the numbers are multiples of a step that only a laser gives."""
    if ordered.size < _FEWEST_SAMPLED:
        return False
    step = (ordered[-1] - ordered[0]) / (ordered.size - 1)
    # Names are often rounded to a whole number; the steps then differ by up to one.
    if np.max(np.abs(np.diff(ordered) - step)) > 0.02 * step + 0.02:
        return False
    if not np.any(np.abs(_LASER_PER_CM / _LASER_DIVISORS / step - 1.0) < 1e-3):
        return False
    first = ordered[0] / step
    return bool(abs(first - np.rint(first)) < 0.1)

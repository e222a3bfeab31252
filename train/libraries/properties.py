"""Soil properties: those that the libraries share, and what a recipe says of any other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ccnvr.edge.chemometrics.targets import TRANSFORMS

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


@dataclass(frozen=True)
class Property:
    """What a property is; its fields are the keys of a recipe's table `[properties.NAME]`.

    Raises:
        ValueError: a value is not possible.
    """

    unit: str
    """The unit of its values."""

    transform: str = "identity"
    """The transform of its values before the training, one of `TRANSFORMS`."""

    range: tuple[float, ...] = ()
    """The lowest and the highest value that a soil can have, in `unit`; all others are mistakes."""

    method: str = ""
    """How the laboratory measures it: a procedure's URI where GLOSIS has one, or words."""

    def __post_init__(self) -> None:
        if not self.unit.strip():
            raise ValueError("unit is empty; state the unit of the property's values")
        if self.transform not in TRANSFORMS:
            raise ValueError(f"transform {self.transform!r} is not one of {', '.join(TRANSFORMS)}")
        if self.range and not (len(self.range) == 2 and self.range[0] < self.range[1]):
            raise ValueError(
                f"range = {list(self.range)} must be the lowest and the highest possible value"
            )
        if self.transform == "log1p" and self.lowest <= -1.0:
            raise ValueError(
                f"range begins at {self.lowest:g}, and log1p takes values above -1; give a range "
                "from 0, or transform = 'identity'"
            )

    @property
    def lowest(self) -> float:
        """The lowest possible value; 0 where no range is stated."""
        return self.range[0] if self.range else 0.0

    @property
    def highest(self) -> float:
        """The highest possible value."""
        return self.range[1] if self.range else float("inf")


KNOWN = {
    # Organic matter is 58 % carbon by convention, so even peat hardly exceeds 580 g/kg.
    "OC": Property("g/kg", range=(0.0, 600.0)),
    "N": Property("g/kg", range=(0.0, 60.0)),
    "CEC": Property("cmol(+)/kg", range=(0.0, 300.0)),
    "pH": Property("pH", range=(0.0, 13.0)),
    "clay": Property("%", range=(0.0, 100.0)),
    "silt": Property("%", range=(0.0, 100.0)),
    "sand": Property("%", range=(0.0, 100.0)),
    "CaCO3": Property("%", range=(0.0, 100.0)),
    "pH_CaCl2": Property("pH", range=(0.0, 13.0)),
    "pH_KCl": Property("pH", range=(0.0, 13.0)),
    "Ca": Property("cmol(+)/kg", range=(0.0, 300.0)),
    "Mg": Property("cmol(+)/kg", range=(0.0, 300.0)),
    "K": Property("cmol(+)/kg", range=(0.0, 100.0)),
    "Na": Property("cmol(+)/kg", range=(0.0, 300.0)),
    "EC": Property("dS/m", range=(0.0, 300.0)),
}
"""The properties that published libraries have, in order, with the unit that all are converted to.

A value beyond the range is in another unit. Clay is the mass share of particles below 2 um in the
fine earth; pH is that in water, which differs from those in CaCl2 and in KCl by half a unit and
more; Ca, Mg, K and Na are exchangeable.
"""

PROPERTIES = tuple(KNOWN)

UNITS = {name: known.unit for name, known in KNOWN.items()}

_SMALLEST = {"OC": 6.0, "N": 0.6, "CEC": 2.0, "pH": 2.5, "clay": 1.5}
"""Values in these units that hardly any set of soils stays below, unless its unit is another."""

_READ_AS = {
    "OC": "a column OC is read in g/kg, OC_pct in %",
    "N": "a column N is read in g/kg, N_pct in %",
    "CEC": "a column CEC is read in cmol(+)/kg, CEC_mmol_kg in mmol(+)/kg",
    "pH": "a column pH is read as it is",
    "clay": "a column clay is read in %, clay_g_kg in g/kg",
}

_PH = ("pH", "pH_CaCl2", "pH_KCl")


def described(name: str, definitions: Mapping[str, Property], transform: str) -> Property:
    """Return what is known of a property: a recipe's definition, or that of `KNOWN`.

    Raises:
        ValueError: the name is in neither, or the definition does not fit.
    """
    known, stated = KNOWN.get(name), definitions.get(name)
    if stated is None:
        if known is None:
            raise ValueError(
                f"target {name!r} is not one of {', '.join(PROPERTIES)}; describe any other in a "
                f"table [properties.{name}] with its unit"
            )
        return replace(known, transform=transform)
    if not _NAME.fullmatch(name):
        raise ValueError(f"property {name!r} is not a name of letters, digits and underscores")
    if stated.transform != transform:
        raise ValueError(
            f"transforms gives {name} the transform {transform!r}, and properties.{name} "
            f"{stated.transform!r}; give it once"
        )
    if known is not None and stated.unit != known.unit:
        raise ValueError(
            f"properties.{name} has the unit {stated.unit!r}, and the libraries' {name} is in "
            f"{known.unit}; state that, or give the property another name"
        )
    # A recipe may describe a known property only to name its method, and the known range still
    # holds.
    return stated if stated.range or known is None else replace(stated, range=known.range)


def doubt(source: str, name: str, largest: float) -> str:
    """Return a warning if the largest value of a property in a file is suspiciously small."""
    # A doubt and not an error, because sets of poor soils do exist.
    if name not in _SMALLEST or largest > _SMALLEST[name]:
        return ""
    little = f"{name} of {source} is {largest:g} {UNITS[name]} at most, which is little"
    return f"{little}: look whether the unit is right; {_READ_AS[name]}"


def alike(name: str) -> str:
    """Return a hint about properties that are easily mistaken for this one, or ""."""
    if name not in _PH:
        return ""
    return "; pH in water, in CaCl2 and in KCl are different properties: " + ", ".join(_PH)

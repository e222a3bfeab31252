"""What a column of the laboratory's values holds, by the names that people give it.

A name is a property, perhaps a method and perhaps a unit, in upper or lower case and with any
separators: `SOC (%)`, `Corg_g_kg`, `pH KCl`, `CEC [meq/100g]`. A name that begins as a property and
is not understood is refused, so that no value is left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ccnvr.train.libraries.properties import UNITS, Property

AS_STATED = "as the file states it"


@dataclass(frozen=True)
class Column:
    """How a column's numbers become a property's: times `factor`; `unit` is the column's own."""

    property: str
    factor: float
    unit: str
    note: str


class NotUnderstood(Exception):
    """A name begins as that of a property; the text says which names would be understood."""


@dataclass(frozen=True)
class _Quantity:
    """A quantity from which a property follows, as organic matter from which carbon does."""

    property: str
    share: float
    note: str


_CARBON = _Quantity("OC", 1.0, "organic carbon")
_TOTAL_CARBON = _Quantity("OC", 1.0, "total carbon, so carbonates count")
_MATTER = _Quantity("OC", 0.58, "organic matter x 0.58 (van Bemmelen)")
_NITROGEN = _Quantity("N", 1.0, "total nitrogen")

_MASS_SHARES = {
    **dict.fromkeys(
        ("oc", "soc", "toc", "corg", "orgc", "organiccarbon", "soilorganiccarbon",
         "totalorganiccarbon", "orgcarbon", "carbonorganic"),
        _CARBON,
    ),
    **dict.fromkeys(("tc", "ctot", "ctotal", "totalc", "totalcarbon", "tot c"), _TOTAL_CARBON),
    **dict.fromkeys(
        ("om", "som", "organicmatter", "soilorganicmatter", "orgmatter", "humus"), _MATTER
    ),
    **dict.fromkeys(
        ("n", "tn", "nt", "ntot", "ntotal", "totaln", "stn", "nitrogen", "totalnitrogen"), _NITROGEN
    ),
}  # fmt: skip
_CLAY = ("clay", "claytot", "claytotal", "claycontent", "clayfraction", "ton", "argile", "argila")
_CEC = ("cec", "ctc", "kak")
_SOLUTIONS = {
    "h2o": "H2O", "w": "H2O", "water": "H2O", "inh2o": "H2O", "inwater": "H2O",
    "cacl2": "CaCl2", "cacl": "CaCl2", "ca": "CaCl2", "incacl2": "CaCl2",
    "kcl": "KCl", "k": "KCl", "inkcl": "KCl",
}  # fmt: skip

# At the end of a name whose separators are blanks; `-1` of a unit's exponent has become ` 1`.
_UNIT_PATTERNS = {
    "%": r"(?:w |wt |mass )?(?:%|pct|percent|perc|g ?100 ?g|dag ?kg(?: ?1)?)",
    "mg/kg": r"(?:mg ?kg(?: ?1)?|ppm)",
    "mmol(+)/kg": r"(?:mmol ?(?:c ?)?kg(?: ?1)?)",
    "cmol(+)/kg": r"(?:cmol ?(?:c ?)?kg(?: ?1)?)",
    "meq/100g": r"(?:me|meq|mval) ?100 ?g",
    "g/kg": r"(?:g ?kg(?: ?1)?|permil|promille|‰)",
    "dS/m": r"(?:ds ?m(?: ?1)?|ms ?cm(?: ?1)?)",
}
_PER_G_KG = {"g/kg": (1.0, ""), "%": (10.0, ", % x 10"), "mg/kg": (0.001, ", mg/kg / 1000")}
_PER_PERCENT = {"%": (1.0, AS_STATED), "g/kg": (0.1, "g/kg / 10")}
_PER_CMOL = {
    "cmol(+)/kg": (1.0, AS_STATED),
    "meq/100g": (1.0, "meq/100g = cmol(+)/kg"),
    "mmol(+)/kg": (0.1, "mmol(+)/kg / 10"),
}
# Named without a unit these are too often something else, such as extractable potassium in mg/kg.
_CATIONS = {"ca": "Ca", "mg": "Mg", "k": "K", "na": "Na"}
_WITH_A_UNIT = {*_CATIONS.values(), "EC"}
_IN_PERCENT = {
    "silt": "silt", "silttot": "silt", "sand": "sand", "sandtot": "sand", "caco3": "CaCO3",
}  # fmt: skip
_TO_GIVE = {
    "OC": "OC_g_kg, OC_pct, SOM_g_kg, SOM_pct, TC_g_kg or TC_pct",
    "N": "N_g_kg or N_pct",
    "CEC": "CEC_cmol_kg, CEC_meq_100g or CEC_mmol_kg",
    "pH": "pH_H2O, pH_CaCl2 or pH_KCl",
    "clay": "clay_pct or clay_g_kg",
}


def understand(name: str, defined: Mapping[str, Property] | None = None) -> Column | None:
    """Return what a column holds; None if its name is not that of a property.

    The names of properties that a recipe has `defined` are read as they are, in its unit.

    Raises:
        NotUnderstood: it begins as a property's, but its unit or method is missing or unknown.
    """
    if defined and name in defined:
        return Column(name, 1.0, defined[name].unit, AS_STATED)
    if name in UNITS and name not in _WITH_A_UNIT:
        return Column(name, 1.0, UNITS[name], AS_STATED)
    words = _words(name)
    quantity, unit = _parted(words)
    known = _property(quantity)
    if known is None:
        further = _further(quantity, unit)
        begins = _property(words.split(" ")[0]) if " " in words else None
        if further is not None or begins is None:
            return further
        raise NotUnderstood(_advice(begins))
    found = _column(known, quantity, unit)
    if found is None:
        raise NotUnderstood(_advice(known))
    return found


def _words(name: str) -> str:
    """Return a name in lower case with blanks for separators."""
    # The Open Soil Spectral Library names its methods, as in oc_usda.c729_w.pct.
    text = re.sub(r"_(?:usda|iso)\.[a-z]?\d+", "", name.lower())
    text = re.sub(r"_index$", "", text)
    return re.sub(r"[^a-z0-9%‰]+", " ", text.replace("%", " % ")).strip()


def _parted(words: str) -> tuple[str, str | None]:
    """Return a name's quantity without separators, and its unit, None if it has none."""
    for unit, pattern in _UNIT_PATTERNS.items():
        found = re.search(rf"(?:^| )({pattern})$", words)
        if found is not None:
            return words[: found.start()].replace(" ", ""), unit
    return words.replace(" ", ""), None


def _property(quantity: str) -> str | None:
    if quantity in _MASS_SHARES:
        return _MASS_SHARES[quantity].property
    if quantity in _CLAY:
        return "clay"
    if quantity in _CEC:
        return "CEC"
    if quantity == "ph" or (quantity.startswith("ph") and quantity[2:] in _SOLUTIONS):
        return "pH"
    return None


def _further(quantity: str, unit: str | None) -> Column | None:
    """Return the column of a quantity that few files have; None if it is unknown or has no unit."""
    if quantity in _IN_PERCENT:
        factor, note = _PER_PERCENT.get(unit or "%", (0.0, ""))
        return Column(_IN_PERCENT[quantity], factor, unit or "%", note) if factor else None
    if quantity == "ec" and unit == "dS/m":
        return Column("EC", 1.0, unit, AS_STATED)
    cation = _CATIONS.get(re.sub(r"^ex(?:ch(?:angeable)?)?(?=[a-z])", "", quantity))
    if cation is None or unit not in _PER_CMOL:
        return None
    factor, note = _PER_CMOL[unit]
    return Column(cation, factor, unit, note)


def _column(known: str, quantity: str, unit: str | None) -> Column | None:
    """Return the column of a known quantity in a unit; None if it is never stated in this unit."""
    if known == "pH":
        return _acidity(_SOLUTIONS.get(quantity[2:])) if unit is None else None
    if known == "clay":
        return _in_unit(known, unit or "%", _PER_PERCENT)
    if known == "CEC":
        # Without a unit, since the two usual ones give the same number.
        return _in_unit(known, unit or "cmol(+)/kg", _PER_CMOL)
    if unit is None and quantity == "oc":
        return Column("OC", 1.0, UNITS["OC"], AS_STATED)
    found = _MASS_SHARES[quantity]
    column = _in_unit(known, unit or "", _PER_G_KG)
    return column and replace(
        column, factor=found.share * column.factor, note=found.note + column.note
    )


def _in_unit(known: str, unit: str, units: dict[str, tuple[float, str]]) -> Column | None:
    if unit not in units:
        return None
    factor, note = units[unit]
    return Column(known, factor, unit, note)


def _acidity(solution: str | None) -> Column:
    # Each solution is a property of its own, and pH without one is that in water.
    note = AS_STATED if solution is None else f"in {solution}"
    name = "pH" if solution in (None, "H2O") else f"pH_{solution}"
    return Column(name, 1.0, "pH", note)


def _advice(known: str) -> str:
    return (
        f"is not understood: name it {_TO_GIVE[known]}, which states its unit or method, or begin "
        f"its name otherwise if it is not {known}"
    )

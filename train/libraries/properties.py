"""The soil properties, in order, and their units."""

PROPERTIES = ("OC", "N", "CEC", "pH", "clay")

UNITS = {"OC": "g/kg", "N": "g/kg", "CEC": "cmol(+)/kg", "pH": "pH", "clay": "%"}
"""The unit of each property; clay is the mass share of particles below 2 um in the fine earth."""

LARGEST = {"OC": 600.0, "N": 60.0, "CEC": 300.0, "pH": 13.0, "clay": 100.0}
"""Values in these units that no soil exceeds, so that a larger one is in another unit."""

SMALLEST = {"OC": 6.0, "N": 0.6, "CEC": 2.0, "pH": 2.5, "clay": 1.5}
"""Values in these units that hardly any set of soils stays below, unless its unit is another."""

_READ_AS = {
    "OC": "a column OC is read in g/kg, OC_pct in %",
    "N": "a column N is read in g/kg, N_pct in %",
    "CEC": "a column CEC is read in cmol(+)/kg, CEC_mmol_kg in mmol(+)/kg",
    "pH": "a column pH is read as it is",
    "clay": "a column clay is read in %, clay_g_kg in g/kg",
}


def doubt(source: str, name: str, largest: float) -> str:
    """Return a warning if the largest value of a property in a file is suspiciously small."""
    if largest > SMALLEST[name]:
        return ""
    little = f"{name} of {source} is {largest:g} {UNITS[name]} at most, which is little"
    return f"{little}: look whether the unit is right; {_READ_AS[name]}"

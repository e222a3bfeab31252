"""The soil properties, in order, and their units."""

PROPERTIES = ("OC", "N", "CEC", "pH", "clay")

UNITS = {"OC": "g/kg", "N": "g/kg", "CEC": "cmol(+)/kg", "pH": "pH", "clay": "%"}
"""Clay is the share of the fine earth's mass in particles below 2 um."""

LARGEST = {"OC": 600.0, "N": 60.0, "CEC": 300.0, "pH": 13.0, "clay": 100.0}
"""In these units: no soil has more, so a larger value is in another unit."""

SMALLEST = {"OC": 6.0, "N": 0.6, "CEC": 2.0, "pH": 2.5, "clay": 1.5}
"""In these units: soils of which none has more are rare, and values in another unit are not."""

_READ_AS = {
    "OC": "a column OC is read in g/kg, OC_pct in %",
    "N": "a column N is read in g/kg, N_pct in %",
    "CEC": "a column CEC is read in cmol(+)/kg, CEC_mmol_kg in mmol(+)/kg",
    "pH": "a column pH is read as it is",
    "clay": "a column clay is read in %, clay_g_kg in g/kg",
}


def doubt(source: str, name: str, largest: float) -> str:
    """A warning where the largest value of a property in a user's file is suspiciously small; empty
    otherwise.
    """
    if largest > SMALLEST[name]:
        return ""
    little = f"{name} of {source} is {largest:g} {UNITS[name]} at most, which is little"
    return f"{little}: look whether the unit is right; {_READ_AS[name]}"

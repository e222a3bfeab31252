"""The soil properties, in order, and their units."""

PROPERTIES = ("OC", "N", "CEC", "pH", "clay")

UNITS = {"OC": "g/kg", "N": "g/kg", "CEC": "cmol(+)/kg", "pH": "pH", "clay": "%"}
"""Clay is the share of the fine earth's mass in particles below 2 um."""

LARGEST = {"OC": 600.0, "N": 60.0, "CEC": 300.0, "pH": 13.0, "clay": 100.0}
"""In these units: no soil has more, so a larger value is in another unit."""

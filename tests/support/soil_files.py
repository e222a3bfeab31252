"""Files of soils as a user brings them: real spectra under ids of their own, with the laboratory's
values.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.spectrum_files import limesoda


def write_soils(path: Path, library: str, count: int = 30, step: int = 8, **values: Any) -> Path:
    """The first soils of a LimeSoDa set, a band each `step` nm.

    `values` stand for the laboratory's: arrays, empty cells where NaN, or None for no such column.
    """
    soils = limesoda.load(library)
    columns = {**{name: soils.properties[name] for name in ("OC", "pH", "clay")}, **values}
    columns = {name: column[:count] for name, column in columns.items() if column is not None}
    bands = slice(None, None, max(1, round(step / np.diff(soils.wavelengths_nm).mean())))
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sample_id", *columns, *(f"{nm:g}" for nm in soils.wavelengths_nm[bands])])
        for row in range(count):
            laboratory = [
                "" if np.isnan(column[row]) else column[row] for column in columns.values()
            ]
            writer.writerow([f"field-{row}", *laboratory, *soils.reflectance[row, bands].round(5)])
    return path

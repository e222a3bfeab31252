"""The table joined from ICRAF-ISRIC, written with real soils of another library."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np

from ccnvr.edge.spectrum_files import limesoda
from ccnvr.train.libraries.published import icraf


def write_joined(
    folder: Path, profiles: int = 40, first_nm: int = 430, last_nm: int = 2440
) -> Path:
    """Write real soils as the joined table: profiles of three horizons in four countries."""
    published = limesoda.load("UL.120")
    wanted = [
        nm
        for nm in range(first_nm, last_nm + 10, 10)
        if not (1360 <= nm <= 1450 or 1800 <= nm <= 1950)
    ]
    spectra = [
        np.interp(wanted, published.wavelengths_nm, spectrum).round(5)
        for spectrum in published.reflectance
    ]
    values = {column for column, _ in icraf._JOINED.values()}
    path = folder / icraf.JOINED
    with gzip.open(path, "wt", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sample_id", "profile", "country", "top_cm", *sorted(values), *wanted])
        for row in range(3 * profiles):
            laboratory = {
                "OC_pct": published.properties["OC"][row] / 10.0,
                "pH_H2O": published.properties["pH"][row],
                "pH_KCl": published.properties["pH"][row] - 1.0,
            }
            country = ("Kenya", "Mali", "Cote d'Ivoire", "Congo, the Republic")[row // 3 % 4]
            cells = [laboratory.get(name, "") for name in sorted(values)]
            writer.writerow([f"S{row}", f"P {row // 3}", country, 0, *cells, *spectra[row]])
    return path

"""The ICRAF-ISRIC library: soil horizons of the world, from the user's copies of its files.

World Agroforestry (ICRAF) & ISRIC, doi 10.34725/DVN/MFHA9C, CC BY 4.0; Garrity & Bindraban 2004.
Read are either the tab-separated files of the Dataverse record, with reflectance at 350-2500 nm by
10 nm, or the table `icraf_isric.csv.gz` that was joined from public copies, with 400-2450 nm and
without the air's water bands.

The originals were not at hand when this was written. Their layout is that of the record's tables as
others describe them; values are cleaned as in the joined table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.parts import SHARED
from ccnvr.train.libraries.published.tables import Bands, Row, Table
from ccnvr.train.libraries.sensor import View
from ccnvr.train.libraries.soils import Gathering, Soils

SPECTRA = "ASD Spectra.tab"
CHEMISTRY = "Chemical_properties.tab"
TEXTURE = "Physical_properties.tab"
CODES = "ICRAF sample codes.tab"
COUNTRIES = "Country.tab"
JOINED = "icraf_isric.csv.gz"
ORIGIN = "from the Dataverse record doi 10.34725/DVN/MFHA9C at data.worldagroforestry.org"
GAPS_NM = ((1360.0, 1450.0), (1800.0, 1950.0))
"""The first and the last band that the joined table lacks in each of the air's water bands."""

LABELS = ("country", *SHARED)

# Column and factor to our unit. Percent by mass x 10 = g/kg.
_JOINED = {
    "OC": ("OC_pct", 10.0),
    "N": ("N_pct", 10.0),
    "CEC": ("CEC_cmolc_kg", 1.0),
    "pH": ("pH_H2O", 1.0),
    "clay": ("clay_pct", 1.0),
    "silt": ("silt_pct", 1.0),
    "sand": ("sand_pct", 1.0),
    "CaCO3": ("CaCO3_pct", 1.0),
    "pH_KCl": ("pH_KCl", 1.0),
    "Ca": ("Ca_cmolc_kg", 1.0),
    "Mg": ("Mg_cmolc_kg", 1.0),
    "K": ("K_cmolc_kg", 1.0),
    "Na": ("Na_cmolc_kg", 1.0),
    "EC": ("EC_dS_m", 1.0),
}
_CHEMISTRY = {
    "OC": ("ORGC", 10.0),
    "N": ("ORGN", 10.0),
    "CEC": ("CECSOIL", 1.0),
    "pH": ("PHH2O", 1.0),
    "CaCO3": ("CACO3", 1.0),
    "pH_CaCl2": ("PHCACL2", 1.0),
    "pH_KCl": ("PHKCL", 1.0),
    "Ca": ("CA", 1.0),
    "Mg": ("MG", 1.0),
    "K": ("K", 1.0),
    "Na": ("NA", 1.0),
    "EC": ("EC", 1.0),
}
_NEEDED = ("ISO", "ID", "SAMPLENO", "ORGC", "ORGN", "PHH2O", "CECSOIL")
_TEXTURE = {"clay": ("CLAY", 1.0), "silt": ("TSI", 1.0), "sand": ("TSA", 1.0)}
_PROPERTIES = (*_CHEMISTRY, *_TEXTURE)

# Beyond these, one of the numbers is a mistake.
_TEXTURE_SUMS = (94.0, 106.0)
_RATIOS_OF_C_TO_N = (2.0, 60.0)


@dataclass(frozen=True)
class _Horizon:
    """A soil horizon: where it was sampled, and its laboratory values by property."""

    country: str
    profile: str
    values: Mapping[str, float]


def find(folder: Path) -> Path | None:
    """Return the file of spectra in a folder: the original, or else the joined table."""
    for name in (SPECTRA, JOINED):
        if (folder / name).exists():
            return folder / name
    return None


def read(folder: Path, view: View) -> Soils:
    """Read the soils that have a spectrum of the whole grid; the others are left out.

    `labels` tells the country of each soil, and `sites` its profile.

    Raises:
        UsageError: a file is missing.
        DataError: a file is not as published; names row and column.
        WavelengthError: its wavelengths do not cover the grid.
    """
    path = find(folder)
    if path is None:
        raise UsageError(f"{folder / SPECTRA} is not there; put that file there, {ORIGIN}")
    original = path.name == SPECTRA
    table = Table(path, "\t" if original else ",")
    bands = table.bands(view, "W" if original else "")
    horizons = _originals(folder, table) if original else _joined(table)
    return _gathered(table, view, bands, horizons)


def _gathered(
    table: Table, view: View, bands: Bands, horizons: Iterator[tuple[Row, str, _Horizon]]
) -> Soils:
    gathering = Gathering("icraf", view.grid, bands.matrix, _PROPERTIES)
    countries, profiles = [], []
    for row, sample, horizon in horizons:
        reflectance = row.spectrum(bands)
        if np.all(reflectance > 0.0):
            values = [horizon.values.get(name, np.nan) for name in _PROPERTIES]
            gathering.add(f"icraf/{sample}", absorbance(reflectance), values)
            countries.append(horizon.country)
            # Countries number their profiles alike.
            profiles.append(f"{horizon.country}/{horizon.profile}")
    soils = gathering.finish()
    if not countries:
        raise DataError(
            f"{table.path} holds no soil with a spectrum of {view.grid}; fetch it again"
        )
    measured = [name for name in _PROPERTIES if not np.isnan(soils.column(name)).all()]
    return replace(soils.of(measured), labels={"country": countries}, sites=profiles)


def _joined(table: Table) -> Iterator[tuple[Row, str, _Horizon]]:
    table.require("sample_id", "profile", "country", *(column for column, _ in _JOINED.values()))
    for row in table.rows():
        horizon = _Horizon(row.text("country"), row.text("profile"), _values(row, _JOINED))
        yield row, row.text("sample_id"), horizon


def _originals(folder: Path, spectra: Table) -> Iterator[tuple[Row, str, _Horizon]]:
    """Yield each spectrum with its horizon, found by its code and its sample number."""
    codes = _sample_numbers(folder / CODES)
    horizons = _horizons(folder)
    identifier = spectra.header[0]
    for row in spectra.rows():
        sample = row.text(identifier)
        horizon = horizons.get(codes.get(sample, ""))
        if horizon is not None:
            yield row, sample, horizon


def _sample_numbers(path: Path) -> dict[str, str]:
    """Return the sample number of each spectrum's code."""
    table = _table(path)
    names = {name.casefold(): name for name in table.header}
    code = next((name for folded, name in names.items() if folded.startswith("batch")), None)
    number = names.get("sampleno")
    if code is None or number is None:
        raise DataError(
            f"{path} has no column Batch_Labid or Sampleno; it must be the file of that name as "
            "published"
        )
    return {row.text(code): row.text(number) for row in table.rows()}


def _horizons(folder: Path) -> dict[str, _Horizon]:
    """Return the horizon of each sample number."""
    table = _table(folder / COUNTRIES)
    table.require("ISO", "COUNTRY")
    countries = {row.text("ISO"): row.text("COUNTRY") for row in table.rows()}
    texture = _texture(folder / TEXTURE)
    table = _table(folder / CHEMISTRY)
    table.require(*_NEEDED)
    present = {name: known for name, known in _CHEMISTRY.items() if known[0] in table}
    horizons = {}
    for row in table.rows():
        number, iso = row.text("SAMPLENO"), row.text("ISO")
        values = {**_values(row, present), **texture.get(number, {})}
        country = countries.get(iso, iso)
        horizons[number] = _Horizon(country, f"{iso} {row.text('ID')}", values)
    return horizons


def _texture(path: Path) -> dict[str, dict[str, float]]:
    """Return clay, silt and sand by sample number; none where the file is not there."""
    if not path.exists():
        return {}
    table = _table(path)
    table.require("SAMPLENO", *(column for column, _ in _TEXTURE.values()))
    return {row.text("SAMPLENO"): _values(row, _TEXTURE) for row in table.rows()}


def _values(row: Row, columns: Mapping[str, tuple[str, float]]) -> dict[str, float]:
    """Return a row's values in our units, NaN for those that cannot be right."""
    values = {name: factor * row.value(column) for name, (column, factor) in columns.items()}
    values = {name: value if value >= 0.0 else np.nan for name, value in values.items()}
    texture = [values[name] for name in _TEXTURE if name in values]
    # A sum needs all three; NaN, where one was not measured, is no reason to drop the others.
    if len(texture) == len(_TEXTURE) and _outside(sum(texture), _TEXTURE_SUMS):
        values.update(dict.fromkeys(_TEXTURE, np.nan))
    carbon, nitrogen = values.get("OC", np.nan), values.get("N", np.nan)
    if nitrogen == 0.0 or _outside(carbon / nitrogen, _RATIOS_OF_C_TO_N):
        values["N"] = np.nan
    return values


def _outside(value: float, limits: tuple[float, float]) -> bool:
    low, high = limits
    return value < low or value > high


def _table(path: Path) -> Table:
    if not path.exists():
        raise UsageError(f"{path} is not there; put that file there, {ORIGIN}")
    return Table(path, "\t")

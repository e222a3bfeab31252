"""Spectral libraries, harmonised: absorbance on one grid, OC and N in g/kg, CEC in cmol(+)/kg, pH.

`load("nirsoil:train")` names a library and a part. Parts are `train` and `test`: the official split of nirsoil; for a
LimeSoDa set, the official folds without and with `limesoda.HELD_OUT_FOLD`. No part means all soils. `load("mine.csv")` reads
a file of spectra with columns OC, N, CEC or pH in the units of `UNITS`, empty where not measured.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge import limesoda
from ccnvr.edge.preprocess import Grid
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.spectra_csv import read_spectra
from ccnvr.train import ossl, r_packages
from ccnvr.train.instrument import Instrument, View
from ccnvr.train.soils import Soils

Array = NDArray[np.float64]

PROPERTIES = ("OC", "N", "CEC", "pH")
LARGEST = {"OC": 600.0, "N": 60.0, "CEC": 300.0, "pH": 13.0}
"""In the units of `UNITS`: no soil has more, so a larger value is in another unit."""

UNITS = {"OC": "g/kg", "N": "g/kg", "CEC": "cmol(+)/kg", "pH": "pH"}

LICENCES = {
    "nirsoil": "MIT (R package prospectr); P. Dardenne, CRA-W; Fernandez Pierna & Dardenne 2008, "
    "Chemom. Intell. Lab. Syst. 91:94-98",
    "ossl": "OSSL v1.2, each part under its owner's terms; Safanelli et al. 2025, PLoS ONE 20:e0296545",
    "geeves": "MIT (R package soilspec); Geeves et al. 1994; Wadoux et al. 2021",
    "LimeSoDa": "CC BY-SA 4.0; Schmidinger et al. 2025, Geoderma, doi 10.1016/j.geoderma.2025.117337",
}

NOTES = {
    "nirsoil": "OC by dry combustion, g/100g x 10; total N; CEC in meq/100g = cmol(+)/kg; no pH",
    "geeves": "OC = total carbon in g/100g x 10, so carbonates count; no N, CEC, pH",
    "ossl": "OC and total N in percent x 10; CEC by ammonium acetate at pH 7; pH in water; methods harmonised by OSSL",
    "CV.98": "OC as published, % x 10; pH as published",
    "SC.93": "OC as published, % x 10; pH as published",
    "SSP.460": "OC as published, % x 10; pH as published",
    "SL.125": "OC = 0.58 x organic matter, % x 10; pH as published",
    "UL.120": "OC = 0.58 x organic matter, % x 10; pH as published",
}
"""How each library's values were made ours. LimeSoDa does not state for these sets whether pH is in water or CaCl2."""


@dataclass(frozen=True)
class Library:
    """Soils of one library on one grid; `targets` is `(n, len(PROPERTIES))`, NaN where not measured."""

    name: str
    sample_ids: list[str]
    spectra: Array
    targets: Array


@dataclass(frozen=True)
class Pool:
    """Several libraries joined, soils in rows; `origin` is the library of each soil."""

    sample_ids: list[str]
    origin: list[str]
    spectra: Array
    targets: Array


def load(spec: str, grid: Grid, file_quantity: str = "reflectance", instrument: Instrument | None = None) -> Library:
    """One library, `NAME`, `NAME:train`, `NAME:test` or a path that ends in .csv, resampled onto `grid`.

    `file_quantity` is what a file holds, one of `spectra_csv.QUANTITIES`. `instrument` sees the spectra first, if one is given.

    Raises:
        UsageError: unknown library or part, or its data are not to be found.
        DataError: its file is not as published.
        WavelengthError: the library does not cover the grid.
    """
    if spec.endswith(".csv"):
        path = Path(spec)
        # With its ending, so that no file can pass for a published library.
        return _library(path.name, _file(path, file_quantity, grid, instrument), "")
    name, _, part = spec.partition(":")
    if part not in ("", "train", "test"):
        raise UsageError(f"part {part!r} of library {name!r} is not train or test; leave it out for all soils")
    if part and name in ("geeves", "ossl"):
        raise UsageError(f"library {name} has no official parts; name it without {part!r}")
    return _library(name, _published(name, grid, instrument), part)


def _published(name: str, grid: Grid, instrument: Instrument | None) -> Soils:
    if name in limesoda.VISNIR_SETS:
        return _limesoda(name, grid, instrument)
    if name == "nirsoil":
        return r_packages.read_nirsoil(data_folder(r_packages.NIRSOIL.name, r_packages.NIRSOIL.origin), grid, instrument)
    if name == "geeves":
        return r_packages.read_geeves(data_folder(r_packages.GEEVES.name, r_packages.GEEVES.origin), grid, instrument)
    if name == "ossl":
        return ossl.read(data_folder(ossl.FILE, ossl.ORIGIN), grid, instrument)
    raise UsageError(f"library {name!r} is not one of nirsoil, geeves, ossl, {', '.join(limesoda.VISNIR_SETS)}, or a .csv file")


def _library(name: str, soils: Soils, part: str) -> Library:
    """The soils of one part, with the properties in order."""
    missing = np.full(len(soils.sample_ids), np.nan)
    targets = np.stack([soils.measured.get(name, missing) for name in PROPERTIES], axis=1)
    rows = np.arange(len(soils.sample_ids))
    if part and soils.train is not None:
        rows = rows[soils.train == (part == "train")]
    return Library(name, [soils.sample_ids[row] for row in rows], soils.spectra[rows], targets[rows])


def join(libraries: list[Library]) -> Pool:
    """Stack libraries that share a grid."""
    return Pool(
        sample_ids=[sample for library in libraries for sample in library.sample_ids],
        origin=[library.name for library in libraries for _ in library.sample_ids],
        spectra=np.concatenate([library.spectra for library in libraries]),
        targets=np.concatenate([library.targets for library in libraries]),
    )


def source(name: str) -> dict[str, str]:
    """Licence, origin and treatment of a library's values."""
    if name not in NOTES:
        return {"licence": "the user's own file", "values": "as the file states them"}
    licence = LICENCES[name if name in LICENCES else "LimeSoDa"]
    return {"licence": licence, "values": NOTES[name]}


def data_folder(file: str, origin: str) -> Path:
    """The folder that the environment variable CCNVR_DATA names.

    Raises:
        UsageError: it is unset or no folder; says which file is looked for and where it comes from.
    """
    value = os.environ.get("CCNVR_DATA", "")
    if not value or not Path(value).is_dir():
        raise UsageError(f"CCNVR_DATA is {value!r} and must name the folder that holds {file}, {origin}")
    return Path(value)


def _limesoda(name: str, grid: Grid, instrument: Instrument | None) -> Soils:
    soils = limesoda.load(name)
    spectra = View(soils.wavelengths_nm, grid, instrument)(soils.reflectance)
    return Soils(soils.sample_ids, spectra, soils.properties, soils.folds != limesoda.HELD_OUT_FOLD)


def _file(path: Path, quantity: str, grid: Grid, instrument: Instrument | None) -> Soils:
    table = read_spectra(path)
    measured = {name: _laboratory(path, name, table.columns[name]) for name in PROPERTIES if name in table.columns}
    if not measured:
        raise UsageError(f"{path} has none of the columns {', '.join(PROPERTIES)}; add the laboratory's values")
    view = View(table.wavelengths_nm, grid, instrument)
    sample_ids = [f"{path.name}/{sample}" for sample in table.sample_ids]
    return Soils(sample_ids, view(table.reflectance(quantity)), measured)


def _laboratory(path: Path, name: str, cells: list[str]) -> Array:
    """A property's values; an empty cell is a value that was not measured."""
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        try:
            values[row] = float(cell or "nan")
        except ValueError:
            values[row] = -np.inf
        if cell and not 0.0 <= values[row] <= LARGEST[name]:
            raise UsageError(
                f"{path} soil {row + 1} column {name} is {cell!r} and must be a number from 0 to {LARGEST[name]:g}, in "
                f"{UNITS[name]}, or empty"
            )
    return values

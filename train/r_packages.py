"""Libraries in the data files of R packages, read from those files themselves: nirsoil, geeves and the moisture set.

Each file must be the published one, byte for byte.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rdata
from numpy.typing import NDArray

from ccnvr.edge.limesoda import DataError
from ccnvr.edge.preprocess import Grid, resampling_matrix
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.instrument import Instrument, View
from ccnvr.train.soils import Soils

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RFile:
    """A data file of an R package, and the data frame in it."""

    name: str
    origin: str
    sha256: str
    frame: str


NIRSOIL = RFile(
    "NIRsoil.RData",
    "the file data/NIRsoil.RData of the public repository l-ramirez-lopez/prospectr",
    "fbd4ecf28d1e6d1ac046ad537d887e794102cb16c826ef150798623cc3012479",
    "NIRsoil",
)
GEEVES = RFile(
    "datsoilspc.rda",
    "the file data/datsoilspc.rda of the public repository AlexandreWadoux/soilspec",
    "fe9d41c29d9332dbf8f8b6814f49719c4b28b4d03a1ea083df95231fdecd2890",
    "datsoilspc",
)
MOISTURE = RFile(
    "datEPO.rda",
    "the file data/datEPO.rda of the public repository AlexandreWadoux/soilspec",
    "dd0def32667663329d5c4f63f2c0c2065e891a40744563eac6aaea9d25080cbd",
    "datEPO",
)


def read_nirsoil(folder: Path, grid: Grid, instrument: Instrument | None = None) -> Soils:
    """Absorbance 1100-2498 nm, with the official split.

    Raises:
        UsageError: the file is not there.
        DataError: it is not the published one.
    """
    table = _table(folder, NIRSOIL)
    reflectance = np.power(10.0, -np.asarray(table["spc"], dtype=np.float64))
    spectra = View(np.linspace(1100.0, 2498.0, reflectance.shape[1]), grid, instrument)(reflectance)
    measured = {"OC": _numbers(table["Ciso"]) * 10.0, "N": _numbers(table["Nt"]), "CEC": _numbers(table["CEC"])}
    return Soils(_numbered("nirsoil", len(spectra)), spectra, measured, _numbers(table["train"]) == 1.0)


def read_geeves(folder: Path, grid: Grid, instrument: Instrument | None = None) -> Soils:
    """Reflectance 350-2500 nm; total carbon stands for OC.

    Raises:
        UsageError: the file is not there.
        DataError: it is not the published one.
    """
    table = _table(folder, GEEVES)
    reflectance = np.asarray(table["spc"], dtype=np.float64)
    spectra = View(np.linspace(350.0, 2500.0, reflectance.shape[1]), grid, instrument)(reflectance)
    measured = {"OC": _numbers(table["TotalCarbon"]) * 10.0}
    return Soils(_numbered("geeves", len(spectra)), spectra, measured)


@dataclass(frozen=True)
class MoistureStates:
    """100 soils, each measured in three states; absorbance `(100, grid bands)`, total carbon in g/kg `(100,)`.

    `drying` soils were wet and then dried for a day.
    """

    sample_ids: list[str]
    air_dry: Array
    drying: Array
    wet: Array
    total_carbon: Array


def read_moisture(folder: Path, grid: Grid) -> MoistureStates:
    """Absorbance 350-2500 nm of soils in three states of moisture (Minasny et al. 2011, Geoderma 167:118-124).

    They are soils of geeves too, under other numbers: never train on one of the sets and test on the other.

    Raises:
        UsageError: the file is not there.
        DataError: it is not the published one.
    """
    table = _table(folder, MOISTURE)
    resample = resampling_matrix(np.arange(350.0, 2501.0), grid)
    air_dry, wet, drying = (np.asarray(table[f"spectra{state}"], dtype=np.float64) @ resample.T for state in range(3))
    carbon = _numbers(table["soilC"]["TotalC"]) * 10.0
    return MoistureStates(_numbered("moisture", carbon.size), air_dry, drying, wet, carbon)


def _numbered(library: str, soils: int) -> list[str]:
    return [f"{library}/{row}" for row in range(1, soils + 1)]


def _table(folder: Path, file: RFile) -> Mapping[str, Any]:
    path = folder / file.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); put that file there, {file.origin}") from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DataError(f"{path} does not have the sha256 {file.sha256[:12]}... of the published file; fetch it again")
    with warnings.catch_warnings():
        # rdata says that it keeps R's mark of omitted rows as it is; nothing here looks at it.
        warnings.simplefilter("ignore", UserWarning)
        # A data frame with a matrix column is more than pandas can hold, so the columns are kept as a plain mapping.
        parsed = rdata.parser.parse_data(content)
        frames = rdata.conversion.convert(parsed, constructor_dict={"data.frame": lambda columns, attributes: columns})
    table: Mapping[str, Any] = frames[file.frame]
    return table


def _numbers(column: object) -> Array:
    """An R column as floats; R's NA, a signalling NaN, becomes a quiet one."""
    values = np.asarray(column, dtype=np.float64)
    return np.where(np.isnan(values), np.nan, values)

"""Libraries in the data files of R packages, read from those files themselves: nirsoil, geeves, and
geeves' wet states.

Each file must be the published one, byte for byte; it is fetched once if it is not at hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import rdata

from ccnvr.edge.chemometrics.grid import Grid, WavelengthError, resampling_matrix
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.libraries import downloads
from ccnvr.train.libraries.downloads import PublishedFile
from ccnvr.train.libraries.sensor import View
from ccnvr.train.libraries.soils import Soils

NIRSOIL = PublishedFile(
    repository="l-ramirez-lopez/prospectr",
    commit="6637e0e",
    path="data/NIRsoil.RData",
    size=2_014_416,
    sha256="fbd4ecf28d1e6d1ac046ad537d887e794102cb16c826ef150798623cc3012479",
)
GEEVES = PublishedFile(
    repository="AlexandreWadoux/soilspec",
    commit="cfd1758",
    path="data/datsoilspc.rda",
    size=1_401_938,
    sha256="fe9d41c29d9332dbf8f8b6814f49719c4b28b4d03a1ea083df95231fdecd2890",
)
MOISTURE = PublishedFile(
    repository="AlexandreWadoux/soilspec",
    commit="cfd1758",
    path="data/datEPO.rda",
    size=833_992,
    sha256="dd0def32667663329d5c4f63f2c0c2065e891a40744563eac6aaea9d25080cbd",
)


@dataclass(frozen=True)
class MoistureStates:
    """100 soils of Geeves, each measured in three states; absorbance `(100, grid bands)`, total
    carbon in g/kg `(100,)`.

    `drying` soils were wet and then dried for a day. The soils are among those of geeves, without
    their names: never train on one and test on the other.
    """

    sample_ids: list[str]
    air_dry: Array
    drying: Array
    wet: Array
    total_carbon: Array

    @property
    def by_state(self) -> dict[str, Array]:
        """Absorbance `(100, grid bands)` of each state."""
        return {"air-dry": self.air_dry, "drying": self.drying, "wet": self.wet}


def read_nirsoil(view: View) -> Soils:
    """Absorbance 1100-2498 nm, with the official split.

    Raises:
        DataError: the file is not the published one.
        CcnvrError: it is not there and cannot be fetched.
        WavelengthError: the grid is not covered, or the library cannot show what the view's
            instrument sees.
    """
    table: Mapping[str, Any] = _objects(NIRSOIL)["NIRsoil"]
    spectra = np.asarray(table["spc"], dtype=np.float64)
    matrix = view.matrix(np.linspace(1100.0, 2498.0, spectra.shape[1]))
    measured = {
        "OC": _numbers(table["Ciso"]) * 10.0,
        "N": _numbers(table["Nt"]),
        "CEC": _numbers(table["CEC"]),
    }
    train = _numbers(table["train"]) == 1.0
    sample_ids = _numbered("nirsoil", len(spectra))
    soils = Soils.of_library("nirsoil", view.grid, sample_ids, spectra @ matrix.T, measured)
    return replace(soils, parts={"train": train, "test": ~train})


def read_geeves(view: View) -> Soils:
    """Reflectance 350-2500 nm; total carbon stands for OC; clay in %.

    Raises:
        DataError: the file is not the published one.
        CcnvrError: it is not there and cannot be fetched.
        WavelengthError: the grid is not covered, or the library cannot show what the view's
            instrument sees.
    """
    table: Mapping[str, Any] = _objects(GEEVES)["datsoilspc"]
    reflectance = np.asarray(table["spc"], dtype=np.float64)
    matrix = view.matrix(np.linspace(350.0, 2500.0, reflectance.shape[1]))
    measured = {"OC": _numbers(table["TotalCarbon"]) * 10.0, "clay": _numbers(table["clay"])}
    sample_ids = _numbered("geeves", len(reflectance))
    spectra = absorbance(reflectance) @ matrix.T
    return Soils.of_library("geeves", view.grid, sample_ids, spectra, measured)


def read_moisture(grid: Grid) -> MoistureStates:
    """The moisture set (Minasny et al. 2011, Geoderma 167:118-124): absorbance 350-2500 nm of three
    states, total carbon.

    Raises:
        DataError: the file is not the published one.
        CcnvrError: it is not there and cannot be fetched.
        WavelengthError: the grid is not covered.
    """
    states: Mapping[str, Any] = _objects(MOISTURE)["datEPO"]
    resample = resampling_matrix(np.linspace(350.0, 2500.0, states["spectra0"].shape[1]), grid)
    air_dry, wet, drying = (
        np.asarray(states[f"spectra{state}"], dtype=np.float64) @ resample.T for state in range(3)
    )
    carbon = _numbers(states["soilC"]["TotalC"]) * 10.0
    return MoistureStates(_numbered("moisture", len(carbon)), air_dry, drying, wet, carbon)


def moisture_at_hand(grid: Grid) -> dict[str, Array] | None:
    """The moisture set's spectra by state, where its file is at hand and the grid lies in its
    range.
    """
    if downloads.present(MOISTURE) is None:
        return None
    try:
        return read_moisture(grid).by_state
    except WavelengthError:
        return None


def _numbered(library: str, soils: int) -> list[str]:
    return [f"{library}/{row}" for row in range(1, soils + 1)]


def _objects(file: PublishedFile) -> Mapping[str, Any]:
    content = downloads.read(file)
    with warnings.catch_warnings():
        # rdata says that it keeps R's mark of omitted rows as it is; nothing here looks at it.
        warnings.simplefilter("ignore", UserWarning)
        # A data frame with a matrix column is more than pandas can hold, so the columns are kept as
        # a plain mapping.
        objects: Mapping[str, Any] = rdata.conversion.convert(
            rdata.parser.parse_data(content),
            constructor_dict={"data.frame": lambda columns, attributes: columns},
        )
    return objects


def _numbers(column: object) -> Array:
    """An R column as floats; R's NA, a signalling NaN, becomes a quiet one."""
    values = np.asarray(column, dtype=np.float64)
    return np.where(np.isnan(values), np.nan, values)

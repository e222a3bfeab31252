"""Read libraries from the data files of R packages: nirsoil, geeves, and geeves' moist soils.

Each file must be the published one, byte for byte; it is fetched once if it is not at hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

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
    """100 soils of Geeves, each measured in three states of moisture.

    They are among the soils of geeves, under other names: never train on one library and test on
    the other.
    """

    sample_ids: list[str]
    """The sample ids, which are not those of geeves."""

    air_dry: Array
    """Absorbance `(100, grid bands)` of air-dry soil."""

    drying: Array
    """Absorbance `(100, grid bands)` of wet soil that dried for a day."""

    wet: Array
    """Absorbance `(100, grid bands)` of wet soil."""

    total_carbon: Array
    """Total carbon `(100,)` in g/kg."""

    @property
    def by_state(self) -> dict[str, Array]:
        """Absorbance `(100, grid bands)` of each state."""
        return {"air-dry": self.air_dry, "drying": self.drying, "wet": self.wet}


def read_nirsoil(view: View) -> Soils:
    """Read nirsoil: absorbance 1100-2498 nm, with the official split as parts.

    Raises:
        DataError: the file is not the published one.
        CcnvrError: it is not at hand and cannot be fetched.
        WavelengthError: the grid is not covered, or the bands are too coarse for the sensor.
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
    """Read geeves: reflectance 350-2500 nm; total carbon is taken for OC, clay is in %.

    Raises:
        DataError: the file is not the published one.
        CcnvrError: it is not at hand and cannot be fetched.
        WavelengthError: the grid is not covered, or the bands are too coarse for the sensor.
    """
    table: Mapping[str, Any] = _objects(GEEVES)["datsoilspc"]
    reflectance = np.asarray(table["spc"], dtype=np.float64)
    matrix = view.matrix(np.linspace(350.0, 2500.0, reflectance.shape[1]))
    measured = {"OC": _numbers(table["TotalCarbon"]) * 10.0, "clay": _numbers(table["clay"])}
    sample_ids = _numbered("geeves", len(reflectance))
    spectra = absorbance(reflectance) @ matrix.T
    return Soils.of_library("geeves", view.grid, sample_ids, spectra, measured)


def read_moisture(grid: Grid) -> MoistureStates:
    """Read the moisture set: absorbance 350-2500 nm of three states, and total carbon.

    Minasny et al. 2011, Geoderma 167:118-124.

    Raises:
        DataError: the file is not the published one.
        CcnvrError: it is not at hand and cannot be fetched.
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
    """Return the moisture set's spectra by state; None if its file is absent or too short a range.

    Nothing is fetched.
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
    # Imported here because rdata imports pandas, which takes a second that few commands need.
    import rdata

    content = downloads.read(file)
    with warnings.catch_warnings():
        # rdata warns that it does not convert R's mark of omitted rows, which is not used here.
        warnings.simplefilter("ignore", UserWarning)
        # A data frame with a matrix column is more than pandas can hold, so the columns are kept as
        # a plain mapping.
        objects: Mapping[str, Any] = rdata.conversion.convert(
            rdata.parser.parse_data(content),
            constructor_dict={"data.frame": lambda columns, attributes: columns},
        )
    return objects


def _numbers(column: object) -> Array:
    """Return an R column as floats; R's NA, a signalling NaN, becomes a quiet one."""
    values = np.asarray(column, dtype=np.float64)
    return np.where(np.isnan(values), np.nan, values)

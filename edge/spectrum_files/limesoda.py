"""Reads the Vis-NIR sets of the PyPI package LimeSoDa, with NumPy alone.

LimeSoDa (Schmidinger et al. 2025, Geoderma, doi 10.1016/j.geoderma.2025.117337; CC BY-SA 4.0) keeps
each set as an npz whose column names are a pickled object array. Nothing here unpickles: the names
are read off the pickle's string opcodes, which runs no code, and their number must match the data.
The package itself, which needs pandas and scikit-learn, is found but never imported.
"""

from __future__ import annotations

import pickletools
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError
from ccnvr.firmware_bridge.frozen import frozen
from ccnvr.firmware_bridge.installation import pip_command

VISNIR_SETS = ("CV.98", "SC.93", "SL.125", "SSP.460", "UL.120")
"""The sets whose spectra reach from the visible to 2498 nm."""

HELD_OUT_FOLD = 10
"""Official fold that no bundle of ours is trained on; the demo shows its soils."""

# The pickled names hold some fixed strings first; no set comes near this many columns.
_LARGEST_NAMES_BYTES = 1 << 20


class DataError(CcnvrError):
    """A data file is missing, malformed or not what its name says."""


@frozen
class LimeSoDaSet:
    """One set: soils in rows.

    `reflectance` is a fraction; `properties` maps OC (g/kg), pH and clay (%) to one value a soil.
    """

    name: str
    wavelengths_nm: Array
    reflectance: Array
    properties: dict[str, Array]
    folds: NDArray[np.int64]

    @property
    def sample_ids(self) -> list[str]:
        """One id a soil, `set/row` with rows counted from 1 as in the package."""
        return [f"{self.name}/{row}" for row in range(1, len(self.folds) + 1)]


def data_folder() -> Path:
    """Where the installed package keeps its data.

    Raises:
        UsageError: the package is not installed.
    """
    spec = find_spec("LimeSoDa")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "the data package LimeSoDa is not installed; run: "
            + pip_command("--no-deps", "LimeSoDa==0.1.5")
        )
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def load(name: str) -> LimeSoDaSet:
    """Read one of `VISNIR_SETS`.

    Organic matter is turned into organic carbon by the factor 0.58 (van Bemmelen), percent into
    g/kg.

    Raises:
        UsageError: no such set, or the package is not installed.
        DataError: the file is not as the package publishes it.
    """
    if name not in VISNIR_SETS:
        raise UsageError(f"LimeSoDa set {name!r} is not one of {', '.join(VISNIR_SETS)}")
    path = data_folder() / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            data: Array = archive["dataset_data"]
            folds: NDArray[np.int64] = archive["folds"].astype(np.int64)
        strings = _object_strings(path, "dataset_columns.npy")
        columns = strings[-data.shape[1] :]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}); reinstall LimeSoDa==0.1.5") from error
    # Before the names stand only the words that NumPy needs to rebuild the array.
    surplus = [
        word
        for word in strings[: -data.shape[1]]
        if word.startswith("wl_") or word.endswith("_target")
    ]
    if len(columns) != data.shape[1] or surplus or len(folds) != len(data):
        raise DataError(
            f"{path} names {len(columns) + len(surplus)} columns and {len(folds)} folds for a "
            f"table of {data.shape}; "
            "reinstall LimeSoDa==0.1.5"
        )
    return _soil_set(name, data, columns, folds)


def _soil_set(name: str, data: Array, columns: list[str], folds: NDArray[np.int64]) -> LimeSoDaSet:
    bands = [index for index, column in enumerate(columns) if column.startswith("wl_")]
    by_matter = "SOM_target" in columns
    percent_carbon = (
        data[:, columns.index("SOM_target")] * 0.58
        if by_matter
        else data[:, columns.index("SOC_target")]
    )
    return LimeSoDaSet(
        name=name,
        wavelengths_nm=np.array([float(columns[index].removeprefix("wl_")) for index in bands]),
        reflectance=data[:, bands] / 100.0,
        properties={
            "OC": percent_carbon * 10.0,
            "pH": data[:, columns.index("pH_target")],
            "clay": data[:, columns.index("Clay_target")],
        },
        folds=folds,
    )


def _object_strings(path: Path, member: str) -> list[str]:
    """The strings of a pickled object array inside an npz, in order, without unpickling it."""
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(member).file_size > _LARGEST_NAMES_BYTES:
            raise ValueError(f"{member} is larger than {_LARGEST_NAMES_BYTES} bytes")
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            reader = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            reader(stream)
            body = stream.read()
    return [str(value) for opcode, value, _ in pickletools.genops(body) if "UNICODE" in opcode.name]

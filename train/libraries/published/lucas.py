"""The LUCAS topsoil surveys of 2009, 2015 and 2018, from the user's copies of the JRC's files.

Tóth, Jones & Montanarella 2013, EUR 26102; Orgiazzi et al. 2018, Eur. J. Soil Sci. 69:140-153. The
spectra are absorbance, log10(1/R), 400-2499.5 nm by 0.5 nm; they are resampled in blocks. The files
may not be passed on, so the layouts are those that public code reads:

- 2009: data frame `LUCAS.SOIL` with columns sample.ID, ID, the 4,200 bands in `spc` (a data frame
  within it, or a matrix), clay, pH.in.H2O, OC, N, CEC, and `mineral`, in `LUCAS.SOIL_corr.Rdata`;
  or the same as CSV with bands named `spc.400` or `400`.
- 2015: `LUCAS_Topsoil_2015_20200323.csv` and a folder `LUCAS2015_Soil_Spectra_EU28` of one CSV a
  country with source, SampleID, PointID, NUTS_0, SampleN and the bands; mostly two scans a point.
- 2018: `LUCAS-SOIL-2018.csv`. Unverified: that its spectra are laid out as those of 2015, in a
  folder `LUCAS2018...Spectra...`, and that the word for soils that are not mineral in the 2009 file
  is "organic" (anything but "mineral" is taken for it).

The public split of the 2009 mineral soils (11,958 for calibration, 5,979 for test) is
`mineral-split.csv` of the repository tsakiridis/cnn-lucas (Tsakiridis et al. 2020, Geoderma
367:114208): columns ID and split, "calibration" or "test". Mineral soils are those that the file
itself calls so; its definition allows up to 200 g/kg of OC.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rdata
from numpy.typing import NDArray

from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.published.tables import Row, Table
from ccnvr.train.libraries.sensor import View
from ccnvr.train.libraries.soils import ROWS_AT_ONCE, Gathering, Rows, Soils

ORIGIN = (
    "which the European Soil Data Centre gives to those who ask for it at esdac.jrc.ec.europa.eu"
)
FILES_2009 = ("LUCAS.SOIL_corr.csv", "LUCAS.SOIL_corr.csv.gz", "LUCAS.SOIL_corr.Rdata")
SPLIT = "mineral-split.csv"

_COLUMNS_2009 = {"OC": "OC", "N": "N", "CEC": "CEC", "pH": "pH.in.H2O", "clay": "clay"}
_POINT_NAMES = ("PointID", "POINTID", "POINT_ID", "Point_ID")


@dataclass(frozen=True)
class Survey:
    """A survey whose laboratory values and spectra are in different files; both name the point."""

    name: str
    laboratory: str
    point: str
    columns: dict[str, str]
    spectra: str

    def laboratory_file(self, folder: Path) -> Path | None:
        """In the folder, or in one within it."""
        return next(
            iter([*folder.glob(self.laboratory), *sorted(folder.glob(f"*/{self.laboratory}"))]),
            None,
        )

    def spectra_files(self, folder: Path) -> list[Path]:
        """Every CSV file in folders of the survey's name, in the folder or in one within it."""
        folders = [*folder.glob(self.spectra), *folder.glob(f"*/{self.spectra}")]
        return sorted(
            {file for found in folders if found.is_dir() for file in found.rglob("*.csv")}
        )


LUCAS_2015 = Survey(
    name="lucas2015",
    laboratory="LUCAS_Topsoil_2015_20200323.csv",
    point="Point_ID",
    columns={"OC": "OC", "N": "N", "pH": "pH(H2O)", "clay": "Clay"},
    spectra="LUCAS2015*[Ss]pectra*",
)
LUCAS_2018 = Survey(
    name="lucas2018",
    laboratory="LUCAS-SOIL-2018.csv",
    point="POINTID",
    columns={"OC": "OC", "N": "N", "pH": "pH_H2O"},
    spectra="LUCAS2018*[Ss]pectra*",
)


def file_2009(folder: Path) -> Path | None:
    """The survey's file in the folder, the CSV first: it is read as a stream."""
    return next((folder / name for name in FILES_2009 if (folder / name).exists()), None)


def read_2009(folder: Path, view: View, part: str = "") -> Soils:
    """All soils, with parts mineral and organic if the file has its column `mineral`, and train and
    test if `SPLIT` is there.

    A CSV file is read as a stream; an Rdata file is parsed whole and takes some three times its
    decompressed size of memory.

    Raises:
        UsageError: the file, or the split that `part` needs, is not there.
        DataError: it is not as published; names row and column.
        WavelengthError: its wavelengths do not cover the grid.
    """
    path = file_2009(folder)
    if path is None:
        raise UsageError(
            f"{folder} holds no {FILES_2009[-1]} and no {FILES_2009[0]}; put it there, {ORIGIN}"
        )
    if part in ("train", "test") and not (folder / SPLIT).exists():
        raise UsageError(
            f"{folder} holds no {SPLIT}; put there the file data/{SPLIT} of the public repository "
            "tsakiridis/cnn-lucas, or any "
            "CSV with columns ID and split (calibration or test)"
        )
    soils, kinds = _from_r(path, view) if path.name.endswith(".Rdata") else _from_csv(path, view)
    parts: dict[str, NDArray[np.bool_]] = {}
    if kinds is not None:
        parts["mineral"] = kinds == "mineral"
        parts["organic"] = ~parts["mineral"] & (kinds != "")
    elif part in ("mineral", "organic"):
        raise DataError(
            f"{path} has no column mineral, which tells mineral from organic soils; leave "
            f"{part!r} out"
        )
    if (folder / SPLIT).exists():
        split = _split(folder / SPLIT)
        role = np.array(
            [split.get(sample.removeprefix("lucas2009/"), "") for sample in soils.sample_ids]
        )
        parts["train"], parts["test"] = role == "calibration", role == "test"
        if part in ("train", "test") and not np.any(parts[part]):
            raise DataError(
                f"{folder / SPLIT} names none of the soils of {path}; use the split that belongs "
                "to it"
            )
    return replace(soils, parts=parts)


def read_survey(survey: Survey, folder: Path, view: View) -> Soils:
    """The points that have both values and spectra; the scans of one point are averaged, in
    absorbance.

    Raises:
        UsageError: the files are not there.
        DataError: one is not as published; names row and column.
        WavelengthError: its wavelengths do not cover the grid.
    """
    laboratory, files = survey.laboratory_file(folder), survey.spectra_files(folder)
    if laboratory is None or not files:
        missing = (
            survey.laboratory
            if laboratory is None
            else f"folder {survey.spectra} with CSV files of spectra"
        )
        raise UsageError(f"{folder} holds no {missing}; put it there, {ORIGIN}")
    values = _laboratory(survey, laboratory)
    gathering: Gathering | None = None
    names: list[str] = []
    for path in files:
        table = Table(path)
        point = next((name for name in _POINT_NAMES if name in table), _POINT_NAMES[0])
        table.require(point)
        bands = table.bands(view, "")
        if gathering is None:
            gathering, names = (
                Gathering(survey.name, view.grid, bands.matrix, list(survey.columns), average=True),
                bands.names,
            )
        elif bands.names != names:
            raise DataError(
                f"{path} row 1 names other wavelengths than {files[0].name}; fetch it again"
            )
        for row in table.rows():
            if row.text(point) in values:
                spectrum = _absorbance(row, row.spectrum(bands), bands.names)
                if spectrum is not None:
                    gathering.add(
                        f"{survey.name}/{row.text(point)}", spectrum, values[row.text(point)]
                    )
    soils = gathering.finish() if gathering else None
    if soils is None or not soils.sample_ids:
        raise DataError(
            f"no spectrum in {files[0].parent} is of a point of {laboratory}; use files of the "
            "same survey"
        )
    return soils


def _laboratory(survey: Survey, path: Path) -> dict[str, list[float]]:
    table = Table(path)
    table.require(survey.point, *survey.columns.values())
    values: dict[str, list[float]] = {}
    twice = set()
    for row in table.rows():
        # In 2018 some points were also sampled at other depths; the spectra are of the usual one.
        if "Depth" in table and row.text("Depth") not in ("", "0-20 cm"):
            continue
        point = row.text(survey.point)
        twice |= {point} & values.keys()
        values[point] = [_known(row.value(column)) for column in survey.columns.values()]
    # Which of two analyses belongs to the spectra cannot be told.
    return {point: measured for point, measured in values.items() if point not in twice}


def _known(value: float) -> float:
    """LUCAS marks what was not measured by a negative number."""
    return value if value >= 0.0 else float("nan")


def _absorbance(row: Row, spectrum: Array, names: list[str]) -> Array | None:
    """The spectrum, None if it is empty.

    Raises:
        DataError: part of it is missing, or a value is none that absorbance can have.
    """
    if np.all(np.isnan(spectrum)):
        return None
    possible = (spectrum > -0.3) & (spectrum < 6.0)
    if not np.all(possible):
        band = int(np.argmin(possible))
        raise DataError(
            f"{row.table.path} row {row.number} column {names[band]} is {row.text(names[band])!r} "
            "and must be an absorbance "
            "from -0.3 to 6; fetch the file again"
        )
    return spectrum


def _split(path: Path) -> dict[str, str]:
    table = Table(path)
    table.require("ID", "split")
    split: dict[str, str] = {}
    for row in table.rows():
        sample, role = row.text("ID"), row.text("split")
        if role not in ("calibration", "test"):
            raise DataError(
                f"{path} row {row.number} column split is {role!r} and must be calibration or "
                "test; correct it"
            )
        if split.setdefault(sample, role) != role:
            raise DataError(
                f"{path} row {row.number} column ID is {sample!r}, which is in both parts; "
                "correct it"
            )
    return split


def _from_csv(path: Path, view: View) -> tuple[Soils, NDArray[np.str_] | None]:
    table = Table(path)
    identifier = "ID" if "ID" in table else "sample.ID"
    table.require(identifier, *_COLUMNS_2009.values())
    bands = table.bands(
        view, "spc." if any(name.startswith("spc.") for name in table.header) else ""
    )
    gathering = Gathering("lucas2009", view.grid, bands.matrix, list(_COLUMNS_2009))
    kinds = []
    for row in table.rows():
        spectrum = _absorbance(row, row.spectrum(bands), bands.names)
        if spectrum is not None:
            values = [_known(row.value(column)) for column in _COLUMNS_2009.values()]
            gathering.add(f"lucas2009/{row.text(identifier)}", spectrum, values)
            kinds.append(row.text("mineral") if "mineral" in table else "")
    return gathering.finish(), np.array(kinds) if "mineral" in table else None


def _from_r(path: Path, view: View) -> tuple[Soils, NDArray[np.str_] | None]:
    frame = _r_frame(path)
    identifier = "ID" if "ID" in frame else "sample.ID"
    if missing := [
        name for name in (identifier, "spc", *_COLUMNS_2009.values()) if name not in frame
    ]:
        raise DataError(
            f"{path}: its data frame LUCAS.SOIL has no column {missing[0]}; fetch it again"
        )
    sample_ids = [f"lucas2009/{sample}" for sample in np.asarray(frame[identifier])]
    spectra = Rows(view.grid.bands)
    for first, block, matrix, names in _r_blocks(path, frame["spc"], view):
        possible = (block > -0.3) & (block < 6.0)
        if not np.all(possible):
            row, band = np.unravel_index(int(np.argmin(possible)), block.shape)
            raise DataError(
                f"{path} row {first + row + 1} of LUCAS.SOIL, column spc {names[band]} is "
                f"{block[row, band]:g} and must be an "
                "absorbance from -0.3 to 6; fetch it again"
            )
        spectra.append(block @ matrix.T)
    measured = {}
    for name, column in _COLUMNS_2009.items():
        values = np.asarray(frame[column], dtype=np.float64)
        # NaN compares as False, so R's NA stays missing too.
        measured[name] = np.where(values >= 0.0, values, np.nan)
    kinds = None
    if "mineral" in frame:
        words = np.asarray(frame["mineral"], dtype=object)
        kinds = np.array([str(word) if isinstance(word, str) else "" for word in words])
    soils = Soils.of_library("lucas2009", view.grid, sample_ids, spectra.finish(), measured)
    return soils, kinds


def _r_blocks(path: Path, spc: Any, view: View) -> Iterator[tuple[int, Array, Array, list[str]]]:
    """First row, absorbance, matrix and names of the needed bands, block by block, of a matrix or a
    data frame of bands.
    """
    if not isinstance(spc, Mapping) and getattr(spc, "coords", None) is None:
        raise DataError(
            f"{path}: the columns of spc have no names, which must be wavelengths in nm; fetch it "
            "again"
        )
    names = [
        str(name) for name in (spc if isinstance(spc, Mapping) else spc.coords[spc.dims[1]].values)
    ]
    try:
        wavelengths = np.array([float(name) for name in names])
    except ValueError as error:
        raise DataError(
            f"{path}: a column of spc is not named by its wavelength in nm ({error}); fetch it "
            "again"
        ) from error
    matrix = view.matrix(wavelengths)
    needed = np.flatnonzero(np.any(matrix != 0.0, axis=0))
    used = [names[band] for band in needed]
    columns = [np.asarray(spc[name]) for name in used] if isinstance(spc, Mapping) else None
    whole = np.asarray(spc if columns is None else ())
    soils = len(columns[0]) if columns else len(spc)
    for first in range(0, soils, ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        if columns is not None:
            block = np.stack([column[rows] for column in columns], axis=1)
        else:
            block = whole[rows][:, needed]
        yield first, block.astype(np.float64), matrix[:, needed], used


def _r_frame(path: Path) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings():
            # rdata says of what it keeps as it is; nothing here looks at it.
            warnings.simplefilter("ignore", UserWarning)
            constructors = {
                **rdata.conversion.DEFAULT_CLASS_MAP,
                "data.frame": lambda columns, attributes: columns,
            }
            objects = rdata.conversion.convert(
                rdata.parser.parse_file(path), constructor_dict=constructors
            )
        frame: Mapping[str, Any] = objects["LUCAS.SOIL"]
    except MemoryError:
        raise DataError(
            f"{path} does not fit into memory; in R, write.csv(LUCAS.SOIL, 'LUCAS.SOIL_corr.csv', "
            "row.names = FALSE) makes the "
            "CSV file that is read as a stream"
        ) from None
    except Exception as error:  # rdata raises a dozen types on damaged files
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}); fetch it again"
        ) from error
    return frame

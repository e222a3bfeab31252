"""Read the LUCAS topsoil surveys of 2009, 2015 and 2018 from the user's copies of the JRC's files.

Tóth, Jones & Montanarella 2013, EUR 26102; Orgiazzi et al. 2018, Eur. J. Soil Sci. 69:140-153. The
spectra are absorbance, log10(1/R), 400-2499.5 nm by 0.5 nm; they are resampled in blocks. The files
must not be passed on, so this module follows the layouts that public code reads:

- 2009: data frame `LUCAS.SOIL` with columns sample.ID, ID, the 4,200 bands in `spc` (a data frame
  within it, or a matrix), clay, pH.in.H2O, OC, N, CEC, and `mineral`, in `LUCAS.SOIL_corr.Rdata`;
  or the same as CSV with bands named `spc.400` or `400`.
- 2015: `LUCAS_Topsoil_2015_20200323.csv`, and a folder `LUCAS2015_Soil_Spectra_EU28` with one CSV
  per country: source, SampleID, PointID, NUTS_0, SampleN and the bands; mostly two scans per point.
- 2018: `LUCAS-SOIL-2018.csv`. Two things are unverified: that its spectra have the layout of 2015,
  in a folder `LUCAS2018...Spectra...`, and that the 2009 file calls soils that are not mineral
  "organic" (any word but "mineral" is taken for it).

The public split of the 2009 mineral soils (11,958 for calibration, 5,979 for test) is
`mineral-split.csv` of the repository tsakiridis/cnn-lucas (Tsakiridis et al. 2020, Geoderma
367:114208): columns ID and split, "calibration" or "test". Mineral soils are those that the file
itself calls so; its definition allows up to 200 g/kg of OC.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.published import lucas_r
from ccnvr.train.libraries.published.tables import Row, Table
from ccnvr.train.libraries.sensor import View
from ccnvr.train.libraries.soils import Gathering, Soils

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
    """The name of the library."""

    laboratory: str
    """The name of the file of laboratory values."""

    point: str
    """The column of that file that names the point."""

    columns: dict[str, str]
    """By property: its column in that file."""

    spectra: str
    """The pattern of the name of the folder of spectra."""

    def laboratory_file(self, folder: Path) -> Path | None:
        """Return the file of laboratory values in the folder, or in one within it."""
        return next(
            iter([*folder.glob(self.laboratory), *sorted(folder.glob(f"*/{self.laboratory}"))]),
            None,
        )

    def spectra_files(self, folder: Path) -> list[Path]:
        """Return every CSV file in folders of spectra, in the folder or in one within it."""
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
    """Return the survey's file in the folder; CSV is preferred, because it is read as a stream."""
    return next((folder / name for name in FILES_2009 if (folder / name).exists()), None)


def read_2009(folder: Path, view: View, part: str = "") -> Soils:
    """Read all soils of 2009.

    They have the parts mineral and organic if the file has a column `mineral`, and the parts train
    and test if `SPLIT` exists. A CSV file is read as a stream; an Rdata file is parsed as a whole,
    which takes about three times its decompressed size in memory.

    Raises:
        UsageError: the file, or the split that `part` needs, does not exist.
        DataError: the file differs from the published one; the message names row and column.
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
            "tsakiridis/cnn-lucas, or any CSV with columns ID and split (calibration or test)"
        )
    read = _from_r if path.name.endswith(".Rdata") else _from_csv
    soils, kinds = read(path, view)
    parts: dict[str, NDArray[np.bool_]] = {}
    if kinds is not None:
        parts["mineral"] = kinds == "mineral"
        parts["organic"] = ~parts["mineral"] & (kinds != "")
    elif part in ("mineral", "organic"):
        raise DataError(
            f"{path} has no column mineral, which tells mineral from organic soils; leave {part!r} "
            "out"
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
    """Read the points that have both values and spectra.

    The scans of a point are averaged in absorbance.

    Raises:
        UsageError: the files do not exist.
        DataError: a file differs from the published one; the message names row and column.
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
        # One matrix serves all files, so they must have the same wavelengths.
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
    """Return the value, or NaN if it is negative, as LUCAS marks what was not measured."""
    return value if value >= 0.0 else float("nan")


def _absorbance(row: Row, spectrum: Array, names: list[str]) -> Array | None:
    """Return the spectrum, or None if it is empty.

    Raises:
        DataError: part of it is missing, or a value is impossible for absorbance.
    """
    if np.all(np.isnan(spectrum)):
        return None
    possible = lucas_r.possible_absorbance(spectrum)
    if not np.all(possible):
        band = int(np.argmin(possible))
        raise DataError(
            f"{row.table.path} row {row.number} column {names[band]} is {row.text(names[band])!r} "
            "and must be an absorbance from -0.3 to 6; fetch the file again"
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
                f"{path} row {row.number} column ID is {sample!r}, which is in both parts; correct "
                "it"
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
    frame = lucas_r.read_frame(path)
    identifier = "ID" if "ID" in frame else "sample.ID"
    if missing := [
        name for name in (identifier, "spc", *_COLUMNS_2009.values()) if name not in frame
    ]:
        raise DataError(
            f"{path}: its data frame LUCAS.SOIL has no column {missing[0]}; fetch it again"
        )
    sample_ids = [f"lucas2009/{sample}" for sample in np.asarray(frame[identifier])]
    spectra = lucas_r.resampled(path, frame["spc"], view)
    measured = {}
    for name, column in _COLUMNS_2009.items():
        values = np.asarray(frame[column], dtype=np.float64)
        # NaN compares as False, so R's NA stays missing too.
        measured[name] = np.where(values >= 0.0, values, np.nan)
    kinds = None
    if "mineral" in frame:
        words = np.asarray(frame["mineral"], dtype=object)
        kinds = np.array([str(word) if isinstance(word, str) else "" for word in words])
    return Soils.of_library("lucas2009", view.grid, sample_ids, spectra, measured), kinds

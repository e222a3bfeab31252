"""The LUCAS loaders on small files of exactly the layouts that public code reads, made of real
spectra.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rdata
import xarray

from ccnvr.edge.chemometrics.grid import Grid, WavelengthError, resampling_matrix
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries import soils as soils
from ccnvr.train.libraries.published import lucas_r

GRID = Grid(1104.0, 10.0, 140)
BANDS = np.arange(400.0, 2500.0, 0.5)
NAMES = [f"{band:g}" for band in BANDS]
SOILS = 6
NAN = np.nan


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))
    return tmp_path


def spectra() -> np.ndarray:
    """Absorbance of the first soils of CV.98 at LUCAS' 4,200 bands."""
    cv98 = limesoda.load("CV.98")
    rows = cv98.reflectance[:SOILS]
    return np.round(
        absorbance(np.array([np.interp(BANDS, cv98.wavelengths_nm, row) for row in rows])), 6
    )


def on_grid() -> np.ndarray:
    return spectra() @ resampling_matrix(BANDS, GRID).T


LABORATORY_2009 = {
    "clay": [12, 31, -999, 20, 8, 15],
    "pH.in.CaCl2": [5.1, 6.2, 6.0, 7.1, 4.0, 4.4],
    "pH.in.H2O": [5.6, 6.6, 6.4, 7.5, 4.4, -1],
    "OC": [14.2, 22.0, 18.1, 9.9, 412.0, 250.5],
    "CaCO3": [0, 1, 2, 300, 0, 0],
    "N": [1.3, 2.1, 1.7, 0.9, 18.0, -0.5],
    "CEC": [9.0, 18.5, 17.0, 12.2, 60.0, 44.0],
}
KINDS = ["mineral"] * 4 + ["organic"] * 2
EXPECTED_2009 = [
    [14.2, 1.3, 9.0, 5.6, 12],
    [22.0, 2.1, 18.5, 6.6, 31],
    [18.1, 1.7, 17.0, 6.4, NAN],
    [9.9, 0.9, 12.2, 7.5, 20],
    [412.0, 18.0, 60.0, 4.4, 8],
    [250.5, NAN, 44.0, NAN, 15],
]


def frame_2009(prefix: str = "spc.") -> pd.DataFrame:
    left = pd.DataFrame(
        {"sample.ID": [f"{n}" for n in range(SOILS)], "ID": [f"{n}" for n in range(SOILS)]}
    )
    bands = pd.DataFrame(spectra(), columns=[prefix + name for name in NAMES])
    return pd.concat(
        [left, bands, pd.DataFrame(LABORATORY_2009), pd.DataFrame({"mineral": KINDS})], axis=1
    )


def write_split(folder: Path) -> None:
    rows = [
        "index,sample.ID,ID,split,fold",
        "4,0,0,calibration,1",
        "5,1,1,test,-1",
        "6,2,2,calibration,2",
    ]
    (folder / "mineral-split.csv").write_text("\n".join(rows))


def write_csv(folder: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(folder / "LUCAS.SOIL_corr.csv", index=False)


def write_r(folder: Path, frame: pd.DataFrame) -> None:
    """As the original: the spectra are a data frame within the data frame, the kinds a factor."""
    columns = {
        name: frame[name].to_numpy() for name in frame if name not in ("sample.ID", "ID", "mineral")
    }
    bands = pd.DataFrame({name: columns.pop("spc." + name) for name in NAMES})
    names = {name: np.array(list(frame[name]), dtype="U") for name in ("sample.ID", "ID")}
    kinds = pd.Categorical(frame["mineral"])
    rdata.write_rda(
        folder / "LUCAS.SOIL_corr.Rdata",
        {"LUCAS.SOIL": {**names, "spc": bands, **columns, "mineral": kinds}},
    )


@pytest.mark.parametrize("write", [write_csv, write_r])
def test_the_survey_of_2009_with_its_parts(
    folder: Path, write: Callable[[Path, pd.DataFrame], None]
) -> None:
    write(folder, frame_2009())
    write_split(folder)
    whole = libraries.load_library("lucas2009", GRID)
    assert whole.sample_ids == [f"lucas2009/{n}" for n in range(SOILS)]
    np.testing.assert_allclose(whole.values, EXPECTED_2009)
    np.testing.assert_allclose(whole.spectra, on_grid(), atol=1e-9)
    parts = {
        part: libraries.load_library(f"lucas2009:{part}", GRID).sample_ids
        for part in ("mineral", "organic", "train", "test")
    }
    assert {part: [sample[-1] for sample in ids] for part, ids in parts.items()} == {
        "mineral": ["0", "1", "2", "3"],
        "organic": ["4", "5"],
        "train": ["0", "2"],
        "test": ["1"],
    }
    for words in ("dry combustion", "Kjeldahl", "pH in water", "BaCl2"):
        assert words in libraries.source("lucas2009")["values"]


def test_bands_may_be_named_by_their_wavelength_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soils, "ROWS_AT_ONCE", 4)
    write_csv(folder, frame_2009("").drop(columns="mineral"))
    np.testing.assert_allclose(
        libraries.load_library("lucas2009", GRID).spectra, on_grid(), atol=1e-9
    )
    with pytest.raises(DataError, match="no column mineral"):
        libraries.load_library("lucas2009:mineral", GRID)


def test_spectra_may_be_a_matrix_in_the_data_frame(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "LUCAS.SOIL_corr.Rdata").touch()
    matrix = xarray.DataArray(spectra(), dims=("dim_0", "dim_1"), coords={"dim_1": NAMES})
    frame = {"ID": np.arange(SOILS).astype(str), "spc": matrix, **LABORATORY_2009}
    monkeypatch.setattr(lucas_r, "read_frame", lambda path: frame)
    monkeypatch.setattr(lucas_r, "ROWS_AT_ONCE", 4)
    library = libraries.load_library("lucas2009", GRID)
    np.testing.assert_allclose(library.spectra, on_grid(), atol=1e-9)
    frame["spc"] = spectra()
    with pytest.raises(DataError, match="columns of spc have no names"):
        libraries.load_library("lucas2009", GRID)


def test_without_the_files_it_says_where_to_ask(folder: Path) -> None:
    for name in ("lucas2009", "lucas2015", "lucas2018"):
        with pytest.raises(
            UsageError, match=r"put it there, .* ask for it at esdac\.jrc\.ec\.europa\.eu"
        ):
            libraries.load_library(name, GRID)
    write_csv(folder, frame_2009())
    with pytest.raises(UsageError, match=r"holds no mineral-split\.csv; .* columns ID and split"):
        libraries.load_library("lucas2009:train", GRID)
    with pytest.raises(
        UsageError,
        match="part 'half' of library 'lucas2009' is not mineral or organic or train or test",
    ):
        libraries.load_library("lucas2009:half", GRID)
    with pytest.raises(WavelengthError, match="covers 400"):
        libraries.load_library("lucas2009", Grid(350.0, 10.0, 100))


def test_what_is_malformed_in_2009_is_named_with_row_and_column(folder: Path) -> None:
    frame = frame_2009()
    frame["OC"] = frame["OC"].astype(object)
    frame.loc[2, "OC"] = "much"
    write_csv(folder, frame)
    with pytest.raises(DataError, match=r"row 4 column OC is 'much' and must be a number"):
        libraries.load_library("lucas2009", GRID)
    frame = frame_2009()
    frame.loc[1, "spc.1504"] = 42.0
    write_csv(folder, frame)
    with pytest.raises(
        DataError, match=r"row 3 column spc\.1504 is '42\.0' and must be an absorbance"
    ):
        libraries.load_library("lucas2009", GRID)
    (folder / "LUCAS.SOIL_corr.csv").unlink()
    write_r(folder, frame)
    with pytest.raises(
        DataError, match=r"row 2 of LUCAS\.SOIL, column spc 1504 is 42 and must be an absorbance"
    ):
        libraries.load_library("lucas2009", GRID)
    write_r(folder, frame_2009().drop(columns="CEC"))
    with pytest.raises(DataError, match="no column CEC"):
        libraries.load_library("lucas2009", GRID)
    content = (folder / "LUCAS.SOIL_corr.Rdata").read_bytes()
    (folder / "LUCAS.SOIL_corr.Rdata").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        libraries.load_library("lucas2009", GRID)
    write_csv(folder, frame_2009())
    (folder / "mineral-split.csv").write_text("ID,split\n0,calibration\n1,validation\n")
    with pytest.raises(DataError, match="row 3 column split is 'validation'"):
        libraries.load_library("lucas2009:train", GRID)
    (folder / "mineral-split.csv").write_text("ID,split\n0,calibration\n0,test\n")
    with pytest.raises(DataError, match="row 3 column ID is '0', which is in both parts"):
        libraries.load_library("lucas2009:train", GRID)
    (folder / "mineral-split.csv").write_text("ID,split\nx,calibration\n")
    with pytest.raises(DataError, match="names none of the soils"):
        libraries.load_library("lucas2009:train", GRID)


LABORATORY_2015 = """Point_ID,Coarse,Clay,Sand,Silt,pH(CaCl2),pH(H2O),EC,OC,CaCO3,P,N,K
10,5,22,40,38,5.9,6.3,12.0,15.5,1,< LOD,1.4,100
20,3,,40,38,4.9,5.3,12.0,25.5,1,10.0,< LOD,100
30,3,9,40,51,4.9,5.3,12.0,-1,1,10.0,1.1,100
40,3,9,40,51,4.9,5.3,12.0,7.0,1,10.0,1.1,100
40,3,9,40,51,4.9,5.3,12.0,8.0,1,10.0,1.1,100
"""
LABORATORY_2018 = """Depth,POINTID,pH_CaCl2,pH_H2O,EC,OC,CaCO3,P,N,K,OC (20-30 cm)
0-20 cm,10,5.9,6.3,12.0,15.5,1,< LOD,1.4,100,
0-20 cm,20,4.9,5.3,12.0,25.5,1,10.0,< LOD,100,
0-10 cm,20,4.9,5.3,12.0,99,1,10.0,9,100,
0-20 cm,30,4.9,5.3,12.0,-1,1,10.0,1.1,100,
"""


def write_survey(folder: Path, year: int, laboratory: str) -> Path:
    """Two countries' files: soil 0 is point 10, soils 1 and 2 are scans of point 20, 3 of 30, 4 of
    40, 5 of none.
    """
    name = "LUCAS_Topsoil_2015_20200323.csv" if year == 2015 else "LUCAS-SOIL-2018.csv"
    (folder / name).write_text(laboratory)
    inner = folder / f"LUCAS{year}_Soil_Spectra_EU28"
    inner.mkdir(exist_ok=True)
    points = ["10", "20", "20", "30", "40", "77"]
    for country, rows in (("AT", slice(0, 2)), ("BE", slice(2, 6))):
        head = pd.DataFrame(
            {
                "source": "x",
                "SampleID": points[rows],
                "PointID": points[rows],
                "NUTS_0": country,
                "SampleN": 1,
            }
        )
        pd.concat([head, pd.DataFrame(spectra()[rows], columns=NAMES)], axis=1).to_csv(
            inner / f"spectra_ {country} .csv", index=False
        )
    return inner


@pytest.mark.parametrize("year", [2015, 2018])
def test_the_surveys_of_2015_and_2018_average_the_scans_of_a_point(folder: Path, year: int) -> None:
    write_survey(folder, year, LABORATORY_2015 if year == 2015 else LABORATORY_2018)
    library = libraries.load_library(f"lucas{year}", GRID)
    assert library.sample_ids == [f"lucas{year}/{point}" for point in (10, 20, 30)]
    clay = [22, NAN, 9] if year == 2015 else [NAN] * 3
    expected = [
        [15.5, 1.4, NAN, 6.3, clay[0]],
        [25.5, NAN, NAN, 5.3, clay[1]],
        [NAN, 1.1, NAN, 5.3, clay[2]],
    ]
    measured = library.of(("OC", "N", "CEC", "pH", "clay")).values
    np.testing.assert_allclose(measured, expected)
    resampled = on_grid()
    np.testing.assert_allclose(library.spectra[[0, 2]], resampled[[0, 3]], atol=1e-9)
    np.testing.assert_allclose(library.spectra[1], resampled[1:3].mean(axis=0), atol=1e-9)


def test_averages_hold_over_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_survey(folder, 2015, LABORATORY_2015)
    whole = libraries.load_library("lucas2015", GRID)
    monkeypatch.setattr(soils, "ROWS_AT_ONCE", 1)
    np.testing.assert_allclose(
        libraries.load_library("lucas2015", GRID).spectra, whole.spectra, atol=1e-12
    )


def test_what_is_malformed_in_a_survey_is_named_with_row_and_column(folder: Path) -> None:
    inner = write_survey(folder, 2015, LABORATORY_2015.replace("15.5", "many"))
    with pytest.raises(DataError, match="row 2 column OC is 'many'"):
        libraries.load_library("lucas2015", GRID)
    write_survey(folder, 2015, LABORATORY_2015.replace("pH(H2O)", "pH"))
    with pytest.raises(DataError, match=r"no column pH\(H2O\)"):
        libraries.load_library("lucas2015", GRID)
    write_survey(folder, 2015, LABORATORY_2015 + "50,1\n")
    with pytest.raises(DataError, match="row 7 has 2 columns where the header has 13"):
        libraries.load_library("lucas2015", GRID)
    write_survey(
        folder,
        2015,
        LABORATORY_2015.replace("10,5", "11,5").replace("20,3", "21,3").replace("30,3", "31,3"),
    )
    with pytest.raises(DataError, match="no spectrum in"):
        libraries.load_library("lucas2015", GRID)
    write_survey(folder, 2015, LABORATORY_2015)
    path = inner / "spectra_ BE .csv"
    path.write_text(path.read_text().replace(",1504,", ",1504.2,"))
    with pytest.raises(DataError, match="row 1 names other wavelengths than spectra_ AT"):
        libraries.load_library("lucas2015", GRID)
    path.write_text(path.read_text().replace(",1504.2,", ",1504,").replace("PointID", "Where"))
    with pytest.raises(DataError, match="no column PointID"):
        libraries.load_library("lucas2015", GRID)

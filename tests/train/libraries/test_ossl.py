"""The OSSL loader on a small file of exactly the published layout, made of real spectra."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.chemometrics.grid import Grid, WavelengthError, resampling_matrix
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries import soils as soils
from ccnvr.train.libraries.published import ossl

GRID = Grid(1104.0, 10.0, 140)
WAVELENGTHS = range(350, 2502, 2)
LABORATORY = (
    "oc_usda.c729_w.pct",
    "n.tot_usda.a623_w.pct",
    "cec_usda.a723_cmolc.kg",
    "ph.h2o_usda.a268_index",
    "clay.tot_usda.a334_w.pct",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))
    return tmp_path


def rows() -> list[list[str]]:
    """Header, five soils of CV.98, and one soil that has no Vis-NIR scan."""
    soils = limesoda.load("CV.98")
    header = ["dataset.code_ascii_txt", "id.layer_uuid_txt", *LABORATORY]
    header += [f"scan_visnir.{wavelength}_ref" for wavelength in WAVELENGTHS] + ["scan_mir.600_abs"]
    table = [header]
    for row in range(5):
        spectrum = np.interp(WAVELENGTHS, soils.wavelengths_nm, soils.reflectance[row])
        measured = ["1.5", "" if row == 2 else "0.12", "NA" if row == 3 else "21.5", "6.4", "30"]
        table.append(["CV", f"uuid-{row}", *measured, *(f"{value:.6f}" for value in spectrum), ""])
    table.append(["MIR", "uuid-mir", "2", "0.2", "10", "7", "20", *[""] * len(WAVELENGTHS), "0.5"])
    return table


def write(folder: Path, table: list[list[str]]) -> None:
    with gzip.open(folder / ossl.FILE, "wt") as stream:
        stream.write("\n".join(",".join(row) for row in table) + "\n")


def test_units_spectra_and_missing_values(folder: Path) -> None:
    write(folder, rows())
    library = libraries.load_library("ossl", GRID)
    assert library.sample_ids == [f"ossl/uuid-{row}" for row in range(5)]
    nan = np.nan
    expected = [
        [15.0, 1.2, 21.5, 6.4, 30.0],
        [15.0, 1.2, 21.5, 6.4, 30.0],
        [15.0, nan, 21.5, 6.4, 30.0],
        [15.0, 1.2, nan, 6.4, 30.0],
        [15.0, 1.2, 21.5, 6.4, 30.0],
    ]
    np.testing.assert_allclose(library.values, expected)
    cv98 = limesoda.load("CV.98")
    direct = absorbance(cv98.reflectance[:5]) @ resampling_matrix(cv98.wavelengths_nm, GRID).T
    np.testing.assert_allclose(library.spectra, direct, atol=2e-3)
    assert "OSSL" in libraries.source("ossl")["licence"]


def test_many_blocks_keep_their_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, rows())
    whole = libraries.load_library("ossl", GRID)
    monkeypatch.setattr(soils, "ROWS_AT_ONCE", 2)
    np.testing.assert_array_equal(libraries.load_library("ossl", GRID).spectra, whole.spectra)


def test_what_is_malformed_is_named_with_row_and_column(folder: Path) -> None:
    table = rows()
    table[3][table[0].index("scan_visnir.1504_ref")] = "n/a"
    write(folder, table)
    with pytest.raises(DataError, match=r"row 4 column scan_visnir\.1504_ref is 'n/a'"):
        libraries.load_library("ossl", GRID)
    table = rows()
    table[1][table[0].index("oc_usda.c729_w.pct")] = "much"
    write(folder, table)
    with pytest.raises(DataError, match=r"row 2 column oc_usda\.c729_w\.pct is 'much'"):
        libraries.load_library("ossl", GRID)
    write(folder, [*rows()[:3], ["short"]])
    with pytest.raises(DataError, match="row 4 has 1 columns where the header has"):
        libraries.load_library("ossl", GRID)
    write(folder, [[name.replace("cec_usda", "cec") for name in rows()[0]], *rows()[1:]])
    with pytest.raises(DataError, match=r"no column cec_usda\.a723_cmolc\.kg"):
        libraries.load_library("ossl", GRID)
    write(folder, [rows()[0], rows()[-1]])
    with pytest.raises(DataError, match="no soil with a Vis-NIR scan"):
        libraries.load_library("ossl", GRID)
    write(folder, rows())
    with pytest.raises(WavelengthError, match="covers 350"):
        libraries.load_library("ossl", Grid(300.0, 10.0, 50))
    content = (folder / ossl.FILE).read_bytes()
    (folder / ossl.FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        libraries.load_library("ossl", GRID)


def test_without_the_file_it_says_where_to_ask(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"soilspectroscopy\.org"):
        libraries.load_library("ossl", GRID)
    with pytest.raises(UsageError, match="has no official parts"):
        libraries.load_library("ossl:train", GRID)


def write_neospectra(folder: Path, laboratory: list[list[str]], scans: list[list[str]]) -> None:
    for name, table in ((ossl.NEOSPECTRA_LABORATORY, laboratory), (ossl.NEOSPECTRA_SPECTRA, scans)):
        with gzip.open(folder / name, "wt") as stream:
            stream.write("\n".join(",".join(row) for row in table) + "\n")


def neospectra() -> tuple[list[list[str]], list[list[str]]]:
    """Two soils, the second scanned by two handhelds, and a scan of a soil that was
    not analysed.
    """
    laboratory = [
        ["id.sample_local_c", *LABORATORY],
        ["30747", "1.5", "0.12", "21.5", "6.4", "30"],
        ["9", "2", "", "NA", "7", "8"],
    ]
    wavelengths = range(1350, 2552, 2)
    scans = [
        [
            "id.sample_local_c",
            "scan.nir.model.name_utf8_txt",
            *(f"scan_nir.{nm}_ref" for nm in wavelengths),
        ]
    ]
    cv98 = limesoda.load("CV.98")
    for row, (sample, handheld) in enumerate(
        (("30747", "NEO1"), ("9", "NEO1"), ("9", "NEO2"), ("none", "NEO1"))
    ):
        spectrum = np.interp(wavelengths, cv98.wavelengths_nm, cv98.reflectance[row])
        scans.append([sample, handheld, *(f"{value:.6f}" for value in spectrum)])
    return laboratory, scans


def test_neospectra_keeps_the_scans_of_each_handheld(folder: Path) -> None:
    write_neospectra(folder, *neospectra())
    grid = Grid(1360.0, 10.0, 110)
    library = libraries.load_library("neospectra", grid)
    assert library.sample_ids == ["neospectra/30747", "neospectra/9", "neospectra/9"]
    nan = np.nan
    np.testing.assert_allclose(
        library.values, [[15.0, 1.2, 21.5, 6.4, 30.0], *[[20.0, nan, nan, 7.0, 8.0]] * 2]
    )
    cv98 = limesoda.load("CV.98")
    direct = absorbance(cv98.reflectance[:3]) @ resampling_matrix(cv98.wavelengths_nm, grid).T
    np.testing.assert_allclose(library.spectra, direct, atol=2e-3)
    with pytest.raises(WavelengthError, match="covers 1350"):
        libraries.load_library("neospectra", GRID)


def test_what_is_malformed_in_neospectra_is_named(folder: Path) -> None:
    grid = Grid(1360.0, 10.0, 110)
    laboratory, scans = neospectra()
    write_neospectra(folder, [*laboratory, laboratory[1]], scans)
    with pytest.raises(DataError, match=r"row 4 column id\.sample_local_c repeats '30747'"):
        libraries.load_library("neospectra", grid)
    scans[2][12] = "?"
    write_neospectra(folder, laboratory, scans)
    with pytest.raises(DataError, match=r"row 3 column scan_nir\.1370_ref is '\?'"):
        libraries.load_library("neospectra", grid)
    (folder / ossl.NEOSPECTRA_LABORATORY).unlink()
    with pytest.raises(
        UsageError, match=r"neospectra_soillab_v1\.2\.csv\.gz is not there; .*soilspectroscopy\.org"
    ):
        libraries.load_library("neospectra", grid)

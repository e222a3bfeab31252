"""Users' own files: columns in other units, Parquet, malformed ones, and how much memory a large
one takes.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ccnvr.edge.chemometrics.grid import Grid, WavelengthError
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.edge.spectrum_files.tables import layout, source
from ccnvr.edge.spectrum_files.tables.text_table import read_spectra
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.recipe_soils import doubts
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.own import parquet as own_parquet
from ccnvr.train.libraries.own.columns import NotUnderstood, understand
from tools import memory_of_a_large_csv

GRID = Grid(1104.0, 10.0, 140)
BANDS = list(range(1100, 2510, 10))


def columns(**others: list[Any]) -> dict[str, list[Any]]:
    """Three soils of CV.98, some columns, and the sample ids."""
    cv98 = limesoda.load("CV.98")
    spectra = np.round(
        [np.interp(BANDS, cv98.wavelengths_nm, row) for row in cv98.reflectance[:3]], 5
    )
    return {
        "sample_id": ["a", "b", "c"],
        **others,
        **{str(nm): list(spectra[:, band]) for band, nm in enumerate(BANDS)},
    }


def write_csv(path: Path, table: dict[str, list[Any]]) -> Path:
    rows = zip(*table.values(), strict=True)
    path.write_text(
        "\n".join(
            ",".join("" if cell is None else str(cell) for cell in row)
            for row in [tuple(table), *rows]
        )
    )
    return path


def write_parquet(path: Path, table: dict[str, list[Any]]) -> Path:
    pq.write_table(pa.table(table), path, row_group_size=2)
    return path


@pytest.mark.parametrize(
    ("name", "values", "known", "expected"),
    [
        ("SOM_pct", [1.0, 2.5, None], "OC", [5.8, 14.5, np.nan]),
        ("SOM_g_kg", [10.0, 25.0, None], "OC", [5.8, 14.5, np.nan]),
        ("OC_pct", [1.0, 2.5, None], "OC", [10.0, 25.0, np.nan]),
        ("TC_pct", [1.0, 2.5, 0], "OC", [10.0, 25.0, 0.0]),
        ("N_pct", [0.1, 0.25, None], "N", [1.0, 2.5, np.nan]),
        ("CEC_meq_100g", [12.0, 20.0, None], "CEC", [12.0, 20.0, np.nan]),
        ("CEC_mmol_kg", [120.0, 200.0, None], "CEC", [12.0, 20.0, np.nan]),
        ("pH_H2O", [5.1, 6.0, None], "pH", [5.1, 6.0, np.nan]),
        ("pH_CaCl2", [5.1, 6.0, None], "pH_CaCl2", [5.1, 6.0, np.nan]),
        ("pH_KCl", [5.1, 6.0, None], "pH_KCl", [5.1, 6.0, np.nan]),
        ("CaCO3_g_kg", [51.0, 60.0, None], "CaCO3", [5.1, 6.0, np.nan]),
        ("Mg_cmol_kg", [0.5, 6.0, 0], "Mg", [0.5, 6.0, 0.0]),
        ("clay_g_kg", [120.0, 200.0, None], "clay", [12.0, 20.0, np.nan]),
        ("clay", [12.0, 20.0, None], "clay", [12.0, 20.0, np.nan]),
    ],
)
def test_a_column_s_name_states_its_unit(
    tmp_path: Path, name: str, values: list[Any], known: str, expected: list[float]
) -> None:
    for path in (
        write_csv(tmp_path / "soils.csv", columns(**{name: values})),
        write_parquet(tmp_path / "soils.parquet", columns(**{name: values})),
    ):
        library = libraries.load_library(str(path), GRID)
        np.testing.assert_allclose(library.column(known), expected)
        assert library.notes[path.name].startswith(f"{known} from {name}: ")


@pytest.mark.parametrize(
    ("names", "known", "factor"),
    [
        ("OC|oc|OC (g/kg)|SOC_g_kg|soc g/kg|Corg [g/kg]|TOC g kg-1|C_org_g_kg|TC g/kg", "OC", 1),
        ("OC_%|SOC (%)|Corg %|organic carbon (%)|oc_usda.c729_w.pct|TOC_percent|soc g/100g",
         "OC", 10),
        ("TOC mg/kg", "OC", 0.001),
        ("OM_pct|SOM (%)|organic matter [%]|OM %|Humus_pct", "OC", 5.8),
        ("N|TN_g_kg|N_total_g_kg|Nt (g/kg)|Total N g/kg", "N", 1),
        ("N_pct|TN (%)|tn %|n.tot_usda.a623_w.pct", "N", 10),
        ("CEC|cec|CEC (meq/100g)|CEC meq/100 g|CEC_cmolc_kg|CEC cmol(+)/kg|cec_usda.a723_cmolc.kg",
         "CEC", 1),
        ("CEC_mmol_kg|CEC (mmolc/kg)", "CEC", 0.1),
        ("pH|PH|pH_H2O|pH in water|ph.h2o_usda.a268_index", "pH", 1),
        ("pH_CaCl2|pH (CaCl2)|ph.cacl2_usda.a481_index", "pH_CaCl2", 1),
        ("pH KCl|ph_kcl", "pH_KCl", 1),
        ("sand|Sand (%)|sand_pct|sand.tot_usda.c60_w.pct", "sand", 1),
        ("silt|Silt [%]|SILT_pct", "silt", 1),
        ("CaCO3|CaCO3_pct|caco3 %", "CaCO3", 1),
        ("K_cmol_kg|exch. K (cmolc/kg)|ExK meq/100g|exchangeable K [cmol(+)/kg]", "K", 1),
        ("EC_dS_m|EC (mS/cm)", "EC", 1),
        ("clay|Clay|CLAY|Clay (%)|clay_%|clay content (%)|clay.tot_usda.a334_w.pct", "clay", 1),
        ("clay_g_kg|Clay (g/kg)", "clay", 0.1),
    ],
)  # fmt: skip
def test_names_that_people_use_are_understood(names: str, known: str, factor: float) -> None:
    for name in names.split("|"):
        column = understand(name)
        assert column is not None, name
        assert column.property == known, name
        assert column.factor == pytest.approx(factor), name


def test_names_that_may_be_properties_are_never_left_out(tmp_path: Path) -> None:
    for name, words in (
        ("SOC", "OC_g_kg, OC_pct"),
        ("toc", "OC_g_kg, OC_pct"),
        ("OM", "SOM_g_kg, SOM_pct"),
        ("TN", "N_g_kg or N_pct"),
        ("n", "N_g_kg or N_pct"),
        ("pH_NaF", "pH_H2O, pH_CaCl2 or pH_KCl"),
        ("SOC stock t/ha", "OC_g_kg, OC_pct"),
        ("clay mineral", "clay_pct or clay_g_kg"),
        ("CEC_g_kg", "CEC_cmol_kg, CEC_meq_100g"),
    ):
        with pytest.raises(NotUnderstood, match=words):
            understand(name)
        table = {**columns(clay=[5, 6, 7]), name: [1, 2, 3]}
        path = write_csv(tmp_path / "soils.csv", table)
        with pytest.raises(UsageError, match=rf"has a column {name}, which is not understood"):
            libraries.load_library(str(path), GRID)
    for name in ("K", "Ca", "Mg_mg_kg", "EC", "depth", "plot", "country", "lat", "nitrate"):
        assert understand(name) is None, name
    # Words in such a column are no values.
    text = columns(OC=[1, 2, 3], OC_method=["dry", "dry", "wet"])
    assert (
        len(libraries.load_library(str(write_csv(tmp_path / "soils.csv", text)), GRID).sample_ids)
        == 3
    )


def test_workbooks_and_semicolons_are_libraries_too(tmp_path: Path) -> None:
    table = columns(Clay=[10, 20, 30], **{"Corg (%)": [1.5, 2.5, None]})
    expected = libraries.load_library(str(write_csv(tmp_path / "soils.csv", table)), GRID)
    import openpyxl

    book = openpyxl.Workbook()
    for row in [list(table), *zip(*table.values(), strict=True)]:
        book.active.append([None if cell is None else cell for cell in row])
    book.save(tmp_path / "soils.xlsx")
    text = (tmp_path / "soils.csv").read_text().replace(",", ";").replace(".", ",")
    (tmp_path / "soils.txt").write_text(text)
    for name in ("soils.xlsx", "soils.txt"):
        found = libraries.load_library(str(tmp_path / name), GRID)
        np.testing.assert_array_equal(found.spectra, expected.spectra)
        np.testing.assert_array_equal(found.values, expected.values)


def test_options_that_training_lacks_are_those_of_convert(tmp_path: Path) -> None:
    table = columns(OC=[1, 2, 3])
    table = {
        f"{1e7 / int(name):.4f}" if name.isdigit() else name: cells for name, cells in table.items()
    }
    with pytest.raises(UsageError, match=r"give --axis wavenumber.*\(ccnvr convert takes it"):
        libraries.load_library(str(write_csv(tmp_path / "soils.csv", table)), GRID)


def test_notes_keep_the_method(tmp_path: Path) -> None:
    table = columns(SOM_pct=[1, 2, 3], pH_CaCl2=[5, 6, 7], field=["x", "y", "z"])
    pool = libraries.join(
        iter(
            [
                libraries.load_library("CV.98", GRID),
                libraries.load_library(str(write_csv(tmp_path / "mine.csv", table)), GRID),
            ]
        )
    )
    assert pool.origin[-3:] == ["mine.csv"] * 3 and len(pool.spectra) == 101
    stated = libraries.source("mine.csv", pool.notes["mine.csv"])["values"]
    assert (
        stated
        == "OC from SOM_pct: organic matter x 0.58 (van Bemmelen), % x 10; pH_CaCl2 from pH_CaCl2: "
        "as the file states it"
    )


def test_values_that_may_be_in_another_unit_are_doubted(tmp_path: Path) -> None:
    table = columns(OC=[1.2, 0.8, 3.9], clay=[0.1, 0.2, 0.52], pH=[6.5, 7.0, 5.1])
    path = str(write_csv(tmp_path / "soils.csv", table))
    pool = libraries.join(
        [libraries.load_library(path, GRID), libraries.load_library("SL.125", GRID)]
    )
    assert doubts(pool) == [
        "OC of soils.csv is 3.9 g/kg at most, which is little: look whether the unit is right; a "
        "column OC is read in g/kg, "
        "OC_pct in %",
        "clay of soils.csv is 0.52 % at most, which is little: look whether the unit is right; a "
        "column clay is read in %, "
        "clay_g_kg in g/kg",
    ]
    open_libraries = libraries.join(
        [libraries.load_library(name, GRID) for name in limesoda.VISNIR_SETS]
    )
    named = dataclasses.replace(
        open_libraries, origin=[f"{name}.csv" for name in open_libraries.origin]
    )
    assert doubts(named) == [], "no real library is doubted"


def test_parquet_and_csv_give_the_same_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = columns(OC=[1.5, None, float("nan")], clay=[10, 20, 30])
    parquet = libraries.load_library(str(write_parquet(tmp_path / "soils.parquet", table)), GRID)
    table["OC"] = [1.5, None, None]
    csv = libraries.load_library(str(write_csv(tmp_path / "soils.csv", table)), GRID)
    np.testing.assert_allclose(parquet.spectra, csv.spectra, rtol=1e-12)
    np.testing.assert_array_equal(parquet.values, csv.values)
    assert parquet.sample_ids == ["soils.parquet/a", "soils.parquet/b", "soils.parquet/c"]
    monkeypatch.setattr(source, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(own_parquet, "ROWS_AT_ONCE", 1)
    for whole in (parquet, csv):
        again = libraries.load_library(str(tmp_path / whole.origin[0]), GRID)
        np.testing.assert_allclose(again.spectra, whole.spectra, rtol=1e-12)
        np.testing.assert_array_equal(again.values, whole.values)
    assert read_spectra(tmp_path / "soils.csv").rows == [2, 3, 4]


def test_bands_outside_the_grid_may_be_no_reflectance(tmp_path: Path) -> None:
    table = columns(OC=[1, 2, 3])
    table["2500"][1] = -0.02
    path = write_csv(tmp_path / "soils.csv", table)
    assert len(libraries.load_library(str(path), Grid(1104.0, 10.0, 139)).sample_ids) == 3
    with pytest.raises(
        UsageError, match=r"soils\.csv row 3: sample 'b' has reflectance -0\.02 at 2500 nm"
    ):
        libraries.load_library(str(path), GRID)


def test_columns_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    def load(**others: list[Any]) -> None:
        libraries.load_library(str(write_csv(tmp_path / "soils.csv", columns(**others))), GRID)

    with pytest.raises(UsageError, match="has OC twice, in columns OC and SOM_pct; keep one"):
        load(OC=[1, 2, 3], SOM_pct=[1, 2, 3])
    with pytest.raises(UsageError, match="has pH twice, in columns pH and pH_H2O"):
        load(pH=[5, 6, 7], pH_H2O=[5, 6, 7])
    with pytest.raises(
        UsageError, match=r"none of the columns OC, N, CEC, pH, clay, .*nor one such as SOM_pct"
    ):
        load(gravel=[1, 2, 3])


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        (
            "OC_pct",
            [1.0, 61.0, 2.0],
            r"row {row} column OC_pct is '61\.0' and must be a number from 0 to 60, in %",
        ),
        (
            "clay_g_kg",
            [1.0, -1.0, 2.0],
            r"row {row} column clay_g_kg is '-1\.0' and must be a number from 0 to 1000, in g/kg",
        ),
        ("N", ["1", "much", "2"], "row {row} column N is 'much'"),
    ],
)
def test_values_that_cannot_be_are_named_with_row_and_column(
    tmp_path: Path, name: str, values: list[Any], words: str
) -> None:
    table = columns(**{name: values})
    with pytest.raises(UsageError, match=words.format(row=3)):
        libraries.load_library(str(write_csv(tmp_path / "soils.csv", table)), GRID)
    with pytest.raises(UsageError, match=words.format(row=2)):
        libraries.load_library(str(write_parquet(tmp_path / "soils.parquet", table)), GRID)


def test_a_parquet_file_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "soils.parquet"

    def refused(table: dict[str, list[Any]], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            libraries.load_library(str(write_parquet(path, table)), GRID)

    table = columns(OC=[1, 2, 3])
    refused({**table, "1500": ["x", "y", "z"]}, "column 1500 holds string and must hold numbers")
    refused({**table, "1500": [0.2, 0.3, None]}, "row 3 column 1500 is None and must be a number")
    refused(
        {**table, "1500": [0.2, float("inf"), 0.3]}, "row 2 column 1500 is inf and must be a number"
    )
    refused(
        {name: cells for name, cells in table.items() if name != "sample_id"}, "no column sample_id"
    )
    refused({name: cells[:0] for name, cells in table.items()}, "holds no spectra")
    content = write_parquet(path, table).read_bytes()
    for damaged in (
        b"",
        b"no parquet",
        content[: len(content) // 2],
        content[:500] + b"\xff" * 64 + content[564:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match=r"soils\.parquet"):
            libraries.load_library(str(path), GRID)
    path.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        libraries.load_library(str(path), GRID)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"needs pyarrow; .* pip install .*'ccnvr\[parquet\]'"):
        libraries.load_library(str(path), GRID)


def test_what_a_file_does_not_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(own_parquet, "ROWS_AT_ONCE", 1)
    reflectance = columns(OC=[1, 2, 3])
    of_last = {
        name: [*cells[:2], -np.log10(cells[2])] if name.isdigit() else cells
        for name, cells in reflectance.items()
    }
    for table, quantity, row, words in (
        (reflectance, "absorbance", 1, "'a' rises at 1917 nm, read as absorbance"),
        (
            reflectance,
            "percent",
            1,
            "'a' nowhere exceeds 1\\.5, so it holds fractions and not percent",
        ),
        (of_last, "reflectance", 3, "'c' rises at 1917 nm, read as reflectance"),
    ):
        for path, first in (
            (write_csv(tmp_path / "s.csv", table), 1),
            (write_parquet(tmp_path / "s.parquet", table), 0),
        ):
            with pytest.raises(
                UsageError,
                match=rf"{path} row {first + row}: sample {words}.*\(file_quantity in a recipe",
            ):
                libraries.load_library(str(path), GRID, quantity=quantity)


def test_each_spectrum_has_a_sample_id(tmp_path: Path) -> None:
    for nobody in ("", " ", None):
        table = {**columns(OC=[1, 2, 3]), "sample_id": ["a", nobody, "c"]}
        for path, row in (
            (write_csv(tmp_path / "s.csv", table), 3),
            (write_parquet(tmp_path / "s.parquet", table), 2),
        ):
            with pytest.raises(UsageError, match=rf"{path} row {row} has no sample_id"):
                libraries.load_library(str(path), GRID)


def test_a_file_whose_wavelengths_do_not_serve_is_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "soils.csv", columns(OC=[1, 2, 3]))
    for name in (str(path), "UL.120"):
        with pytest.raises(
            WavelengthError,
            match=rf"^{name}: the spectrum covers .*by a recipe whose \[grid\] lies inside it",
        ):
            libraries.load_library(name, Grid(1104.0, 2.0, 900))
    coarse = {
        name: cells
        for name, cells in columns(OC=[1, 2, 3]).items()
        if not name.isdigit() or int(name) % 20 == 0
    }
    path = write_csv(tmp_path / "soils.csv", coarse)
    with pytest.raises(WavelengthError, match=rf"^{path}: bands lie up to 20\.0 nm apart"):
        libraries.load_library(str(path), GRID)


def test_lines_and_headers_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(tmp_path / "soils.csv", columns(OC=[1, 2, 3]))
    monkeypatch.setattr(layout, "_MOST_COLUMNS", 100)
    with pytest.raises(UsageError, match="has 143 columns, more than 100"):
        read_spectra(path)
    monkeypatch.setattr(source, "LONGEST_LINE", 200)
    with pytest.raises(UsageError, match=rf"^{path}: line 1 has 200 characters or more; save"):
        read_spectra(path)
    monkeypatch.undo()
    whole = path.read_text().rstrip("\n")
    path.write_text(whole + '\nd,"2' + "2" * 200_000)
    with pytest.raises(
        UsageError,
        match=r"is not CSV at line 5 \(field larger than field limit .*; correct the line",
    ):
        read_spectra(path)
    path.write_bytes(whole.encode() + b"\nd,\x81")
    with pytest.raises(
        UsageError,
        match=r"is not UTF-8 text from line [1-5] on; save the table as CSV in UTF-8",
    ):
        read_spectra(path)


def test_a_large_csv_takes_little_more_memory_than_its_array() -> None:
    """75 MB of text; read at once, its numbers alone would be 86 MB."""
    script = memory_of_a_large_csv.__file__
    result = subprocess.run(
        [sys.executable, script, "--rows", "5000"], capture_output=True, text=True, check=True
    )
    found = json.loads(result.stdout)
    assert found["file"] > 70e6 and found["array"] == 5000 * 696 * 8
    assert found["growth_by_writing"] < 1e6
    assert found["growth"] < found["array"] + 24e6

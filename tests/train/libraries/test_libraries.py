"""Libraries: parts, units, where they come from, and files of the user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.chemometrics.grid import Grid, WavelengthError
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries import load as libraries

GRID = Grid(1104.0, 10.0, 140)


def test_parts_split_each_library_and_share_nothing() -> None:
    for name in limesoda.VISNIR_SETS:
        whole, train, test = (
            libraries.load_library(spec, GRID) for spec in (name, f"{name}:train", f"{name}:test")
        )
        assert sorted(train.sample_ids + test.sample_ids) == sorted(whole.sample_ids)
        assert len(test.sample_ids) == np.sum(limesoda.load(name).folds == limesoda.HELD_OUT_FOLD)
        assert whole.spectra.shape == (len(whole.sample_ids), 140)
        assert whole.properties == ("OC", "pH", "clay") and not np.isnan(whole.values).any()
        assert np.isnan(whole.column("CEC")).all()


def test_nirsoil_is_read_from_the_r_package_s_own_file(
    nirsoil_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCNVR_DATA", str(nirsoil_data))
    train, test = (
        libraries.load_library("nirsoil:train", GRID),
        libraries.load_library("nirsoil:test", GRID),
    )
    assert (len(train.sample_ids), len(test.sample_ids)) == (618, 207)
    measured = np.sum(~np.isnan(np.concatenate([train.values, test.values])), axis=0)
    assert train.properties == ("OC", "N", "CEC")
    assert measured.tolist() == [732, 645, 447]
    csv = nirsoil_data / "nirsoil.csv.gz"
    if csv.exists():
        table = np.genfromtxt(csv, delimiter=",", skip_header=1)
        whole = libraries.load_library("nirsoil", Grid(1100.0, 2.0, 700))
        np.testing.assert_allclose(whole.spectra, table[:, 5:], rtol=0, atol=6e-6)
        np.testing.assert_allclose(
            whole.values[:, :3], table[:, [2, 1, 3]] * [10.0, 1.0, 1.0], equal_nan=True
        )


def test_geeves_is_read_from_the_r_package_s_own_file(
    nirsoil_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCNVR_DATA", str(nirsoil_data))
    if not (nirsoil_data / "datsoilspc.rda").exists():
        pytest.skip("CCNVR_DATA names no folder with datsoilspc.rda")
    geeves = libraries.load_library("geeves", GRID)
    assert len(geeves.sample_ids) == 391
    assert geeves.properties == ("OC", "clay") and not np.isnan(geeves.values).any()
    # The first soils, by the published table: 0.15, 0.12 and 0.17 g/100g of carbon.
    np.testing.assert_allclose(geeves.values[:3, 0], [1.5, 1.2, 1.7])
    np.testing.assert_allclose(geeves.values[:3, 1], [49.0, 7.0, 56.0])
    assert geeves.spectra.min() > 0.05 and geeves.spectra.max() < 1.7
    assert "total carbon" in libraries.source("geeves")["values"]
    with pytest.raises(UsageError, match="has no official parts"):
        libraries.load_library("geeves:train", GRID)


def test_libraries_that_cannot_be_had_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="library 'LUCAS' is not one of nirsoil, geeves, CV"):
        libraries.load_library("LUCAS", GRID)
    with pytest.raises(UsageError, match=r"part 'half' of library 'CV\.98'"):
        libraries.load_library("CV.98:half", GRID)
    with pytest.raises(WavelengthError, match="covers"):
        libraries.load_library("CV.98", Grid(300.0, 10.0, 100))
    monkeypatch.delenv("CCNVR_DATA", raising=False)
    with pytest.raises(
        UsageError, match=r"CCNVR_DATA is '' and must name the folder that holds ossl_all"
    ):
        libraries.load_library("ossl", GRID)
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))
    (tmp_path / "NIRsoil.RData").write_bytes(b"other")
    with pytest.raises(limesoda.DataError, match="sha256 fbd4ecf28d1e"):
        libraries.load_library("nirsoil", GRID)


def test_a_user_s_own_file_is_a_library(tmp_path: Path) -> None:
    bands = range(1100, 2510, 10)

    def write(name: str, header: str, *rows: tuple[str, float]) -> Path:
        """Each row: its first cells, and the reflectance at 1100 nm, from where it rises but for
        the water of every soil at 1917 nm.
        """
        nm = np.array(bands)
        water = 1.0 - 0.1 * np.exp(-0.5 * ((nm - 1917.0) / 30.0) ** 2)
        spectra = (
            (cells, [f"{value:.4f}" for value in (level + 1e-4 * (nm - 1100)) * water])
            for cells, level in rows
        )
        lines = [
            ",".join([header, *map(str, bands)]),
            *(",".join([cells, *values]) for cells, values in spectra),
        ]
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    path = write(
        "mine.csv", "sample_id,OC,field,pH,clay", ("a,12.5,north,6.1,31", 0.2), ("b,,south,7,", 0.3)
    )
    nan = np.nan
    mine = libraries.load_library(str(path), GRID)
    assert mine.sample_ids == ["mine.csv/a", "mine.csv/b"]
    np.testing.assert_array_equal(
        mine.of(("OC", "N", "CEC", "pH", "clay")).values,
        [[12.5, nan, nan, 6.1, 31], [nan, nan, nan, 7.0, nan]],
    )
    assert 0.5 < mine.spectra[0, 0] < 0.7
    percent = write("percent.csv", "sample_id,OC", ("a,1", 30.0))
    assert libraries.load_library(str(percent), GRID, quantity="percent").spectra.max() < 0.6
    with pytest.raises(UsageError, match="fractions and not percent"):
        libraries.load_library(str(path), GRID, quantity="percent")
    for cells, words in (
        ("a,x,6.1", "column OC is 'x'"),
        ("a,1,-1", "column pH is '-1'"),
        ("a,1,61", "column pH is '61'"),
    ):
        bad = write("bad.csv", "sample_id,OC,pH", (cells, 0.2))
        with pytest.raises(UsageError, match=f"row 2 {words} and must be a number from 0 to"):
            libraries.load_library(str(bad), GRID)
    with pytest.raises(UsageError, match="none of the columns OC, N, CEC, pH, clay"):
        libraries.load_library(str(write("bad.csv", "sample_id,depth", ("a,1", 0.2))), GRID)
    with pytest.raises(UsageError, match="column SOC, which is not understood: name it OC_g_kg"):
        libraries.load_library(str(write("bad.csv", "sample_id,SOC", ("a,1", 0.2))), GRID)
    with pytest.raises(UsageError, match=r"sample 'a' has reflectance -0\.1 at 1100 nm"):
        libraries.load_library(str(write("bad.csv", "sample_id,OC", ("a,1", -0.1))), GRID)

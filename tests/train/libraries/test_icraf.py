"""The ICRAF-ISRIC library: its originals, the joined table, parts by country and profile."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.chemometrics.grid import Grid, WavelengthError
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.export.exporting import export_run
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.calibration.folds import fold_of, twins_of
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.published import icraf
from ccnvr.train.recipe import recipe_file
from ccnvr.train.runs import run as runs
from tests.support import recipes
from tests.support.helpers import run_ccnvr
from tests.support.icraf_table import write_joined

WHOLE = Grid(410.0, 10.0, 205)
CUT = Grid.between(430.0, 2440.0, 10.0, icraf.GAPS_NM)
NAN = np.nan
CHEMISTRY = [
    "ISO",
    "ID",
    "HORI",
    "BTOP",
    "BBOT",
    "SAMPLENO",
    "PHH2O",
    "PHKCL",
    "PHCACL2",
    "CACO3",
    "CASO4",
    "ORGC",
    "ORGN",
    "C/N",
    "CA",
    "MG",
    "NA",
    "K",
    "SUM",
    "EXACID",
    "EXAL",
    "CECSOIL",
    "CECCLAY",
    "EC",
    "CHEMREM",
]


def soil(level: float) -> np.ndarray:
    """Reflectance at 350-2500 nm by 10 nm."""
    wavelengths = np.arange(350.0, 2501.0, 10.0)
    return level + 0.0001 * wavelengths - 0.05 * np.exp(-(((wavelengths - 1917.0) / 20.0) ** 2))


def write_tab(path: Path, header: list[str], rows: list[dict[str, object]]) -> None:
    """Write a tab-separated file with text in quotes, as Dataverse does."""

    def cell(value: object) -> str:
        return f'"{value}"' if isinstance(value, str) else str(value)

    lines = ["\t".join(header)]
    lines += ["\t".join(cell(row.get(name, "")) for name in header) for row in rows]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def originals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four horizons of two countries, of which one has no laboratory values, and a damaged scan."""
    bands = [f"W{nm}" for nm in range(350, 2501, 10)]
    spectra = {"a1": soil(0.1), "a2": soil(0.2), "b1": soil(0.3), "x9": soil(0.4), "b2": soil(0.5)}
    spectra["b2"][80] = -0.01
    write_tab(
        tmp_path / icraf.SPECTRA,
        ["Batch_Labid", *bands],
        [
            {"Batch_Labid": code, **dict(zip(bands, values.round(5), strict=True))}
            for code, values in spectra.items()
        ],
    )
    write_tab(
        tmp_path / icraf.CODES,
        ["Batch and labid", "Sampleno", "Country name", "Plotcode"],
        [
            {"Batch and labid": code, "Sampleno": f"S-{code}", "Country name": "?"}
            for code in spectra
        ],
    )
    rows: list[dict[str, object]] = [
        {"ISO": "KE", "ID": 1, "SAMPLENO": "S-a1", "ORGC": 1.5, "ORGN": 0.12, "PHH2O": 6.1,
         "PHKCL": 5.0, "CECSOIL": 12.5, "CA": 4.1, "K": 0.3, "EC": 0.2, "CHEMREM": "text"},
        {"ISO": "KE", "ID": 1, "SAMPLENO": "S-a2", "ORGC": 0.4, "ORGN": 0.4, "PHH2O": -9.0},
        {"ISO": "AU", "ID": 1, "SAMPLENO": "S-b1", "ORGC": 0.7, "CACO3": 12.0, "PHCACL2": 7.2},
        {"ISO": "AU", "ID": 1, "SAMPLENO": "S-b2", "ORGC": 0.7},
    ]  # fmt: skip
    write_tab(tmp_path / icraf.CHEMISTRY, CHEMISTRY, rows)
    write_tab(
        tmp_path / icraf.TEXTURE,
        ["ISO", "ID", "SAMPLENO", "TSA", "TSI", "CLAY"],
        [
            {"SAMPLENO": "S-a1", "TSA": 50.0, "TSI": 20.0, "CLAY": 30.0},
            {"SAMPLENO": "S-a2", "TSA": 50.0, "TSI": 20.0, "CLAY": 60.0},
            {"SAMPLENO": "S-b1", "TSA": "", "TSI": "", "CLAY": 41.0},
        ],
    )
    write_tab(
        tmp_path / icraf.COUNTRIES,
        ["ISO", "COUNTRY", "REGION"],
        [
            {"ISO": "KE", "COUNTRY": "Kenya", "REGION": "AF"},
            {"ISO": "AU", "COUNTRY": "Australia", "REGION": "OC"},
        ],
    )
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))
    return tmp_path


def test_the_original_files_are_joined(originals: Path) -> None:
    soils = libraries.load_library("icraf", WHOLE)
    # One has no laboratory values, another a band that is no reflectance.
    assert soils.sample_ids == ["icraf/a1", "icraf/a2", "icraf/b1"]
    assert soils.sites == ["Kenya/KE 1", "Kenya/KE 1", "Australia/AU 1"]
    expected = {
        "OC": [15.0, 4.0, 7.0],
        # C/N of 1 is a mistake.
        "N": [1.2, NAN, NAN],
        "CEC": [12.5, NAN, NAN],
        "pH": [6.1, NAN, NAN],
        "CaCO3": [NAN, NAN, 12.0],
        "pH_CaCl2": [NAN, NAN, 7.2],
        "pH_KCl": [5.0, NAN, NAN],
        "Ca": [4.1, NAN, NAN],
        "K": [0.3, NAN, NAN],
        "EC": [0.2, NAN, NAN],
        # A texture of 130 % is a mistake.
        "clay": [30.0, NAN, 41.0],
        "silt": [20.0, NAN, NAN],
        "sand": [50.0, NAN, NAN],
    }
    assert set(soils.properties) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(soils.column(name), values, err_msg=name)
    np.testing.assert_allclose(soils.spectra[0], absorbance(soil(0.1).round(5))[6:211], atol=1e-6)
    # Also without the bands of the air's water.
    assert libraries.load_library("icraf", CUT).spectra.shape == (3, CUT.bands)


def test_originals_that_are_missing_or_changed_are_named(originals: Path) -> None:
    (originals / icraf.CHEMISTRY).rename(originals / "kept")
    with pytest.raises(UsageError, match=r"Chemical_properties\.tab is not there.*doi 10\.34725"):
        libraries.load_library("icraf", WHOLE)
    write_tab(originals / icraf.CHEMISTRY, [name for name in CHEMISTRY if name != "ORGC"], [])
    with pytest.raises(DataError, match="has no column ORGC"):
        libraries.load_library("icraf", WHOLE)
    text = (originals / "kept").read_text().replace("6.1", "acid")
    (originals / icraf.CHEMISTRY).write_text(text)
    with pytest.raises(DataError, match=r"row 2 column PHH2O is 'acid'"):
        libraries.load_library("icraf", WHOLE)
    (originals / icraf.TEXTURE).unlink()
    (originals / "kept").rename(originals / icraf.CHEMISTRY)
    assert "clay" not in libraries.load_library("icraf", WHOLE).properties
    write_tab(originals / icraf.CODES, ["Code", "Sampleno"], [])
    with pytest.raises(DataError, match="no column Batch_Labid or Sampleno"):
        libraries.load_library("icraf", WHOLE)
    (originals / icraf.SPECTRA).unlink()
    with pytest.raises(UsageError, match=r"ASD Spectra\.tab is not there"):
        libraries.load_library("icraf", WHOLE)


def test_the_joined_table_needs_a_grid_with_its_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_joined(tmp_path)
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))
    soils = libraries.load_library("icraf", CUT)
    assert (len(soils), soils.properties) == (120, ("OC", "pH", "pH_KCl"))
    with pytest.raises(
        WavelengthError, match=r"icraf: bands lie up to 170\.0 nm apart.*by gaps in"
    ):
        libraries.load_library("icraf", Grid(430.0, 10.0, 201))
    listed = json.loads(run_ccnvr("data", "icraf", "--json").stdout)
    assert listed["soils"]["pH_KCl"] == 120 and "CC BY 4.0" in listed["licence"]
    assert listed["parts"] == ["country=...", "profiles=...", "countries=..."]


def test_soils_are_selected_by_country_and_by_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_joined(tmp_path)
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))

    def ids(part: str) -> set[str]:
        return set(libraries.load_library(f"icraf:{part}", CUT).sample_ids)

    every = set(libraries.load_library("icraf", CUT).sample_ids)
    for chosen, rest in (
        ("country=Kenya", "country!=kenya"),
        ("country=Kenya+Congo, the Republic", "country=Mali+Cote d'Ivoire"),
        ("profiles=1/4", "profiles!=1/4"),
    ):
        assert ids(chosen) | ids(rest) == every and not ids(chosen) & ids(rest)
    assert len(ids("country=Kenya")) == 30
    shares = [ids(f"profiles={share}/3") for share in (1, 2, 3)]
    assert set.union(*shares) == every and sum(map(len, shares)) == 120
    assert ids("profiles=1/3/0") == shares[0] != ids("profiles=1/3/1")
    shares = [ids(f"countries={share}/2/1") for share in (1, 2)]
    assert set.union(*shares) == every and sum(map(len, shares)) == 120
    assert all(
        not ids(f"country={name}") & shares[0] or ids(f"country={name}") <= shares[0]
        for name in ("Kenya", "Mali")
    )
    soils = libraries.load_library("icraf:profiles=1/3", CUT)
    others = libraries.load_library("icraf:profiles!=1/3", CUT)
    assert soils.sites and others.sites and not set(soils.sites) & set(others.sites)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("country=Kenia", "no soil has the country 'Kenia'; did you mean 'Kenya'"),
        ("country!=Atlantis", "no soil has the country 'Atlantis'; there are Congo"),
        ("region=Africa", "selects by region, and not by country or profiles or countries"),
        ("profiles=6/5", "is not a share of the profiles"),
        ("profiles=half", "is not a share of the profiles"),
        ("countries=1/5/x", "is not a share of the countries; give one such as countries=1/5"),
        ("train", "select soils by country=... or profiles=... or countries=..."),
        ("country=", "select soils by country=... or profiles=... or countries=..."),
    ],
)
def test_a_part_that_cannot_be_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, words: str
) -> None:
    write_joined(tmp_path)
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        libraries.load_library(f"icraf:{part}", CUT)
    assert words in str(caught.value)


def test_horizons_of_a_profile_share_a_fold_and_are_no_twins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_joined(tmp_path)
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))
    soils = libraries.join(
        [libraries.load_library("icraf", CUT), libraries.load_library("SL.125", CUT)]
    )
    folds = fold_of(soils, 5, seed=1)
    assert soils.sites is not None and len(soils.sites) == len(soils)
    by_site: dict[str, set[int]] = {}
    for site, fold in zip(soils.sites, folds.tolist(), strict=True):
        by_site.setdefault(site, set()).add(fold)
    assert all(len(found) == 1 for found in by_site.values())
    assert len(by_site) == 40 + 125
    assert twins_of(libraries.load_library("icraf", CUT)) == ""


def test_a_recipe_leaves_a_country_out_and_its_bundle_needs_no_water_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_joined(tmp_path)
    monkeypatch.setenv("CCNVR_DATA", str(tmp_path))
    text = recipes.SMALL.replace('"UL.120:train", "SL.125:train"', '"icraf:country!=Kenya"')
    text = text.replace('"CV.98", "SC.93", "UL.120:test", "SL.125:test"', '"icraf:country=Kenya"')
    text = text.replace('pH = "identity"', 'pH_KCl = "identity"').replace("= 1104.0", "= 430.0")
    text = text.replace(
        "bands = 140", f"bands = {CUT.bands}\ngaps = [[1360.0, 1450.0], [1800.0, 1950.0]]"
    )
    recipe = recipe_file.parse(text, tmp_path / "recipe.toml")
    assert recipe.grid == Grid(430.0, 10.0, CUT.bands, icraf.GAPS_NM)
    report = runs.train(recipe, tmp_path / "run")
    assert report.soils["trained_on"] == {"icraf": 90}
    assert report.accuracy["soils held out from training"]["icraf"]["pH_KCl"]["n"] == 30
    bundle = tmp_path / "cut.ccnvr"
    export_run(tmp_path / "run", bundle, profiles=("fp32",), formats=("onnx",))
    assert "without 1360-1450 and 1800-1950" in run_ccnvr("inspect", bundle).stdout

    published = limesoda.load("SL.125")

    def written(name: str, vapour: float | None) -> Path:
        """Write spectra by 2 nm, with a value in the air's water bands or without these bands."""
        bands = list(range(426, 2450, 2))
        inside = {nm for nm in bands if 1361 < nm < 1449 or 1801 < nm < 1949}
        if vapour is None:
            bands = [nm for nm in bands if nm not in inside]
        with (tmp_path / name).open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["sample_id", *bands])
            for row in range(3):
                spectrum = np.interp(bands, published.wavelengths_nm, published.reflectance[row])
                cells = [
                    vapour if nm in inside else f"{value:.5f}"
                    for nm, value in zip(bands, spectrum, strict=True)
                ]
                writer.writerow([f"s{row}", *cells])
        return tmp_path / name

    printed = [
        run_ccnvr("predict", bundle, written(name, vapour), "--json")
        for name, vapour in (("noisy.csv", -0.4), ("flat.csv", 0.0), ("cut.csv", None))
    ]
    assert [result.returncode for result in printed] == [0, 0, 0], printed[0].stderr
    answers = [
        [json.loads(line)["predictions"]["pH_KCl"]["value"] for line in result.stdout.splitlines()]
        for result in printed
    ]
    assert len(answers[0]) == 3
    assert answers[0] == answers[1] == pytest.approx(answers[2], rel=1e-6)

"""Properties of any kind: named by a recipe, read from a file, trained, exported and predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.export.exporting import export_run
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.properties import KNOWN, PROPERTIES, Property
from ccnvr.train.recipe import recipe_file
from ccnvr.train.recipe.recipe import TrainingRecipe
from ccnvr.train.runs import folder as run_folder
from ccnvr.train.runs import run as runs
from ccnvr.train.runs.base import read_base
from tests.support import recipes
from tests.support.helpers import run_ccnvr
from tests.support.soil_files import write_soils

IN_CACL2 = "http://w3id.org/glosis/model/procedure/pHProcedure-pHCaCl2"
ANY = f"""
[properties.OC]
unit = "g/kg"
transform = "log1p"
range = [0, 300]

[properties.pH_CaCl2]
unit = "pH"
method = "{IN_CACL2}"

[properties.P_Olsen]
unit = "mg/kg"
transform = "log1p"
range = [0, 500]
method = "Olsen"
"""


def recipe_text(changed: str = ANY, libraries_: str = '["mine.csv"]') -> str:
    """Return the small recipe with tables of properties in place of `transforms`."""
    text = recipes.SMALL.replace('transforms = { OC = "log1p", pH = "identity" }\n', "")
    text = text.replace('["UL.120:train", "SL.125:train"]', libraries_)
    return text.replace(
        'tests = ["CV.98", "SC.93", "UL.120:test", "SL.125:test"]', "tests = []"
    ) + (changed)


def parse(text: str) -> TrainingRecipe:
    return recipe_file.parse(text, Path("recipe.toml"))


def test_a_recipe_names_any_property_with_unit_transform_range_and_method() -> None:
    recipe = parse(recipe_text())
    assert recipe.transforms == {"OC": "log1p", "pH_CaCl2": "identity", "P_Olsen": "log1p"}
    assert recipe.property_of("P_Olsen") == Property("mg/kg", "log1p", (0.0, 500.0), "Olsen")
    assert recipe.property_of("pH_CaCl2").range == KNOWN["pH_CaCl2"].range
    assert parse(recipe_file.write(recipe)) == recipe
    fewer = recipe.only(["P_Olsen", "OC"])
    assert fewer.properties == ("P_Olsen", "OC") and set(fewer.definitions) == {"OC", "P_Olsen"}
    assert parse(recipe_file.write(fewer)) == fewer
    plain = parse(recipes.SMALL)
    assert "properties" not in recipe_file.write(plain)
    assert plain.property_of("OC") == Property("g/kg", "log1p", (0.0, 600.0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('unit = "mg/kg"\n', ""), "key 'properties.P_Olsen.unit' is missing"),
        (('unit = "mg/kg"', 'unit = ""'), "properties.P_Olsen: unit is empty"),
        (('unit = "g/kg"', 'unit = "%"'), "unit '%', and the libraries' OC is in g/kg"),
        (('"log1p"\nrange = [0, 500]', '"log2"\nrange = [0, 500]'), "'log2' is not one of"),
        (("[0, 500]", "[500, 0]"), "must be the lowest and the highest"),
        (("[0, 500]", "[-5, 500]"), "log1p takes values above -1"),
        (("P_Olsen", '"P Olsen"'), "'P Olsen' is not a name"),
        (("[fit]", "transforms_ = 1\n[fit]"), "transforms_"),
    ],
)
def test_a_property_that_cannot_be_is_named(change: tuple[str, str], words: str) -> None:
    text = recipe_text().replace(*change)
    with pytest.raises(UsageError, match=words):
        parse(text)


def test_a_property_is_given_its_transform_once() -> None:
    head = 'transforms = { OC = "identity", pH = "identity" }\n'
    with pytest.raises(UsageError, match=r"transforms gives OC the transform 'identity'"):
        parse(head + recipe_text())
    both = parse('transforms = { pH = "identity" }\n' + recipe_text())
    assert both.properties == ("pH", "OC", "pH_CaCl2", "P_Olsen")
    with pytest.raises(UsageError, match=r"'Fe' is not one of OC, .*\[properties\.Fe\]"):
        parse('transforms = { Fe = "identity" }\n' + recipe_text())


def test_ph_in_water_in_calcium_chloride_and_in_potassium_chloride_are_never_merged(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.csv"
    acid = limesoda.load("UL.120").properties["pH"]
    only: dict[str, Any] = {"OC": None, "pH": None, "clay": None}
    write_soils(path, "UL.120", 120, **only, pH_H2O=acid, pH_CaCl2=acid - 0.6, pH_KCl=acid - 1.0)
    soils = libraries.load_library(str(path), Grid(1104.0, 10.0, 140))
    assert soils.properties == ("pH", "pH_CaCl2", "pH_KCl")
    np.testing.assert_allclose(soils.column("pH_CaCl2"), acid - 0.6, atol=1e-3)
    joined = libraries.join([soils, libraries.load_library("SL.125", soils.grid)])
    assert joined.properties == tuple(
        name for name in PROPERTIES if name in ("OC", "pH", "clay", "pH_CaCl2", "pH_KCl")
    )
    assert np.isnan(joined.column("pH_CaCl2")[len(soils) :]).all()


def test_what_was_measured_in_another_solution_is_no_ph_in_water(tmp_path: Path) -> None:
    acid = limesoda.load("UL.120").properties["pH"]
    path = tmp_path / "mine.csv"
    write_soils(path, "UL.120", 120, OC=None, pH=None, clay=None, pH_CaCl2=acid)
    text = recipe_text('\n[properties.pH]\nunit = "pH"\n', json.dumps([str(path)]))
    with pytest.raises(UsageError, match=r"pH was measured in 0 .* different properties: pH"):
        runs.train(parse(text), tmp_path / "run")


def test_any_property_is_trained_exported_inspected_and_predicted(tmp_path: Path) -> None:
    published, rng = limesoda.load("UL.120"), np.random.default_rng(0)
    path = tmp_path / "mine.csv"
    phosphorus = rng.uniform(5.0, 60.0, 120).round(1)
    phosphorus[3] = 499.0
    measured: dict[str, Any] = {"pH_CaCl2": published.properties["pH"] - 0.6, "P_Olsen": phosphorus}
    write_soils(path, "UL.120", 120, OC=None, pH=None, clay=None, **measured)
    text = recipe_text(libraries_=json.dumps(["SL.125", str(path)])).replace("[0, 300]", "[0, 30]")
    few = text.replace("[0, 500]", "[0, 400]")
    with pytest.raises(UsageError, match=r"P_Olsen is '499\.0' and must be .* to 400, in mg/kg"):
        runs.train(parse(few), tmp_path / "run")
    report = runs.train(parse(text), tmp_path / "run")
    carbon, acidity, olsen = report.targets
    # A library's values beyond the recipe's range count as not measured.
    assert carbon.highest <= 30.0 and limesoda.load("SL.125").properties["OC"].max() > 30.0
    assert (acidity.name, acidity.method) == ("pH_CaCl2", IN_CACL2)
    assert (olsen.unit, olsen.method, olsen.transform) == ("mg/kg", "Olsen", "log1p")
    assert report.soils["measured"] == {
        "OC": int(np.sum(limesoda.load("SL.125").properties["OC"] <= 30.0)),
        "pH_CaCl2": 120,
        "P_Olsen": 120,
    }
    assert run_folder.load(tmp_path / "run")[2] == report
    bundle = tmp_path / "any.ccnvr"
    export_run(
        tmp_path / "run", bundle, profiles=("fp32",), formats=("onnx", "network"),
        targets=("P_Olsen", "pH_CaCl2"),
    )  # fmt: skip
    shown = run_ccnvr("inspect", bundle).stdout
    assert "P_Olsen in mg/kg" in shown and f"method: {IN_CACL2}" in shown
    lines = run_ccnvr("predict", bundle, path, "--json").stdout.splitlines()
    first = json.loads(lines[0])["predictions"]
    assert first.keys() == {"P_Olsen", "pH_CaCl2"} and first["P_Olsen"]["unit"] == "mg/kg"
    base = read_base(str(bundle))
    assert base.recipe.properties == ("P_Olsen", "pH_CaCl2")
    assert base.recipe.property_of("P_Olsen").unit == "mg/kg"

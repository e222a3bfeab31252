"""`ccnvr data`: what it says of each library, and that looking fetches and changes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ccnvr.train.libraries.catalogue import LIBRARIES
from tests.support.helpers import assert_one_sentence, run_ccnvr


def test_every_library_is_listed_and_nothing_is_fetched(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CCNVR_DATA"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    result = run_ccnvr("data", "--json", env=environment)
    assert result.returncode == 0, result.stderr
    entries = {entry["name"]: entry for entry in map(json.loads, result.stdout.splitlines())}
    assert list(entries) == list(LIBRARIES)
    assert {name: count for name, count in entries["CV.98"]["soils"].items() if count} == {
        "all": 98,
        "OC": 98,
        "pH": 98,
        "clay": 98,
    }
    assert entries["CV.98"]["soils"]["CEC"] == entries["CV.98"]["soils"]["pH_KCl"] == 0
    assert entries["CV.98"]["parts"] == ["train", "test"]
    assert not entries["nirsoil"]["present"] and entries["nirsoil"]["soils"] is None
    assert "esdac.jrc.ec.europa.eu" in entries["lucas2009"]["origin"]
    assert "soilspectroscopy.org" in entries["neospectra"]["origin"]
    assert all(entry["licence"] and entry["values"] for entry in entries.values())
    assert not list(tmp_path.iterdir())


def test_named_libraries_are_counted_as_text(nirsoil_data: Path) -> None:
    result = run_ccnvr("data", "nirsoil", "UL.120")
    assert result.returncode == 0, result.stderr
    assert f"nirsoil: {nirsoil_data / 'NIRsoil.RData'}; parts train, test" in result.stdout
    assert "825 soils; OC 732, N 645, CEC 447" in result.stdout
    assert "120 soils; OC 120, pH 120, clay 120" in result.stdout


def test_what_cannot_be_counted_is_named(tmp_path: Path) -> None:
    assert_one_sentence(run_ccnvr("data", "rruff"), 2, "library 'rruff' is not one of nirsoil")
    environment = {**os.environ, "CCNVR_DATA": str(tmp_path)}
    assert_one_sentence(
        run_ccnvr("data", "lucas2018", env=environment),
        2,
        "LUCAS-SOIL-2018.csv",
        "esdac.jrc.ec.europa.eu",
    )

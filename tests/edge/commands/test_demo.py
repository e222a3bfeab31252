"""The demo: its JSON, its repeatability, and soils that the bundle was not trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccnvr.edge.demo.soils import WAVELENGTHS_NM, choose_soils
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.simulators.handheld import pixel_wavelengths
from tests.support.helpers import assert_one_sentence, run_ccnvr

pytestmark = pytest.mark.slow

PROPERTIES = ["OC", "N", "CEC", "pH", "clay", "sand"]


def values(record: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that noise and soil determine, without those of the clock."""
    return {
        key: record[key] for key in ("scan_id", "instrument", "predictions", "reference", "flags")
    }


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    result = run_ccnvr("demo", "--spectra", 20, "--json")
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_one_object_a_line_and_a_summary_last(records: list[dict[str, Any]]) -> None:
    *scans, last = records
    assert len(scans) == 20
    for number, scan in enumerate(scans, start=3):
        assert list(scan) == [
            "scan_id",
            "time",
            "instrument",
            "predictions",
            "flags",
            "verdict",
            "latency_ms",
            "clock_synchronised",
            "reference",
        ]
        assert scan["scan_id"] == f"SIM-512-1-{number}"
        assert list(scan["predictions"]) == PROPERTIES
        for estimate in scan["predictions"].values():
            assert list(estimate) == ["value", "unit", "low", "high", "places"]
        assert set(scan["reference"]) == {"OC", "pH", "clay"}
        assert scan["latency_ms"] > 0
    summary = last["summary"]
    assert summary["spectra"] == 20
    assert summary["frames_lost"] == 0
    assert summary["bytes_read"] > 20 * 512 * 4
    assert set(summary["latency_ms"]) == {"p50", "p99"}
    assert summary["errors"]["OC"]["n"] == 20
    assert summary["errors"]["CEC"] == {
        "n": 0,
        "r2": None,
        "rmse": None,
        "mae": None,
        "bias": None,
        "rpiq": None,
        "rpd": None,
    }


def test_the_summary_s_errors_are_those_of_the_records(records: list[dict[str, Any]]) -> None:
    *scans, last = records
    for name in ("OC", "pH"):
        errors = [scan["predictions"][name]["value"] - scan["reference"][name] for scan in scans]
        assert last["summary"]["errors"][name]["rmse"] == pytest.approx(
            np.sqrt(np.mean(np.square(errors))), abs=1e-4
        )


def test_two_runs_print_the_same_values_and_another_seed_others(
    records: list[dict[str, Any]],
) -> None:
    again, other = (
        [
            json.loads(line)
            for line in run_ccnvr("demo", "--spectra", 20, "--json", *seed).stdout.splitlines()
        ]
        for seed in ([], ["--seed", 2])
    )
    assert [values(record) for record in again[:-1]] == [values(record) for record in records[:-1]]
    assert [values(record) for record in other[:-1]] != [values(record) for record in records[:-1]]


def test_the_text_shows_each_prediction_beside_the_laboratory(
    records: list[dict[str, Any]],
) -> None:
    result = run_ccnvr("demo", "--spectra", 20)
    assert result.returncode == 0, result.stderr
    for record, line in zip(records[:-1], result.stdout.splitlines()[4:], strict=False):
        assert f"{record['predictions']['OC']['value']:.3g} [" in line
        assert f"| {record['reference']['OC']:.3g}" in line
    assert "N: these soils have no laboratory value" in result.stdout
    assert "20 spectra, 0 frames lost" in result.stdout


def test_the_demo_s_soils_are_real_and_not_trained_on(model: ProvedModel) -> None:
    soils = choose_soils(20, seed=1)
    assert len({soil.sample_id for soil in soils}) == 20
    parts = model.bundle.manifest.card.soils["parts"]
    for soil in soils:
        name, _, row = soil.sample_id.partition("/")
        original = limesoda.load(name)
        assert original.folds[int(row) - 1] == limesoda.HELD_OUT_FOLD
        assert f"{name}:train" in parts and name not in parts
        at_2000 = np.interp(2000.0, original.wavelengths_nm, original.reflectance[int(row) - 1])
        assert soil.reflectance[WAVELENGTHS_NM.index(2000)] == pytest.approx(at_2000, abs=1e-6)
    assert (
        WAVELENGTHS_NM[0] < pixel_wavelengths()[0] and pixel_wavelengths()[-1] < WAVELENGTHS_NM[-1]
    )


def test_saved_soils_never_replace_a_file(tmp_path: Path) -> None:
    recipe = tmp_path / "p.toml"
    recipe.write_text("mine")
    assert_one_sentence(
        run_ccnvr("demo", "--save-soils", recipe),
        2,
        f"{recipe} exists already; give another --save-soils",
    )
    assert recipe.read_text() == "mine"


def test_wrong_use() -> None:
    assert_one_sentence(
        run_ccnvr("demo", "--spectra", 0), 2, "0 is out of range; give a whole number from 1 to 89"
    )
    assert_one_sentence(
        run_ccnvr("demo", "--bundle", "none.ccnvr", "--spectra", 1), 2, "no bundle at none.ccnvr"
    )

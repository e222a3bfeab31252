"""A model for a multispectral sensor is trained, exported and run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.cli import main
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.simulators.as7265x import WAVELENGTHS
from tests.support.helpers import assert_one_sentence, run_ccnvr

BANDS = ", ".join(f"{nm:g}" for nm in WAVELENGTHS)
RECIPE = f"""
name = "eighteen-bands"
libraries = ["CV.98:train", "SSP.460:train"]
tests = ["CV.98:test", "SSP.460:test"]
folds = 2
transforms = {{ OC = "log1p", clay = "identity" }}
[grid]
wavelengths_nm = [{BANDS}]
[instrument]
centres_nm = [{BANDS}]
fwhm_nm = 20
[[channels]]
[[channels]]
snv = false
[members]
kinds = ["matern"]
network = false
repeats = 1
most_soils = 60
[network]
convolutions = [{{ filters = 4, kernel = 3, pool = 2 }}]
hidden = 4
dense = 4
[fit]
epochs = 1
augmentation = {{ slope = 0.01, noise = 0.0005, input_shift = 0.0 }}
"""


@pytest.mark.slow
def test_a_model_of_separate_bands_is_trained_exported_and_run(tmp_path: Path) -> None:
    recipe, run, bundle = (tmp_path / name for name in ("recipe.toml", "run", "bands.ccnvr"))
    recipe.write_text(RECIPE)
    assert main(["train", str(recipe), "--out", str(run)]) == 0
    assert main(["export", str(run), "--out", str(bundle), "--profile", "fp32"]) == 0
    grid = bundles.read(bundle).manifest.preprocessing.grid
    assert np.array_equal(grid.wavelengths(), WAVELENGTHS)
    # A file as the sensor gives it, and one of a continuous instrument, which is interpolated.
    soils = limesoda.load("CV.98")
    rows = np.flatnonzero(soils.folds == limesoda.HELD_OUT_FOLD)
    predicted = []
    for name, nm in (("bands", WAVELENGTHS), ("all", soils.wavelengths_nm)):
        path, out = tmp_path / f"{name}.csv", tmp_path / f"{name}.out.csv"
        with open(path, "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["sample_id", *(f"{one:g}" for one in nm)])
            for row in rows:
                seen = np.interp(nm, soils.wavelengths_nm, soils.reflectance[row])
                writer.writerow([f"soil-{row}", *seen.round(6)])
        assert main(["predict", str(bundle), str(path), "--out", str(out)]) == 0
        with open(out) as table:
            predicted.append([float(line["clay (%)"]) for line in csv.DictReader(table)])
    assert predicted[0] == pytest.approx(predicted[1], abs=0.5)
    measured = soils.properties["clay"][rows]
    assert abs(np.mean(predicted[0]) - measured.mean()) < 15.0
    # Every engine runs it, and every other sensor is refused in a sentence.
    for engine in ("onnx", "litert", "numpy"):
        assert ProvedModel(bundle, engine).self_test_difference < 1e-3
    one_less = tmp_path / "less.csv"
    lines = (tmp_path / "bands.csv").read_text().splitlines()
    one_less.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines))
    refused = run_ccnvr("predict", bundle, one_less)
    assert_one_sentence(refused, 2, "no band within 5 nm of 940 nm")


def test_changes_that_need_neighbouring_bands_are_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace("slope = 0.01", "shift_nm = 1.0"))
    refused = run_ccnvr("train", recipe, "--out", tmp_path / "run")
    assert_one_sentence(refused, 2, "shift_nm or broadening_nm", "wavelengths_nm")

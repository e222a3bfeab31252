"""Files of instruments with other ranges than a library's: each goes through every command, and
nobody writes a grid by hand; real soils as these instruments would list their bands.
"""

from __future__ import annotations

import contextlib
import csv
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.cli import main
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.arrays import Array, Integers
from ccnvr.train.runs import own_recipe
from tests.support.helpers import CCNVR

BANDS = {
    # A Fourier transform instrument lists even wavenumbers, the highest first in nm.
    "neospectra": 1e7 / np.linspace(1e7 / 2550.0, 1e7 / 1350.0, 257),
    # As the driver of this name states its bands.
    "nirscan": np.linspace(901.0, 1701.0, 228),
    "visible": np.linspace(350.0, 1050.0, 1024),
}
ONLY = ("--only", "network,onnx", "--profile", "fp32")
LABORATORY = ("OC", "pH", "clay")


def write(path: Path, bands: Array, rows: Integers, field: bool = False) -> None:
    """Write soils of CV.98 at these bands, or as another instrument in the field sees them."""
    soils = limesoda.load("CV.98")
    nm, reflectance = soils.wavelengths_nm, soils.reflectance[rows]
    # No library reaches 2550 nm: the last slope goes on.
    beyond = np.arange(nm[-1] + 1.0, 2560.0)
    slope = (reflectance[:, -1] - reflectance[:, -30]) / (nm[-1] - nm[-30])
    more = reflectance[:, -1:] + slope[:, None] * (beyond - nm[-1])
    nm, reflectance = np.concatenate([nm, beyond]), np.concatenate([reflectance, more], axis=1)
    rng = np.random.default_rng(len(rows))
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sample_id", *LABORATORY, *(f"{band:.2f}" for band in bands)])
        for row, spectrum in zip(rows, reflectance, strict=True):
            seen = np.interp(bands, nm, spectrum)
            if field:
                seen = 0.95 * seen * (1.0 + rng.normal(0.0, 0.002, len(seen)))
            laboratory = [soils.properties[name][row] for name in LABORATORY]
            writer.writerow([f"soil-{row}", *laboratory, *seen.round(5)])


@pytest.fixture(scope="module", params=BANDS)
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The current folder, with files of the instrument and a model that was trained for it."""
    folder = tmp_path_factory.mktemp(request.param)
    bands = BANDS[request.param]
    template = Path(own_recipe.__file__).parents[1] / "recipes" / "own_library_recipe.toml"
    text = template.read_text()
    for line, change in (("repeats = 3", "repeats = 2"), ("folds = 5", "folds = 3")):
        assert line in text
        text = text.replace(line, change)
    with contextlib.chdir(folder):
        Path("recipe.toml").write_text(text)
        every = np.arange(98)
        write(Path("my-soils.csv"), bands, every[every % 4 != 0])
        write(Path("few.csv"), bands, every[::5], field=True)
        write(Path("standards.csv"), bands, every[::6])
        write(Path("field.csv"), bands, every[::6], field=True)
        assert main(["train", "recipe.toml", "--out", "run"]) == 0
        assert main(["export", "run", "--out", "mine.ccnvr", *ONLY]) == 0
        yield folder


def predicted(bundle: str) -> dict[str, Array]:
    assert main(["predict", bundle, "field.csv", "--out", f"{bundle}.csv"]) == 0
    with open(f"{bundle}.csv") as stream:
        rows = list(csv.DictReader(stream))
    names = {"OC": "OC (g/kg)", "pH": "pH (pH)", "clay": "clay (%)"}
    return {name: np.array([float(row[cell]) for row in rows]) for name, cell in names.items()}


def error(found: dict[str, Array]) -> float:
    """The mean squared error of clay, as a share of the soils' variance."""
    clay = limesoda.load("CV.98").properties["clay"][np.arange(98)[::6]]
    return float(np.mean((found["clay"] - clay) ** 2) / clay.var())


def test_a_model_covers_the_range_of_the_file(folder: Path) -> None:
    grid = bundles.read("mine.ccnvr").manifest.preprocessing.grid
    bands = np.sort(BANDS[folder.name.rstrip("0123456789")])
    # What detectors see below 400 nm beside the near infrared is mostly noise.
    assert grid.start_nm == pytest.approx(max(bands[0], 400.0) if bands[-1] > 1000 else bands[0])
    assert bands[-1] - 2.0 * grid.step_nm <= grid.stop_nm <= bands[-1]
    assert error(predicted("mine.ccnvr")) < 0.35


def test_a_default_model_serves_the_file(folder: Path) -> None:
    assert main(["predict", "default", "field.csv", "--out", "default.csv"]) == 0
    with open("default.csv") as stream:
        assert all(float(row["OC (g/kg)"]) >= 0.0 for row in csv.DictReader(stream))


def test_the_start_up_kit_leads_from_measured_soils_to_a_running_model(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As docs/how-to/start-up-kit.md goes; the laboratory's values are in the file already."""
    lab = ("--count", "14", "--out", "lab.csv")
    assert main(["select-soils", "mine.ccnvr", "few.csv", *lab]) == 0
    assert main(["finetune", "mine.ccnvr", "lab.csv", "--out", "tuned"]) == 0
    assert main(["export", "tuned", "--out", "tuned.ccnvr", *ONLY]) == 0
    assert error(predicted("tuned.ccnvr")) < 0.35
    if not folder.name.startswith("nirscan"):
        return  # of the others no simulator has these bands
    capfd.readouterr()
    with simulated("nirscan", "field.csv") as url:
        run = ("--bundle", "tuned.ccnvr", "--store", "kit.sqlite", "--count", "4")
        assert main(["run", "--instrument", url, *run]) == 0
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(records) == 4
    assert all(set(record["predictions"]) == set(LABORATORY) for record in records)
    assert not any(flag.startswith("rescan") for record in records for flag in record["flags"])


@contextlib.contextmanager
def simulated(driver: str, spectra: str) -> Iterator[str]:
    """The URL of a simulated instrument that looks at these soils, in a process of its own."""
    command = [*CCNVR, "simulate", "--driver", driver, "--spectra", spectra, "--pace", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"{process.stdout.readline().strip()}?driver={driver}"
    finally:
        process.kill()
        process.communicate()


def test_a_bundle_is_adapted_by_standards(folder: Path) -> None:
    pds = ("--reference", "standards.csv", "--field", "field.csv", "--out", "pds.ccnvr")
    assert main(["standardise", "mine.ccnvr", *pds]) == 0
    line = ("--method", "slope-bias", "--field", "field.csv", "--out", "line.ccnvr")
    assert main(["standardise", "mine.ccnvr", *line]) == 0
    assert max(error(predicted("pds.ccnvr")), error(predicted("line.ccnvr"))) < 0.35

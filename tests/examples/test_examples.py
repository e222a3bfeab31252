"""Every program in examples runs, as its first lines say."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import recipes
from tests.support.helpers import ROOT

EXAMPLES = ROOT / "examples"

Run = Callable[..., list[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run an example with arguments; the lines that it prints."""

    def run(name: str, *arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def test_each_example_is_tested_here_and_listed_in_its_folder() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == set(re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text()))
    assert names == set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text()))


def test_examples_use_public_names_only() -> None:
    for path in EXAMPLES.glob("*.py"):
        imported = re.findall(r"^from (ccnvr[\w.]*) import", path.read_text(), re.M)
        assert imported and {name.count(".") for name in imported} == {1}, path.name


def test_files_are_predicted(run: Run, soils_csv: Path) -> None:
    lines = run("predict_files.py", soils_csv)
    assert len(lines) == 4
    assert all(re.fullmatch(r"\S+: organic carbon \S+ \[.*\] g/kg.*", line) for line in lines)


def test_an_instrument_is_simulated_unless_a_url_names_one(run: Run) -> None:
    lines = run("stream_instrument.py", "sim://?pace=0")
    assert len(lines) == 5 and all("g/kg" in line for line in lines)


def test_an_instrument_of_ones_own_predicts_as_the_files_do(
    run: Run, soils_csv: Path, tmp_path: Path
) -> None:
    header, *rows = soils_csv.read_text().splitlines()
    scans = tmp_path / "scans"
    scans.mkdir()
    for number, row in enumerate(rows):
        (scans / f"{number}.csv").write_text(f"{header}\n{row}\n")
    by_file = [line.split("carbon ")[1] for line in run("predict_files.py", soils_csv)]
    assert [line.split(" ", 1)[1] for line in run("own_instrument.py", scans)] == by_file


def test_a_network_is_trained_exported_and_used(
    run: Run, soils_csv: Path, finished_run: Path, tmp_path: Path
) -> None:
    # The run is finished already, so that this test trains nothing; training has tests of its own.
    folder = shutil.copytree(finished_run, tmp_path / "run")
    bundle = tmp_path / "mine.ccnvr"
    lines = run("train_export_predict.py", recipes.write(tmp_path), folder, bundle, soils_csv)
    assert bundle.exists()
    assert any(re.match(r".* UL.120 OC R2 ", line) for line in lines)
    assert sum("Estimate(" in line for line in lines) == 4


def test_ccnvr_is_cross_validated_in_a_pipeline(run: Run) -> None:
    (line,) = run("scikit_learn_pipeline.py")
    assert len(re.findall(r"-?\d\.\d+", line)) == 3


def test_a_prediction_is_plotted(run: Run, soils_csv: Path, tmp_path: Path) -> None:
    picture = tmp_path / "prediction.svg"
    run("plot_prediction.py", soils_csv, picture)
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")

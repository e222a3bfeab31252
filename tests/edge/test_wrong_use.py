"""Wrong use exits with 2 in every command, before any work, and the message says what to do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.support.helpers import NETWORK_BUNDLE
from tests.support.modes import modes_hold
from tests.support.wrong_use import (
    check_absent_folder,
    check_file_as_folder,
    check_short_range,
    refused,
)


@pytest.mark.parametrize(
    "command",
    [
        "predict {bundle} {soils} --out {nowhere}/x.csv",
        "convert {soils} --out {nowhere}/x.csv",
        "inspect {bundle} --accept-curve {nowhere}/x.png",
        "demo --save-soils {nowhere}/x.csv",
        "instruments --udev {nowhere}/90.rules",
        "export-data {soils} --out {nowhere}/x.csv",
    ],
)
def test_a_folder_that_is_not_there(
    command: str, soils_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_absent_folder(capsys, command, soils_csv, tmp_path)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("predict {bundle} {soils} --plot {file}/plots", "--plot"),
        ("update {bundle} --models {file}", "--models"),
    ],
)
def test_a_file_where_a_folder_should_be(
    command: str, option: str, soils_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_file_as_folder(capsys, command, option, soils_csv, tmp_path)


def test_a_folder_that_may_not_be_written_to(
    soils_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Not pytest's folder, which only its user may enter.
    with tempfile.TemporaryDirectory() as name:
        folder, command = Path(name), "convert {soils} --out {folder}/x.csv"
        soils = folder / "soils.csv"
        soils.write_bytes(soils_csv.read_bytes())
        # This imports what the command needs.
        refused(capsys, command, soils=soils, folder=folder / "nowhere")
        folder.chmod(0o555)
        with modes_hold():
            said = refused(capsys, command, soils=soils, folder=folder)
        assert f"may not write to {folder}; choose another folder" in said


@pytest.mark.parametrize(
    "command",
    [
        "convert {soils} --out {long}",
        "demo --save-soils {long}",
        "predict {bundle} {soils} --plot {long}",
        "update {bundle} --models {long}",
    ],
)
def test_a_place_that_cannot_be_looked_up(
    command: str, soils_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"bundle": NETWORK_BUNDLE, "soils": soils_csv, "long": tmp_path / ("x" * 300)}
    said = refused(capsys, command, **places)
    assert "cannot be used (File name too long); " in said and "another" in said


@pytest.mark.parametrize(
    "command", ["predict default:nir", "predict --explain", "convert --out x.csv"]
)
def test_a_file_that_cannot_be_looked_up(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, command + " {long}", long=tmp_path / ("x" * 300))
    assert "(File name too long); give" in said


@pytest.mark.parametrize("bundle", ["default", NETWORK_BUNDLE])
def test_a_file_whose_range_suits_no_model(
    bundle: str, soils_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_short_range(capsys, "predict {bundle} {short}", soils_csv, tmp_path, bundle=bundle)


def test_a_bundle_for_other_bands_than_the_demo_has(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "demo --bundle default:vis")
    assert "--bundle default:vis: the spectrum covers 1101.5-2496.0 nm" in said
    assert "use a model for this range" in said

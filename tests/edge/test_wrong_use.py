"""Wrong use exits with 2 in every command, before any work, and the message says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.helpers import NETWORK_BUNDLE
from tests.support.wrong_use import refused


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
    nowhere = tmp_path / "nowhere"
    said = refused(capsys, command, bundle=NETWORK_BUNDLE, soils=soils_csv, nowhere=nowhere)
    assert f"there is no folder {nowhere}; make it, or choose another" in said
    assert not nowhere.exists()


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
    file = tmp_path / "file"
    file.write_text("a file")
    said = refused(capsys, command, bundle=NETWORK_BUNDLE, soils=soils_csv, file=file)
    assert f"{file} is not a folder that can be written to; give another" in said
    assert option in said and file.read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(
    soils_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o555)
    said = refused(capsys, "convert {soils} --out {out}/x.csv", soils=soils_csv, out=tmp_path)
    assert f"may not write to {tmp_path}; choose another folder" in said


@pytest.mark.parametrize("bundle", ["default", NETWORK_BUNDLE])
def test_a_file_whose_range_suits_no_model(
    bundle: str, soils_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short.csv"
    rows = [line.split(",") for line in soils_csv.read_text().splitlines()]
    short.write_text("\n".join(",".join(row[:60]) for row in rows))
    said = refused(capsys, "predict {bundle} {short}", bundle=bundle, short=short)
    assert said.startswith(f"ccnvr: {short}: ") and "train" in said


def test_a_bundle_for_other_bands_than_the_demo_has(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "demo --bundle default:vis")
    assert "--bundle default:vis: the spectrum covers 1101.5-2496.0 nm" in said
    assert "use a model for this range" in said

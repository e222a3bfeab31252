"""Wrong use of the commands that train exits with 2, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.helpers import NETWORK_BUNDLE
from tests.support.wrong_use import refused


@pytest.mark.parametrize(
    "command",
    [
        "select-soils {bundle} {soils} --count 2 --out {nowhere}/x.csv",
        "standardise {bundle} --reference {soils} --field {soils} --out {nowhere}/x.ccnvr",
        "export {nowhere} --out {nowhere}/x.ccnvr",
    ],
)
def test_a_folder_that_is_not_there(
    command: str, soils_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    said = refused(capsys, command, bundle=NETWORK_BUNDLE, soils=soils_csv, nowhere=nowhere)
    assert f"there is no folder {nowhere}; make it, or choose another" in said


@pytest.mark.parametrize(
    "command",
    [
        "finetune {bundle} {soils} --out {file}/run",
        "experiment accuracy --out {file}",
        "experiment moisture --out {file}/out",
    ],
)
def test_a_file_where_a_folder_should_be(
    command: str, soils_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("a file")
    said = refused(capsys, command, bundle=NETWORK_BUNDLE, soils=soils_csv, file=file)
    assert f"{file} is not a folder that can be written to; give another folder for --out" in said


@pytest.mark.parametrize(
    "command",
    [
        "select-soils default {short} --count 2 --out {out}",
        "finetune default {short} --out {out}",
        "standardise default --reference {soils} --field {short} --out {out}",
        "standardise {bundle} --reference {soils} --field {short} --out {out}",
    ],
)
def test_a_file_whose_range_suits_no_model(
    command: str, soils_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short, out = tmp_path / "short.csv", tmp_path / "out"
    rows = [line.split(",") for line in soils_csv.read_text().splitlines()]
    short.write_text("\n".join(",".join(row[:60]) for row in rows))
    places = {"bundle": NETWORK_BUNDLE, "soils": soils_csv, "short": short, "out": out}
    said = refused(capsys, command, **places)
    assert said.startswith(f"ccnvr: {short}: ") and "train" in said
    assert not out.exists()


def test_methods_that_an_experiment_does_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "experiment places --local PLSR,guess --out {out}", out=tmp_path)
    assert "method 'guess' is not one of PLSR" in said


def test_a_method_to_test_against_that_is_not_compared(
    nirsoil_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "experiment accuracy --methods PLSR,RF --against CNN --out {out}"
    said = refused(capsys, command, out=tmp_path)
    assert "--against 'CNN' is not among the methods compared, PLSR, RF" in said

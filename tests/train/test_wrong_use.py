"""Wrong use of the commands that train exits with 2, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.helpers import NETWORK_BUNDLE
from tests.support.wrong_use import (
    check_absent_folder,
    check_file_as_folder,
    check_short_range,
    refused,
)


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
    check_absent_folder(capsys, command, soils_csv, tmp_path)


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
    check_file_as_folder(capsys, command, "--out", soils_csv, tmp_path)


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
    out = tmp_path / "out"
    check_short_range(capsys, command, soils_csv, tmp_path, bundle=NETWORK_BUNDLE, out=out)
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

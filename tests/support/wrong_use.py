"""Asks a command for something that it must refuse as wrong use."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccnvr.edge.cli import main
from tests.support.helpers import NETWORK_BUNDLE


def refused(capsys: pytest.CaptureFixture[str], command: str, **places: object) -> str:
    """Run a command, with places filled in; return the one line with which it refuses them."""
    capsys.readouterr()
    assert main(command.format(**places).split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    # The line about the chosen model may stand before it.
    *_, said = printed.err.splitlines()
    return said


def check_absent_folder(
    capsys: pytest.CaptureFixture[str], command: str, soils: Path, folder: Path
) -> None:
    """Check that a command refuses the absent folder `{nowhere}`, and does not make it."""
    nowhere = folder / "nowhere"
    said = refused(capsys, command, bundle=NETWORK_BUNDLE, soils=soils, nowhere=nowhere)
    assert f"there is no folder {nowhere}; make it, or choose another" in said
    assert not nowhere.exists()


def check_file_as_folder(
    capsys: pytest.CaptureFixture[str], command: str, option: str, soils: Path, folder: Path
) -> None:
    """Check that a command refuses `{file}` where its option needs a folder, and keeps the file."""
    file = folder / "file"
    file.write_text("a file")
    said = refused(capsys, command, bundle=NETWORK_BUNDLE, soils=soils, file=file)
    assert (
        f"{file} is not a folder that can be written to; give another folder for {option}" in said
    )
    assert file.read_text() == "a file"


def check_short_range(
    capsys: pytest.CaptureFixture[str], command: str, soils: Path, folder: Path, **places: object
) -> None:
    """Check that a command refuses `{short}`, a file of soils whose range suits no model."""
    short = folder / "short.csv"
    rows = [line.split(",") for line in soils.read_text().splitlines()]
    short.write_text("\n".join(",".join(row[:60]) for row in rows))
    said = refused(capsys, command, soils=soils, short=short, **places)
    assert said.startswith(f"ccnvr: {short}: ") and "train" in said

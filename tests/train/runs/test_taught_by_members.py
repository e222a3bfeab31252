"""A network is taught by the members beside it if the recipe says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ccnvr.train.runs import run as runs
from tests.support import recipes

MEMBERS = '[members]\nkinds = ["matern", "svr"]\nnetwork = true\nrepeats = 2\nmost_soils = 30\n'


def rows_of(folder: Path, fit: str, members: str) -> Any:
    folder.mkdir()
    text = f"{recipes.SMALL}{fit}\n{MEMBERS}{members}\n"
    report = runs.train(recipes.write(folder, text), folder / "run")
    assert report.training["members"]["network"]
    return report.training["members"]["rows"]


def test_the_members_teach_the_network_beside_them(tmp_path: Path) -> None:
    untaught = rows_of(tmp_path / "untaught", "teacher_share = 1.0", "")
    taught = rows_of(tmp_path / "taught", "teacher_share = 1.0", "teach = true")
    shared = rows_of(tmp_path / "shared", "teacher_share = 0.0", "teach = true")
    assert list(taught) == ["Matern process", "SVR", *list(taught)[2:]] and len(taught) == 5
    assert taught["SVR"] == untaught["SVR"]
    assert taught["network"] != untaught["network"]
    # All properties are measured here, so teachers without a share say nothing.
    assert shared["network"] == untaught["network"]

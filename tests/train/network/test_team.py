"""Several processes that train one network together, as torchrun starts them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support import recipes
from tests.support.helpers import assert_one_sentence, run_ccnvr

# Without dropout, whose pattern depends on how a batch is shared.
RECIPE = (
    recipes.SMALL.replace("hidden = 8", "hidden = 8\ndropout = 0.0\nlinear = true").replace(
        "epochs = 3", "epochs = 3\nteachers = 1\nmixing = 0.5"
    )
    + "[[gaussian_processes]]\nlength = 2.0\nnoise = 0.01\n"
)


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    return subprocess.run(
        [*launcher, "-m", "ccnvr.edge.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_two_processes_train_what_one_does_and_resume(tmp_path: Path) -> None:
    path = recipes.write(tmp_path, RECIPE)
    assert run_ccnvr("train", path, "--out", tmp_path / "one").returncode == 0
    together = torchrun("train", path, "--out", tmp_path / "two")
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("soils held out from training") == 1
    one, two = (json.loads((tmp_path / run / "report.json").read_text()) for run in ("one", "two"))
    assert (one["training"]["processes"], two["training"]["processes"]) == (1, 2)
    for title, libraries in one["accuracy"].items():
        for library, properties in libraries.items():
            for name, figures in properties.items():
                found = two["accuracy"][title][library][name]["rmse"]
                assert np.isclose(figures["rmse"], found, rtol=1e-3), (title, library, name)
    (tmp_path / "two" / "report.json").unlink()
    (tmp_path / "two" / "final" / "checkpoint.pt").unlink()
    assert torchrun("train", path, "--out", tmp_path / "two").returncode == 0
    again = json.loads((tmp_path / "two" / "report.json").read_text())
    assert again["accuracy"] == two["accuracy"]


def test_a_team_larger_than_a_batch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipes.write(tmp_path, RECIPE.replace("epochs = 3", "epochs = 3\nbatch_size = 1"))
    result = torchrun("train", path, "--out", tmp_path / "run")
    assert result.returncode != 0
    assert "batch_size 1 cannot be shared by 2 processes; give a larger one" in result.stderr
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert_one_sentence(
        run_ccnvr("train", tmp_path / "none.toml", "--out", tmp_path / "run"), 2, "cannot be read"
    )

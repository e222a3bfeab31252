"""Several processes that train one network together, as torchrun starts them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ccnvr.edge.cli import main
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


def forked(folder: Path, *arguments: object) -> list[str]:
    """Run a command as two processes of one team; return what each wrote to standard error.

    They are copies of this process, which has imported torch; torchrun starts three that import it
    anew, which takes most of the time of so short a training.
    """
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]
    team = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = []
    for rank in range(2):
        if (process := os.fork()) == 0:
            code = 99
            try:
                os.environ.update(team, RANK=str(rank), LOCAL_RANK=str(rank))
                written = os.open(folder / f"rank-{rank}.txt", os.O_WRONLY | os.O_CREAT)
                os.dup2(written, 1)
                os.dup2(written, 2)
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                code = main([str(argument) for argument in arguments])
                sys.stdout.flush()
            finally:
                os._exit(code)
        ranks.append(process)
    codes = {os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in ranks}
    said = [(folder / f"rank-{rank}.txt").read_text() for rank in range(2)]
    assert len(codes) == 1, said
    return [f"exit code {codes.pop()}", *said]


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
    assert forked(tmp_path, "train", path, "--out", tmp_path / "two")[0] == "exit code 0"
    again = json.loads((tmp_path / "two" / "report.json").read_text())
    assert again["accuracy"] == two["accuracy"]


def test_a_team_larger_than_a_batch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipes.write(tmp_path, RECIPE.replace("epochs = 3", "epochs = 3\nbatch_size = 1"))
    code, *said = forked(tmp_path, "train", path, "--out", tmp_path / "run")
    assert code == "exit code 2", said
    for words in said:
        assert "batch_size 1 cannot be shared by 2 processes; give a larger one" in words
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert_one_sentence(
        run_ccnvr("train", tmp_path / "none.toml", "--out", tmp_path / "run"), 2, "cannot be read"
    )

"""Running the command as a user does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from ccnvr.edge.cli import main

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
NETWORK_FILE = ROOT / "tests" / "data" / "nir-open-4.ccnvr"
NETWORK_BUNDLE = str(NETWORK_FILE)
"""A bundle of a network alone, in all formats and profiles: the default of an earlier version."""

CCNVR = [sys.executable, "-m", "ccnvr.edge.cli"]


IN_THIS_PROCESS = {
    "convert",
    "data",
    "decode",
    "demo",
    "doctor",
    "experiment",
    "export",
    "export-data",
    "finetune",
    "inspect",
    "predict",
    "quantize",
    "repredict",
    "select-soils",
    "standardise",
    "train",
    "update",
}
"""The commands that neither wait for a signal nor for a person."""


def run_ccnvr(
    *arguments: object, timeout: float = 120, own_process: bool = False, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run the command and return its exit code, standard output and standard error.

    A command of IN_THIS_PROCESS runs in the tests' process, since a new one imports torch anew,
    which takes 2 to 3 s. With `own_process`, or with options of subprocess.run, it runs as a user
    runs it.
    """
    words = [str(argument) for argument in arguments]
    options = {name: value for name, value in options.items() if value is not None}
    if not own_process and not options and words and words[0] in IN_THIS_PROCESS:
        return _call_ccnvr(words)
    command = [*CCNVR, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)  # type: ignore[call-overload,no-any-return]


def _call_ccnvr(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, with the file descriptors 1 and 2 on temporary files.

    Libraries in C++ and child processes write to the descriptors, which replacing sys.stdout alone
    would not catch.
    """
    kept = sys.stdout, sys.stderr
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        _descriptor_on(1, out),
        _descriptor_on(2, err),
    ):
        sys.stdout, sys.stderr = out, err
        try:
            code = main(words)
        finally:
            sys.stdout, sys.stderr = kept
        return subprocess.CompletedProcess([*CCNVR, *words], code, _written(out), _written(err))


@contextmanager
def _descriptor_on(number: int, stream: IO[str]) -> Iterator[None]:
    kept = os.dup(number)
    os.dup2(stream.fileno(), number)
    try:
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)


def _written(stream: IO[str]) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def wait_until(condition: Callable[[], T], seconds: float = 60.0) -> T:
    """Return what a condition gives as soon as it counts as true; fail if it never does."""
    end = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < end, f"it does not get there within {seconds} s"
        time.sleep(0.02)


def assert_one_sentence(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command failed as a user deserves: exit code, one line on stderr, no traceback, the words
    in it.
    """
    assert result.returncode == code, result.stderr
    lines = [
        line
        for line in result.stderr.splitlines()
        if "taking the" not in line and not re.match(r"ccnvr: (engine |model |scan \S+: )", line)
    ]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("ccnvr: ")
    for word in words:
        assert word in lines[0], lines[0]


def pip(python: Path | str, *arguments: object) -> str:
    """Run pip in an environment; gives what it prints."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def build_wheel(folder: Path) -> Path:
    """The wheel of this tree, built in the folder from a copy so that the tree stays clean."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.splitlines()):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, folder / "source")
    return next(folder.glob("*.whl"))


class WithoutRate:
    """What a transport of the tests without a port says of its baud rate."""

    baud: int | None = None

    def set_baud(self, rate: int) -> None:
        raise AssertionError(f"{rate} baud was asked of a line without a rate")

"""Running the command as a user does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CCNVR = [sys.executable, "-m", "ccnvr.edge.cli"]


def run_ccnvr(
    *arguments: object, timeout: float = 120, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [*CCNVR, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)  # type: ignore[call-overload,no-any-return]


def assert_one_sentence(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command failed as a user deserves: exit code, one line on stderr, no traceback, the words
    in it.
    """
    assert result.returncode == code, result.stderr
    lines = [
        line
        for line in result.stderr.splitlines()
        if "taking the" not in line and "ccnvr: backend " not in line
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

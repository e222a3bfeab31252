"""Running the command as a user does."""

from __future__ import annotations

import subprocess
import sys

CCNVR = [sys.executable, "-m", "ccnvr.edge.cli"]


def run_ccnvr(*arguments: object, timeout: float = 120, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [*CCNVR, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)  # type: ignore[call-overload,no-any-return]


def assert_one_sentence(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command failed as a user deserves: exit code, one line on stderr, no traceback, the words in it."""
    assert result.returncode == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if "taking the" not in line and "ccnvr: backend " not in line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("ccnvr: ")
    for word in words:
        assert word in lines[0], lines[0]

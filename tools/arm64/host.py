"""What the lab needs of its host: folders, and programs that are run to their end."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FOLDER = ROOT / ".arm64"
"""The folder for everything that is fetched or built."""


class LabError(Exception):
    """The error for an emulated computer that cannot be made or fails; the message says why."""


def run_program(
    *command: object, environment: dict[str, str] | None = None, folder: Path | None = None
) -> str:
    """Run a program of the host and return what it prints.

    Raises:
        LabError: it fails; the message has the end of its output.
    """
    words = [str(word) for word in command]
    result = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=folder)
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip()[-1_500:] or "nothing said"
        raise LabError(f"{' '.join(words)[:200]} ended with {result.returncode}: {said}")
    return result.stdout

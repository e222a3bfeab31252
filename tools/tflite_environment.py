"""The environment for tflite-runtime, which needs numpy 1, beside the development environment.

It is made on first use and kept in the folder of the virtual environment. `python -m
tools.tflite_environment` makes it and prints its Python, for `ccnvr export --tflite-python`.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = Path(sys.prefix) / "tflite-runtime"
PACKAGES = ("tflite-runtime==2.14.0", "numpy==1.26.4", "pyserial==3.5")


class Unavailable(Exception):
    """The environment cannot be made here; the message says why."""


def python() -> Path:
    """Return the environment's Python, with tflite-runtime and this ccnvr, installed as editable.

    Raises:
        Unavailable: this Python has no tflite-runtime, or no package index can be reached.
    """
    if sys.version_info[:2] != (3, 11):
        raise Unavailable(
            f"tflite-runtime has no release for Python {sys.version_info[0]}.{sys.version_info[1]}"
        )
    # Workers of one test run ask at the same time; all but one wait until it is made.
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Made again where the packages or the project's dependencies have changed.
        stamp = FOLDER / "made"
        wanted = hashlib.sha256(
            (ROOT / "pyproject.toml").read_bytes() + " ".join(PACKAGES).encode()
        ).hexdigest()
        if not stamp.exists() or stamp.read_text() != wanted:
            _make()
            stamp.write_text(wanted)
    return FOLDER / "bin" / "python"


def _make() -> None:
    _run(sys.executable, "-m", "venv", "--clear", FOLDER)
    interpreter = FOLDER / "bin" / "python"
    pip = (interpreter, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    _run(*pip, *PACKAGES)
    _run(*pip, "--no-deps", "LimeSoDa==0.1.5")
    _run(*pip, "--no-deps", "--editable", ROOT)


def _run(*command: object) -> None:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"the environment of tflite-runtime cannot be made: {last}")


if __name__ == "__main__":
    print(python())

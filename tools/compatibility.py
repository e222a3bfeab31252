"""Install ccnvr with each engine, oldest and newest, on each Python, and predict with all profiles.

`python -m tools.compatibility` prints the table of docs/compatibility.md, and fails if a cell does.
It needs the development environment, the package index, and the Pythons as python3.11 ... on the
PATH or from pyenv; the table says which of them is not here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ccnvr.edge.network.layout import PROFILES
from tests.support import bundles_of_all
from tests.support.helpers import build_wheel

PYTHONS = ("3.11", "3.12", "3.13")
LIMITS = {"fp32": 1e-5, "weights": 1e-5, "int8": 1e-2}
"""The largest relative difference of a prediction from NumPy's in this environment."""


@dataclass(frozen=True)
class Case:
    """A row of the table.

    `install` has the packages for each Python, None where there is no release for it.
    """

    title: str
    engine: str
    install: dict[str, tuple[str, ...] | None]


def everywhere(*packages: str) -> dict[str, tuple[str, ...] | None]:
    """Return the same packages for each Python."""
    return dict.fromkeys(PYTHONS, packages)


CASES = (
    Case("numpy alone", "numpy", everywhere("{wheel}")),
    Case("numpy 1.26", "numpy", {**everywhere("{wheel}", "numpy==1.26.4"), "3.13": None}),
    Case("`[onnx]`", "onnx", everywhere("{wheel}[onnx]")),
    Case(
        "oldest onnxruntime",
        "onnx",
        {
            **everywhere("{wheel}[onnx]", "onnxruntime==1.17.0", "numpy<2"),
            "3.13": ("{wheel}[onnx]", "onnxruntime==1.20.0"),
        },
    ),
    Case("`[litert]`", "litert", everywhere("{wheel}[litert]")),
    Case("oldest LiteRT", "litert", everywhere("{wheel}[litert]", "ai-edge-litert==2.1.0")),
    Case("`[tflite]`", "auto", everywhere("{wheel}[tflite]")),
    Case(
        "tflite-runtime",
        "tflite",
        {"3.11": ("{wheel}", "tflite-runtime==2.14.0", "numpy<2"), "3.12": None, "3.13": None},
    ),
)


def python(name: str) -> Path | None:
    """Return the interpreter of that version, or None."""
    pyenv = sorted(
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(
            f"versions/{name}.*/bin/python"
        )
    )
    for candidate in (f"python{name}", *map(str, reversed(pyenv))):
        try:
            found = subprocess.run(
                [candidate, "-c", "import sys; print(sys.executable)"],
                capture_output=True,
                text=True,
            )
        except OSError:
            continue
        if found.returncode == 0:
            return Path(found.stdout.strip())
    return None


def run(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a command without the settings of this environment."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "VIRTUAL_ENV", "PYENV_VERSION"))
    }
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=clean
    )


def cell(
    interpreter: Path,
    packages: tuple[str, ...],
    engine: str,
    bundle: Path,
    soils: Path,
    folder: Path,
) -> str:
    """Install, predict, and return what was installed with the largest difference, or what failed.

    Differences are from the NumPy engine of this environment.
    """
    environment = folder / "venv"
    made = run(interpreter, "-m", "venv", "--clear", environment)
    program = environment / "bin" / "python"
    pip = (program, "-m", "pip", "--disable-pip-version-check")
    installed = run(*pip, "install", *packages) if made.returncode == 0 else made
    if installed.returncode != 0:
        return f"FAILED: {(installed.stderr.strip().splitlines() or ['no message'])[-1]}"
    versions = {
        entry["name"]: entry["version"]
        for entry in json.loads(run(*pip, "list", "--format", "json").stdout)
    }
    worst = 0.0
    for profile in PROFILES:
        command = (
            "-m",
            "ccnvr.edge.cli",
            "predict",
            bundle,
            soils,
            "--json",
            "--profile",
            profile,
            "--engine",
        )
        result, expected = run(program, *command, engine), run(sys.executable, *command, "numpy")
        if result.returncode != 0:
            return f"FAILED: {profile}: {result.stderr.strip()}"
        difference = np.abs(values(result.stdout) / values(expected.stdout) - 1.0).max()
        if not difference <= LIMITS[profile]:
            return f"FAILED: {profile} differs by {difference:.1e}"
        worst = max(worst, float(difference))
    engines = ("onnxruntime", "ai-edge-litert", "tflite-runtime", "numpy")
    return (
        f"{', '.join(f'{name} {versions[name]}' for name in engines if name in versions)}: "
        f"{worst:.0e}"
    )


def values(lines: str) -> np.ndarray:
    """Return the predicted values in the JSON lines of `ccnvr predict`."""
    return np.array(
        [
            [one["value"] for one in json.loads(line)["predictions"].values()]
            for line in lines.splitlines()
        ]
    )


def main() -> int:
    """Print the table as Markdown."""
    with tempfile.TemporaryDirectory(prefix="ccnvr-compatibility-") as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        bundle, soils = bundles_of_all.write(folder / "all.ccnvr"), folder / "soils.csv"
        run(sys.executable, "-m", "ccnvr.edge.cli", "demo", "--spectra", 10, "--save-soils", soils)
        interpreters = {name: python(name) for name in PYTHONS}
        titles = [
            f"Python {_version(found)}" if found else f"Python {name}, not here"
            for name, found in interpreters.items()
        ]
        print(
            f"ccnvr {version('ccnvr')}\n\n| | {' | '.join(titles)} |\n|---|{'---|' * len(PYTHONS)}",
            flush=True,
        )
        failed = False
        for case in CASES:
            cells = []
            for name, interpreter in interpreters.items():
                packages = case.install[name]
                if packages is None or interpreter is None:
                    cells.append("no release" if packages is None else "not run")
                    continue
                filled = tuple(package.format(wheel=wheel) for package in packages)
                cells.append(cell(interpreter, filled, case.engine, bundle, soils, folder))
                failed |= cells[-1].startswith("FAILED")
            print(f"| {case.title}, engine {case.engine} | {' | '.join(cells)} |", flush=True)
    return int(failed)


def _version(interpreter: Path) -> str:
    (found,) = re.findall(r"[\d.]+", run(interpreter, "--version").stdout)[:1]
    return str(found)


if __name__ == "__main__":
    sys.exit(main())

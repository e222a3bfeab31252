"""The plain edge install, from a built wheel, in an environment of its own: no training library,
and it predicts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.helpers import ROOT, build_wheel, pip, run_ccnvr

HEAVY = {"torch", "pandas", "scikit-learn", "scipy", "onnx", "LimeSoDa"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_each_module_and_data_file_of_the_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    for part in ("edge", "train", "export", "firmware_bridge"):
        for path in (ROOT / part).rglob("*"):
            if path.suffix in (".py", ".md", ".toml", ".typed", ".ccnvr", ".json"):
                assert f"ccnvr/{path.relative_to(ROOT)}" in packed
    for path in (ROOT / "firmware_bridge" / "c").rglob("*"):
        assert path.is_dir() or f"ccnvr/{path.relative_to(ROOT)}" in packed
    assert not [name for name in packed if name.startswith(("tests/", "edge/"))]


def test_pyproject_lists_each_folder_that_has_an_init_file() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {
        ".".join(["ccnvr", *path.parent.relative_to(ROOT).parts])
        for part in ("edge", "train", "export", "firmware_bridge")
        for path in (ROOT / part).rglob("__init__.py")
    }
    assert sorted(listed) == sorted(folders)


def test_the_plain_edge_install_predicts_without_any_training_library(
    wheel: Path, soils_csv: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    pip(python, "install", "--constraint", ROOT / "constraints.txt", f"{wheel}[onnx]")
    installed = {entry["name"] for entry in json.loads(pip(python, "list", "--format", "json"))}
    assert {"ccnvr", "numpy", "onnxruntime", "pyserial"} <= installed
    assert not installed & HEAVY
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))
    }
    command = [str(environment / "bin" / "ccnvr"), "predict", "default", str(soils_csv), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean)
    assert result.returncode == 0, result.stderr
    assert result.stdout == run_ccnvr("predict", "default", soils_csv, "--json").stdout


@pytest.mark.parametrize(
    ("python", "machine", "expected"),
    [
        ("3.11", "x86_64", {"ai-edge-litert"}),
        ("3.11", "aarch64", {"ai-edge-litert"}),
        ("3.13", "aarch64", {"ai-edge-litert"}),
        ("3.11", "armv7l", {"tflite-runtime", "numpy"}),
    ],
)
def test_the_tflite_extra_brings_a_pair_that_works_together(
    python: str, machine: str, expected: set[str]
) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    here = {"python_version": python, "platform_machine": machine}
    wanted = [Requirement(line) for line in extras["tflite"]]
    chosen = {one.name: one for one in wanted if one.marker is None or one.marker.evaluate(here)}
    assert set(chosen) == expected
    if "numpy" in chosen:
        assert "1.26.4" in chosen["numpy"].specifier and "2.0" not in chosen["numpy"].specifier

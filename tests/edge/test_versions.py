"""Versions of installed packages are those that importlib.metadata reads."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from ccnvr.edge.versions import installed_version


@pytest.mark.parametrize(
    "name", ["numpy", "onnxruntime", "ai-edge-litert", "AI_Edge.litert", "ccnvr"]
)
def test_a_version_is_that_of_the_metadata(name: str) -> None:
    assert installed_version(name) == version(name)


def test_what_is_not_installed_has_no_version() -> None:
    assert installed_version("no-such-package-at-all") is None


def test_the_folder_of_another_package_whose_name_begins_alike_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("soilkit_extra-9.0.dist-info", "soilkit-1.2rc1.dist-info"):
        (tmp_path / folder).mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_version("soilkit") == "1.2rc1"
    assert installed_version("soilkit-extra") == "9.0"


def test_a_model_is_opened_without_the_modules_that_are_avoided() -> None:
    program = (
        "import sys; from ccnvr.edge.inference.models import load_bundle\n"
        "load_bundle('default:nir', 'numpy')\n"
        "avoided = {'importlib.metadata', 'importlib.resources', 'email', 'logging', 'difflib',\n"
        "           'subprocess'}\n"
        "assert not avoided & sys.modules.keys(), avoided & sys.modules.keys()"
    )
    # The first opening tries the bundle, whose proof needs more.
    for _ in range(2):
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

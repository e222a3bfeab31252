"""The service's files: the unit is hardened, the script installs, updates and removes."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ccnvr.edge.daemon import config
from tests.support.helpers import ROOT

PACKAGING = ROOT / "packaging"

MOST_EXPOSURE = 2.5


def test_the_unit_is_hardened_and_valid() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = str(PACKAGING / "ccnvr.service")
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
    if found is None:
        pytest.skip(f"systemd-analyze is too old: {result.stderr}")
    assert float(found[1]) <= MOST_EXPOSURE
    # It complains of the program, which is not installed here, and of nothing else.
    checked = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True
    ).stderr
    assert [line for line in checked.splitlines() if "ccnvr.service" in line] == [
        line for line in checked.splitlines() if "is not executable" in line
    ]


def test_the_unit_runs_nothing_that_a_bare_debian_lacks() -> None:
    # Debian's minimal variant has no /bin/kill, on which reloading failed once.
    commands = re.findall(r"^Exec\w+=(\S+)", (PACKAGING / "ccnvr.service").read_text(), re.M)
    assert set(commands) == {"/opt/ccnvr/bin/ccnvr", "/bin/sh"}


def test_the_service_s_configuration_is_one() -> None:
    settings = config.load(PACKAGING / "ccnvr.toml", {})
    assert settings.store.path == "/var/lib/ccnvr/ccnvr.sqlite"
    assert settings.store.max_size_mb == 2000


def install(root: Path, *arguments: str, engine: str | None) -> subprocess.CompletedProcess[str]:
    # NumPy and pyserial come from the environment that runs the tests.
    environment = {
        **os.environ,
        "DESTDIR": str(root),
        "ENGINE": engine or "",
        "PYTHON": sys.executable,
        "PIP_OPTIONS": "--no-deps",
    }
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        ["sh", str(PACKAGING / "install.sh"), *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )


# What the script asks of the Python that it installs into: pip adds and removes the folders by
# which a package is known, and the self-test runs on the first engine that is there.
STAND_IN = r"""#!/bin/sh
cd "$(dirname "$0")/../lib/python3.11/site-packages"
case "$*" in
    *pip*uninstall*)
        for package; do rm -rf "./$package"-*.dist-info; done ;;
    *pip*install*)
        mkdir -p ccnvr-0.1.0.dist-info
        case "$*" in *onnx*) mkdir -p onnxruntime-1.32.0.dist-info ;; esac
        case "$*" in *litert* | *tflite*) mkdir -p ai_edge_litert-2.3.0.dist-info ;; esac ;;
    *inspect*)
        for engine; do :; done
        for pair in onnx:onnxruntime litert:ai_edge_litert numpy:ccnvr; do
            [ -d "${pair#*:}"-* ] || continue
            [ "$engine" = auto ] || [ "$engine" = "${pair%:*}" ] || continue
            echo "self-test passed on ${pair%:*} (${pair#*:} 1), profile fp32: differs by 1e-5"
            exit 0
        done
        exit 1 ;;
esac
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root folder with a stand-in for the environment that the script would make."""
    python = tmp_path / "opt" / "ccnvr" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(STAND_IN)
    python.chmod(0o755)
    (python.parents[1] / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    return tmp_path


def engine_after(root: Path, engine: str | None) -> str:
    """Return the engine that the script prints, after an installation or an update."""
    result = install(root, engine=engine)
    assert result.returncode == 0, result.stdout + result.stderr
    found = re.search(r"engine in use: (\w+) \(.*\), profile fp32$", result.stdout, re.M)
    assert found, result.stdout
    return found[1]


def test_an_update_keeps_the_engine_and_another_replaces_it(root: Path) -> None:
    assert engine_after(root, None) == "onnx"
    assert engine_after(root, "litert") == "litert"
    assert not list(root.rglob("onnxruntime-*"))
    assert engine_after(root, None) == "litert"
    assert engine_after(root, "none") == "numpy"
    assert engine_after(root, None) == "numpy"


def test_an_update_keeps_two_engines_that_the_owner_installed(root: Path) -> None:
    assert engine_after(root, "litert") == "litert"
    packages = next(root.rglob("site-packages"))
    (packages / "onnxruntime-1.32.0.dist-info").mkdir()
    result = install(root, engine=None)
    assert "installing ccnvr[onnx,litert] into" in result.stdout


def test_an_engine_that_the_configuration_overrules_is_refused(root: Path) -> None:
    assert engine_after(root, "onnx") == "onnx"
    settings = root / "etc" / "ccnvr" / "ccnvr.toml"
    for key in ("engine", "backend"):  # backend is the former name
        settings.write_text(f'[model]\n{key} = "onnx"\n')
        refused = install(root, engine="litert")
        assert refused.returncode == 1 and 'names engine = "onnx"' in refused.stderr
        assert list(root.rglob("onnxruntime-*")) and not list(root.rglob("ai_edge_litert-*"))


def test_an_engine_that_fails_here_leaves_the_other(root: Path) -> None:
    assert engine_after(root, "onnx") == "onnx"
    python = root / "opt" / "ccnvr" / "bin" / "python"
    python.write_text(STAND_IN.replace("litert:ai_edge_litert", ""))
    failed = install(root, engine="litert")
    assert failed.returncode == 1 and "self-test on the engine litert" in failed.stderr
    assert list(root.rglob("onnxruntime-*"))


def test_wrong_use_of_the_script_ends_with_2(tmp_path: Path) -> None:
    for arguments, engine, message in (
        (["--remove"], None, "--remove is no option"),
        (["--purge"], None, "--purge goes with --uninstall"),
        ([], "bogus", "ENGINE=bogus is no engine"),
    ):
        wrong = install(tmp_path, *arguments, engine=engine)
        assert wrong.returncode == 2 and message in wrong.stderr
    told = install(tmp_path, "--help", engine=None)
    assert told.returncode == 0 and "ENGINE=onnx|litert|tflite|none" in told.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_script_installs_updates_and_removes(tmp_path: Path) -> None:
    prefix = tmp_path / "opt" / "ccnvr"
    subprocess.run([sys.executable, "-m", "venv", str(prefix)], check=True)
    # The packages of the tests' environment, in place of an index.
    packages = next((prefix / "lib").glob("python3*")) / "site-packages"
    theirs = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "of_the_tests.pth").write_text(theirs + "\n")
    for _ in range(2):
        result = install(tmp_path, engine="none")
        assert result.returncode == 0, result.stdout + result.stderr
    assert "ccnvr.toml is kept" in result.stdout
    settings = tmp_path / "etc" / "ccnvr" / "ccnvr.toml"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o640
    assert (tmp_path / "etc/systemd/system/ccnvr.service").is_file()
    assert os.readlink(tmp_path / "usr/local/bin/ccnvr") == "/opt/ccnvr/bin/ccnvr"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(prefix / "bin" / "ccnvr"), "inspect", "default", "--json"]
    shown = subprocess.run(command, capture_output=True, text=True, env=clean, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)
    removed = install(tmp_path, "--uninstall", engine=None)
    assert removed.returncode == 0, removed.stderr
    assert settings.is_file() and not prefix.exists()
    assert not (tmp_path / "usr/local/bin/ccnvr").is_symlink()
    assert install(tmp_path, "--uninstall", "--purge", engine=None).returncode == 0
    assert not settings.exists()


def test_the_script_is_plain_shell() -> None:
    assert subprocess.run(["sh", "-n", str(PACKAGING / "install.sh")]).returncode == 0

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


def install(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # NumPy and pyserial come from the environment that runs the tests.
    environment = {
        **os.environ,
        "DESTDIR": str(root),
        "ENGINE": "none",
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


@pytest.mark.slow
def test_the_script_installs_updates_and_removes(tmp_path: Path) -> None:
    prefix = tmp_path / "opt" / "ccnvr"
    subprocess.run([sys.executable, "-m", "venv", str(prefix)], check=True)
    # The packages of the tests' environment, in place of an index.
    packages = next((prefix / "lib").glob("python3*")) / "site-packages"
    theirs = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "of_the_tests.pth").write_text(theirs + "\n")
    for _ in range(2):
        result = install(tmp_path)
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
    removed = install(tmp_path, "--uninstall")
    assert removed.returncode == 0, removed.stderr
    assert settings.is_file() and not prefix.exists()
    assert not (tmp_path / "usr/local/bin/ccnvr").is_symlink()
    assert install(tmp_path, "--uninstall", "--purge").returncode == 0
    assert not settings.exists()
    wrong = install(tmp_path, "--remove")
    assert wrong.returncode == 1 and "--remove is no option" in wrong.stderr


def test_the_script_is_plain_shell() -> None:
    assert subprocess.run(["sh", "-n", str(PACKAGING / "install.sh")]).returncode == 0

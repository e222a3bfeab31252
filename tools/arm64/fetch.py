"""Fetching a machine's Debian packages, kernel and wheels with the host's own apt and pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tools.arm64.host import FOLDER, LabError, run_program
from tools.arm64.lab import Installed
from tools.arm64.machines import Machine

_HOST_PACKAGES = {
    "qemu-user": "qemu-aarch64",
    "qemu-system-arm": "qemu-system-aarch64",
    "kmod": "modprobe",
    "cpio": "cpio",
    "gcc": "gcc",
}
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_APT_CONFIG = """\
APT::Architecture "{arch}"; APT::Architectures {{"{arch}";}};
APT::Install-Recommends "false"; APT::Sandbox::User "root";
Acquire::Languages "none"; Acquire::Retries "3";
Dir::State "{folder}/state"; Dir::State::status "{folder}/status"; Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list"; Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null"; Dir::Etc::parts "/dev/null"; Dir::Etc::main "/dev/null";
"""
_MODULES = ("./boot/vmlinuz*", "./*/modules.*", "./*/kernel/drivers/usb/*")


def install(machine: Machine, *, with_kernel: bool = False) -> Installed:
    """Fetch and unpack a machine, unless that was done before.

    Raises:
        LabError: the host lacks a program, or nothing can be fetched.
    """
    if missing := [
        package for package, program in _HOST_PACKAGES.items() if shutil.which(program) is None
    ]:
        raise LabError(
            f"this host lacks {', '.join(missing)}; run: apt-get install --no-install-recommends "
            f"{' '.join(missing)}"
        )
    FOLDER.mkdir(exist_ok=True)
    installed = Installed(machine)
    stamp = FOLDER / machine.name / "made"
    wanted = f"{machine}{with_kernel}"
    # A machine with a kernel also serves where none is needed.
    if stamp.exists() and stamp.read_text() in (wanted, f"{machine}True"):
        return installed
    print(f"arm64: fetching {machine.name} into {FOLDER.name}/, once", file=sys.stderr, flush=True)
    shutil.rmtree(FOLDER / machine.name, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        environment = _private_apt(Path(folder), machine)
        _unpack_debian(installed, Path(folder), environment)
        if with_kernel:
            _unpack_kernel(installed, Path(folder), environment)
        _unpack_wheels(installed, Path(folder))
    stamp.write_text(wanted)
    return installed


def _private_apt(folder: Path, machine: Machine) -> dict[str, str]:
    """Return the environment of an apt that keeps its own files.

    The host's apt thus never hears of another processor.
    """
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    targets = run_program(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"
    ).split()
    mirrors = {
        mirror
        for mirror, release in zip(targets[::2], targets[1::2], strict=True)
        if "-" not in release
    }
    if not mirrors:
        raise LabError(
            "this host's apt knows no Debian mirror; run apt-get update on a Debian host"
        )
    (folder / "sources.list").write_text(
        "".join(
            f"deb [arch={machine.arch} signed-by={_KEYRING}] {mirror} {machine.suite} main\n"
            for mirror in sorted(mirrors)
        )
    )
    (folder / "apt.conf").write_text(_APT_CONFIG.format(arch=machine.arch, folder=folder))
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}
    run_program("apt-get", "-qq", "update", environment=environment)
    return environment


def _unpack_debian(installed: Installed, folder: Path, environment: dict[str, str]) -> None:
    packages = ("python3", "libstdc++6", "libgomp1", "busybox-static", *installed.machine.debian)
    run_program(
        "apt-get", "-qq", "-y", "install", "--download-only", *packages, environment=environment
    )
    root = installed.root
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    # No folders dev, tmp or proc: QEMU would show these empty ones instead of the host's.
    for package in sorted((folder / "cache/archives").glob("*.deb")):
        archive = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True
        ).stdout
        subprocess.run(
            ["tar", "-x", "--keep-directory-symlink", "-C", root, "-f", "-"],
            check=True,
            input=archive,
        )
    # Debian's NumPy needs links that its installation scripts would make; no script runs here.
    for library in (
        *root.glob("usr/lib/*/blas/libblas.so.3"),
        *root.glob("usr/lib/*/lapack/liblapack.so.3"),
    ):
        (library.parent.parent / library.name).symlink_to(f"{library.parent.name}/{library.name}")
    for name in ("doc", "man", "locale"):
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)


def _unpack_kernel(installed: Installed, folder: Path, environment: dict[str, str]) -> None:
    depends = run_program("apt-cache", "depends", "linux-image-arm64", environment=environment)
    (name,) = {line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line}
    run_program("apt-get", "-qq", "download", name, environment=environment, folder=folder)
    (package,) = folder.glob("linux-image*.deb")
    archive = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True
    ).stdout
    installed.kernel.mkdir(parents=True)
    subprocess.run(
        ["tar", "-x", "--wildcards", "-C", installed.kernel, "-f", "-", *_MODULES],
        check=True,
        input=archive,
    )
    (version,) = (path.name for path in (installed.kernel / "lib/modules").iterdir())
    run_program("depmod", "-b", installed.kernel, version)


def _unpack_wheels(installed: Installed, folder: Path) -> None:
    machine, wheels = installed.machine, folder / "wheels"
    platforms = [option for platform in machine.platforms for option in ("--platform", platform)]
    tag = "cp" + machine.python.replace(".", "")
    abis = [option for abi in (tag, "abi3", "none") for option in ("--abi", abi)]
    target = ["--python-version", machine.python, "--implementation", "cp", *abis, *platforms]
    for names, option in ((machine.wheels, []), (machine.without_dependencies, ["--no-deps"])):
        if names:
            pip = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "-d",
                str(wheels),
                "--only-binary=:all:",
                *option,
            ]
            run_program(*pip, *target, *names)
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(installed.site)
    for tests in list(installed.site.rglob("tests")):
        shutil.rmtree(tests, ignore_errors=True)

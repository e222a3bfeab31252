"""Raspberry Pis without one: Debian's ARM Python under QEMU, as a program or as a whole computer.

A program runs under qemu-user with the host's kernel; a whole computer boots Debian's own kernel
under qemu-system-aarch64.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from tools.arm64.host import FOLDER, HERE, ROOT, run_program
from tools.arm64.machines import PI_4, Cpu, Machine

PARTS = ("edge", "firmware_bridge")
"""The packages that the emulated computer gets, with all their sub-packages."""


class Installed:
    """A machine's files on this host.

    Attributes:
        root: the folder of its Debian.
        site: the folder of its wheels.
        kernel: the folder of its kernel, if one was fetched.
    """

    def __init__(self, machine: Machine) -> None:
        folder = FOLDER / machine.name
        self.machine = machine
        self.root, self.site, self.kernel = folder / "root", folder / "site", folder / "kernel"

    def command(self, cpu: Cpu, *arguments: object, counts: Path | None = None) -> list[str]:
        """Return a command of the host that runs this machine's Python.

        Args:
            cpu: the processor to emulate.
            arguments: the arguments of Python.
            counts: a file for the numbers of instructions between marks; see `icount.c`.
        """
        _pretend(self.root, cpu)
        qemu = "qemu-aarch64" if self.machine.arch == "arm64" else "qemu-arm"
        plugin = [] if counts is None else ["-plugin", f"{FOLDER / 'libicount.so'},out={counts}"]
        # Random addresses and hashes would change the counts from run to run.
        steady = [] if counts is None else ["setarch", "-R"]
        fixed = ["-cpu", cpu.qemu, "-L", str(self.root), *plugin]
        return [*steady, qemu, *fixed, str(self.root / "usr/bin/python3"), *map(str, arguments)]

    def environment(self) -> dict[str, str]:
        """Return the environment for `command`."""
        path = f"{self.site}:{self.root}/usr/lib/python3/dist-packages:{_namespace()}"
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": path,
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        } | {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def python(self, cpu: Cpu, *arguments: object, counts: Path | None = None) -> str:
        """Run this machine's Python and return what it prints.

        Raises:
            LabError: it fails; the message has the end of its output.
        """
        return run_program(
            *self.command(cpu, *arguments, counts=counts), environment=self.environment()
        )

    def initramfs(self, app: Path, out: Path) -> None:
        """Write a whole computer as one archive, which its kernel unpacks into memory.

        Args:
            app: a folder that becomes /opt/app, beside Debian, wheels, kernel modules and ccnvr.
            out: the archive.
        """
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            tree = Path(folder)
            run_program("cp", "-a", f"{self.root}/.", tree)
            for hidden in ("proc", "sys"):
                shutil.rmtree(tree / hidden, ignore_errors=True)
            for empty in ("proc", "sys", "dev", "run", "tmp", "root"):
                (tree / empty).mkdir(exist_ok=True)
            shutil.copytree(self.site, tree / "opt/site")
            for part in PARTS:
                shutil.copytree(
                    ROOT / part,
                    tree / "opt/site/ccnvr" / part,
                    ignore=shutil.ignore_patterns("__pycache__"),
                )
            _pretend_installed(tree / "opt/site")
            shutil.copytree(app, tree / "opt/app")
            self._copy_modules(tree)
            shutil.copy(HERE / "init", tree / "init")
            (tree / "init").chmod(0o755)
            with open(out, "wb") as stream:
                names = subprocess.run(
                    ["find", "."], cwd=tree, check=True, capture_output=True
                ).stdout
                subprocess.run(
                    ["cpio", "-o", "-H", "newc", "--quiet"],
                    cwd=tree,
                    check=True,
                    input=names,
                    stdout=stream,
                )

    def boot_command(self, initramfs: Path, *options: str) -> list[str]:
        """Return the command that boots the computer, with its console on standard output."""
        (kernel,) = (self.kernel / "boot").glob("vmlinuz*")
        line = "console=ttyAMA0 quiet loglevel=3 panic=-1 rdinit=/init"
        fixed = [
            "-M",
            "virt",
            "-cpu",
            PI_4.qemu,
            "-smp",
            "2",
            "-m",
            "2G",
            "-display",
            "none",
            "-no-reboot",
            "-nodefaults",
        ]
        boot = [
            "-kernel",
            str(kernel),
            "-initrd",
            str(initramfs),
            "-append",
            line,
            "-serial",
            "stdio",
        ]
        return ["qemu-system-aarch64", *fixed, *boot, *options]

    def _copy_modules(self, tree: Path) -> None:
        (version,) = (path.name for path in (self.kernel / "lib/modules").iterdir())
        wanted = {
            Path(line.split()[1])
            for module in ("xhci-pci", "ftdi_sio")
            for line in run_program(
                "modprobe", "-d", self.kernel, "-S", version, "--show-depends", module
            ).splitlines()
            if line.startswith("insmod")
        }
        listed = [
            self.kernel / "lib/modules" / version / f"modules.{name}"
            for name in ("builtin", "builtin.modinfo", "order")
        ]
        for file in [*wanted, *listed]:
            target = tree / file.relative_to(self.kernel)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        run_program("depmod", "-b", tree, version)


def build_counter() -> None:
    """Build the QEMU plugin that counts instructions."""
    flags = ["-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wconversion"]
    run_program("gcc", *flags, "-o", FOLDER / "libicount.so", HERE / "icount.c")


def _namespace() -> Path:
    """Return a folder in which Python finds this working tree's packages as `ccnvr.*`."""
    folder = FOLDER / "ns"
    (folder / "ccnvr").mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        link = folder / "ccnvr" / part
        # The folder may have been copied from another checkout, whose code and bundle the old
        # link would run.
        if not link.is_symlink() or link.readlink() != ROOT / part:
            link.unlink(missing_ok=True)
            link.symlink_to(ROOT / part)
    return folder


def _pretend_installed(site: Path) -> None:
    """Write the metadata that pip would write for ccnvr.

    ccnvr asks for its own version when it remembers that a bundle passed its self-test.
    """
    noted = site / f"ccnvr-{version('ccnvr')}.dist-info" / "METADATA"
    noted.parent.mkdir()
    noted.write_text(f"Metadata-Version: 2.1\nName: ccnvr\nVersion: {version('ccnvr')}\n")


def _pretend(root: Path, cpu: Cpu) -> None:
    """Write a Raspberry Pi's files where QEMU 7.2 would show the host's.

    onnxruntime crashes when it reads an Intel processor's /proc/cpuinfo on ARM.
    """
    cpus = root / "sys/devices/system/cpu"
    for folder in (root / "proc", cpus):
        folder.mkdir(parents=True, exist_ok=True)
    one = (
        "processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {cpu.features}\nCPU "
        "implementer\t: 0x41\nCPU architecture: 8\n"
        "CPU variant\t: {cpu.variant}\nCPU part\t: {cpu.part}\nCPU revision\t: {cpu.revision}\n\n"
    )
    text = "".join(one.format(number=number, cpu=cpu) for number in range(4))
    (root / "proc/cpuinfo").write_text(f"{text}Model\t\t: {cpu.model}\n")
    for name in ("possible", "present", "online"):
        (cpus / name).write_text("0-3\n")

"""Raspberry Pis without one: Debian's ARM Python and its wheels under QEMU, as a program or as a
whole computer.

Everything is fetched with this host's own apt and pip into `.arm64/` and kept there. It needs a
Debian host with qemu-user, qemu-system-arm, kmod, cpio and gcc.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FOLDER = ROOT / ".arm64"
PARTS = ("edge", "firmware_bridge")

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


class LabError(Exception):
    """The emulated computer cannot be made here; the message says why."""


@dataclass(frozen=True)
class Machine:
    """A Debian release on a processor, with a set of wheels of its own; `debian` are further
    packages of the release.
    """

    name: str
    arch: str
    suite: str
    python: str
    wheels: tuple[str, ...]
    platforms: tuple[str, ...]
    debian: tuple[str, ...] = ()
    without_dependencies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cpu:
    """What the emulated processor is called, and what a Raspberry Pi with it says
    in /proc/cpuinfo.
    """

    qemu: str
    model: str
    features: str
    variant: str
    part: str
    revision: str


PI_4 = Cpu(
    "cortex-a72",
    "Raspberry Pi 4 Model B Rev 1.4",
    "fp asimd evtstrm crc32 cpuid",
    "0x0",
    "0xd08",
    "3",
)
PI_5 = Cpu(
    "cortex-a76",
    "Raspberry Pi 5 Model B Rev 1.0",
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp",
    "0x4",
    "0xd0b",
    "1",
)
PI_2 = Cpu(
    "cortex-a7",
    "Raspberry Pi 2 Model B Rev 1.1",
    "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva",
    "0x0",
    "0xc07",
    "5",
)

_AARCH64 = (
    *(f"manylinux_2_{minor}_aarch64" for minor in (17, 27, 28, 31, 34)),
    "manylinux2014_aarch64",
)
_ARMV7 = ("manylinux_2_34_armv7l", "manylinux2014_armv7l", "manylinux_2_31_armv7l", "linux_armv7l")
# The versions of constraints.txt, and of the engines that the project does not pin.
_COMMON = ("pyserial==3.5",)
_DEMO_DATA = ("LimeSoDa==0.1.5",)

BOOKWORM = Machine(
    "bookworm",
    "arm64",
    "bookworm",
    "3.11",
    ("numpy==2.4.6", "onnxruntime==1.32.0", "ai-edge-litert==2.3.0", *_COMMON),
    _AARCH64,
    without_dependencies=_DEMO_DATA,
)
BOOKWORM_TFLITE = Machine(
    "bookworm-tflite",
    "arm64",
    "bookworm",
    "3.11",
    ("numpy==1.26.4", "tflite-runtime==2.14.0", *_COMMON),
    _AARCH64,
)
TRIXIE = Machine(
    "trixie",
    "arm64",
    "trixie",
    "3.13",
    ("numpy==2.4.6", "onnxruntime==1.32.0", "ai-edge-litert==2.3.0", *_COMMON),
    _AARCH64,
)
ARMHF = Machine(
    "bookworm-armhf",
    "armhf",
    "bookworm",
    "3.11",
    _COMMON,
    _ARMV7,
    debian=("python3-numpy",),
    without_dependencies=("tflite-runtime==2.14.0",),
)


class Installed:
    """A machine's files: `root` is its Debian, `site` its wheels, `kernel` its kernel where one was
    asked for.
    """

    def __init__(self, machine: Machine) -> None:
        folder = FOLDER / machine.name
        self.machine = machine
        self.root, self.site, self.kernel = folder / "root", folder / "site", folder / "kernel"

    def command(self, cpu: Cpu, *arguments: object, counts: Path | None = None) -> list[str]:
        """This machine's Python with arguments, as a command of the host; `counts` takes the
        instructions between marks.
        """
        _pretend(self.root, cpu)
        qemu = "qemu-aarch64" if self.machine.arch == "arm64" else "qemu-arm"
        plugin = [] if counts is None else ["-plugin", f"{FOLDER / 'libicount.so'},out={counts}"]
        # Addresses and hashes that change from run to run would change the counts.
        steady = [] if counts is None else ["setarch", "-R"]
        fixed = ["-cpu", cpu.qemu, "-L", str(self.root), *plugin]
        return [*steady, qemu, *fixed, str(self.root / "usr/bin/python3"), *map(str, arguments)]

    def environment(self) -> dict[str, str]:
        """For `command`."""
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
        """Run it and give what it prints.

        Raises:
            LabError: it fails; the message is the end of what it said.
        """
        return _run(*self.command(cpu, *arguments, counts=counts), environment=self.environment())

    def initramfs(self, app: Path, out: Path) -> None:
        """A whole computer as one archive: Debian, wheels, kernel modules, ccnvr, and `app` in
        /opt/app.
        """
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            tree = Path(folder)
            _run("cp", "-a", f"{self.root}/.", tree)
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
        """The computer, its console on standard output."""
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
            for line in _run(
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
        _run("depmod", "-b", tree, version)


def install(machine: Machine, *, with_kernel: bool = False) -> Installed:
    """Fetch and unpack a machine, once.

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
    # A machine with a kernel serves where none is needed.
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


def build_counter() -> None:
    """The plugin that counts instructions."""
    flags = ["-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wconversion"]
    _run("gcc", *flags, "-o", FOLDER / "libicount.so", HERE / "icount.c")


def _namespace() -> Path:
    """A folder in which Python finds the edge's packages of this working tree as ccnvr.*."""
    folder = FOLDER / "ns"
    (folder / "ccnvr").mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        link = folder / "ccnvr" / part
        # A cache that came from another copy of the repository would answer with that one's code
        # and bundle.
        if not link.is_symlink() or link.readlink() != ROOT / part:
            link.unlink(missing_ok=True)
            link.symlink_to(ROOT / part)
    return folder


def _pretend_installed(site: Path) -> None:
    """What pip notes of ccnvr, which asks for its own version when it notes that a bundle works
    here.
    """
    noted = site / f"ccnvr-{version('ccnvr')}.dist-info" / "METADATA"
    noted.parent.mkdir()
    noted.write_text(f"Metadata-Version: 2.1\nName: ccnvr\nVersion: {version('ccnvr')}\n")


def _pretend(root: Path, cpu: Cpu) -> None:
    """A Raspberry Pi's own files where QEMU 7.2 would show the host's: onnxruntime crashes on an
    Intel's /proc/cpuinfo.
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


def _private_apt(folder: Path, machine: Machine) -> dict[str, str]:
    """An apt with files of its own, so that the host's knows nothing of another processor."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    targets = _run(
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
    _run("apt-get", "-qq", "update", environment=environment)
    return environment


def _unpack_debian(installed: Installed, folder: Path, environment: dict[str, str]) -> None:
    packages = ("python3", "libstdc++6", "libgomp1", "busybox-static", *installed.machine.debian)
    _run("apt-get", "-qq", "-y", "install", "--download-only", *packages, environment=environment)
    root = installed.root
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    # No empty dev, tmp or proc: QEMU would show them instead of the host's.
    for package in sorted((folder / "cache/archives").glob("*.deb")):
        archive = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True
        ).stdout
        subprocess.run(
            ["tar", "-x", "--keep-directory-symlink", "-C", root, "-f", "-"],
            check=True,
            input=archive,
        )
    # Links that Debian's installation scripts would make, for its own NumPy.
    for library in (
        *root.glob("usr/lib/*/blas/libblas.so.3"),
        *root.glob("usr/lib/*/lapack/liblapack.so.3"),
    ):
        (library.parent.parent / library.name).symlink_to(f"{library.parent.name}/{library.name}")
    for name in ("doc", "man", "locale"):
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)


def _unpack_kernel(installed: Installed, folder: Path, environment: dict[str, str]) -> None:
    depends = _run("apt-cache", "depends", "linux-image-arm64", environment=environment)
    (name,) = {line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line}
    _run("apt-get", "-qq", "download", name, environment=environment, folder=folder)
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
    _run("depmod", "-b", installed.kernel, version)


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
            _run(*pip, *target, *names)
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(installed.site)
    for tests in list(installed.site.rglob("tests")):
        shutil.rmtree(tests, ignore_errors=True)


def _run(
    *command: object, environment: dict[str, str] | None = None, folder: Path | None = None
) -> str:
    words = [str(word) for word in command]
    result = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=folder)
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip()[-1_500:] or "nothing said"
        raise LabError(f"{' '.join(words)[:200]} ended with {result.returncode}: {said}")
    return result.stdout

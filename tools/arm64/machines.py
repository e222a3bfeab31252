"""The emulated computers: Debian releases with their wheels, and Raspberry Pi processors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A Debian release on a processor, with a set of wheels of its own.

    Attributes:
        name: the name of the machine's folder.
        arch: Debian's name of the processor.
        suite: the release.
        python: the release's version of Python.
        wheels: distributions to install from wheels, with their versions.
        platforms: the wheels' platform tags that suit the processor.
        debian: further Debian packages.
        without_dependencies: distributions whose dependencies are not installed.
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
    """QEMU's name of a processor, and what a Raspberry Pi with it has in /proc/cpuinfo."""

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
# The versions of constraints.txt, and one version of each engine that the project does not pin.
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

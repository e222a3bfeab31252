"""The outputs of one bundle on this computer and on emulated Raspberry Pis, compared.

Also the cost of an inference there, in instructions.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.spectrum_files import limesoda
from tools import tflite_environment
from tools.arm64 import fetch, host, lab, machines

Float32 = NDArray[np.float32]

SPECTRA = 500
WAVELENGTHS_NM = np.arange(1100.0, 2499.0)

FLOAT_LIMIT, FLOAT_LIMIT_OF_32_BITS = 2e-5, 1e-4
"""The largest allowed difference of a float profile's outputs, in sd of the training soils.

The vector unit of 32-bit ARM does not round as IEEE 754 asks: small numbers become zero, and
reciprocals are approximate.
"""

COMPUTERS = (
    (machines.BOOKWORM, machines.PI_4),
    (machines.BOOKWORM, machines.PI_5),
    (machines.TRIXIE, machines.PI_5),
    (machines.BOOKWORM_TFLITE, machines.PI_4),
    (machines.ARMHF, machines.PI_2),
)


Answers = dict[str, Float32]


@dataclass(frozen=True)
class Compared:
    """The largest difference between two computers for one engine and profile.

    Attributes:
        name: engine and profile.
        version: the engine's version on the emulated computer.
        computer: the emulated computer.
        difference: the largest difference, in sd of the training soils.
        steps: the same in steps of an 8-bit number over the range of the outputs.
        self_test: the largest difference from the bundle's self-test, in sd.
    """

    name: str
    version: str
    computer: str
    difference: float
    steps: float
    self_test: float

    @property
    def problem(self) -> str | None:
        """What is wrong, or None."""
        if self.name.endswith(" int8"):
            return (
                None
                if self.steps <= 1.0
                else f"{self.name} on {self.computer} differs by {self.steps:.2f} steps, limit 1"
            )
        limit = FLOAT_LIMIT_OF_32_BITS if "armv7l" in self.computer else FLOAT_LIMIT
        within = self.difference <= limit
        return (
            None
            if within
            else f"{self.name} on {self.computer} differs by {self.difference:.3g} sd, limit "
            f"{limit}"
        )


def bundle() -> str:
    """Return the bundle to test: `.arm64/bundle.ccnvr` if it exists, otherwise `default:nir`."""
    own = host.FOLDER / "bundle.ccnvr"
    return str(own) if own.exists() else "default:nir"


def run() -> Iterator[Compared]:
    """Run every engine of every computer, and compare it with the same engine here.

    Yields each comparison as it is ready.

    Raises:
        LabError: a computer cannot be made, or fails.
    """
    with tempfile.TemporaryDirectory(dir=host.FOLDER) as name:
        folder = Path(name)
        _write_spectra(folder / "spectra.npz")
        here = _here(folder)
        for machine, cpu in COMPUTERS:
            installed, out = fetch.install(machine), folder / "there.npz"
            said = json.loads(
                installed.python(
                    cpu, host.HERE / "answers.py", bundle(), folder / "spectra.npz", out
                )
            )
            print(f"answers: {machine.name} on {cpu.qemu}", file=sys.stderr, flush=True)
            label = f"{said['machine']} {cpu.qemu}, Python {said['python']}"
            for key, there in _read(out).items():
                if key in here:
                    yield _compare(key, label, said["engines"][key], here[key], there)


def counts(cpu: machines.Cpu) -> dict[str, float]:
    """Return the instructions of one preprocessing and of one inference of each pair."""
    lab.build_counter()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=host.FOLDER) as name:
        folder = Path(name)
        _write_spectra(folder / "spectra.npz")
        for machine in (machines.BOOKWORM, machines.BOOKWORM_TFLITE):
            installed, marks = fetch.install(machine), folder / "marks"
            program = (host.HERE / "answers.py", "--count", bundle(), folder / "spectra.npz")
            names = json.loads(installed.python(cpu, *program, counts=marks))
            lines = [tuple(map(int, line.split())) for line in marks.read_text().splitlines()]
            for number, label in enumerate(names, start=1):
                found.setdefault(
                    label, float(np.median([count for mark, count in lines if mark == number]))
                )
    return found


def _compare(
    key: str, label: str, engine: dict[str, Any], here: Float32, there: Float32
) -> Compared:
    gap = np.abs(here - there)
    step = (here.max(axis=0) - here.min(axis=0)) / 255.0
    return Compared(
        key,
        engine["version"],
        label,
        float(gap.max()),
        float((gap / step).max()),
        engine["self_test"],
    )


def _here(folder: Path) -> Answers:
    """Return the outputs of this computer's engines.

    tflite-runtime runs in an environment of its own, because it needs NumPy 1.
    """
    answers: Answers = {}
    pythons = [sys.executable]
    try:
        pythons.append(str(tflite_environment.python()))
    except tflite_environment.Unavailable as error:
        print(f"tflite-runtime is not compared: {error}", file=sys.stderr)
    for python in pythons:
        command = [
            python,
            str(host.HERE / "answers.py"),
            bundle(),
            str(folder / "spectra.npz"),
            str(folder / "here.npz"),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        answers = {**_read(folder / "here.npz"), **answers}
    return answers


def _read(path: Path) -> Answers:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files if name != "inputs"}


def _write_spectra(path: Path) -> None:
    """Write the absorbance of `SPECTRA` real soils, drawn evenly from all of LimeSoDa."""
    each = [
        np.interp(WAVELENGTHS_NM, one.wavelengths_nm, row)
        for one in map(limesoda.load, limesoda.VISNIR_SETS)
        for row in one.reflectance
    ]
    chosen = np.array(each)[np.linspace(0, len(each) - 1, SPECTRA).astype(int)]
    with open(path, "wb") as stream:
        np.savez(stream, wavelengths_nm=WAVELENGTHS_NM, absorbance=-np.log10(chosen))

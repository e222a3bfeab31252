"""What a process costs from its start to its first prediction, and what an installation weighs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

from benchmarks.timing import Figure, Times
from benchmarks.workload import Workload
from ccnvr.edge.engines.registry import ENGINES

ROOT = Path(__file__).parents[1]
IMPORTS_ALONE = "import numpy, onnxruntime"
_COUNTING = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
STEADY = {"PYTHONHASHSEED": "0", "OPENBLAS_CORETYPE": "Haswell"}
"""Variables for counts that depend neither on chance nor on the processor's newest instructions."""

_ENGINES = (("onnxruntime", "onnx"), ("LiteRT", "litert"), ("NumPy", "numpy"))

_ONE_SPECTRUM = """\
import numpy as np
with np.load({file!r}) as spectra:
    nm, absorbance = spectra["nm"], spectra["absorbance"]
"""

# Of the process itself: the largest size that the kernel reports to a parent begins with the
# parent's own.
_REPORT = """
import time
lines = open("/proc/self/status").read().splitlines()
(peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
print()
print(time.process_time(), peak)
"""

_OURS = """
from ccnvr.edge.inference.models import load_bundle
print(load_bundle({bundle!r}, {engine!r}).bind(nm)(absorbance))
"""

_TORCH = """
import torch
from ccnvr.edge.bundle.archive import read
from ccnvr.edge.network.file import unpack
from ccnvr.train.network.convert import as_torch
network = unpack(read({bundle!r}).parts["model.fp32.network"])
shape = (1, network.config.in_channels, network.config.bands)
with torch.inference_mode():
    print(as_torch(network)(torch.zeros(shape)))
"""

_NETWORK_ALONE = """
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession({model!r}, providers=["CPUExecutionProvider"])
one = session.get_inputs()[0]
print(session.run(None, {{one.name: np.zeros([1, *one.shape[1:]], np.float32)}}))
"""

_BY_HAND = """
import onnxruntime
from scipy.signal import savgol_filter
session = onnxruntime.InferenceSession({model!r}, providers=["CPUExecutionProvider"])
one = session.get_inputs()[0]
savgol_filter(absorbance, 11, 2, 1)
print(session.run(None, {{one.name: np.zeros([1, *one.shape[1:]], np.float32)}}))
"""


def starts(
    bundle: str, model: bytes | None, work: Workload, rounds: int
) -> dict[str, dict[str, Figure]]:
    """Return seconds, CPU seconds and peak memory in MB of whole processes, in turns.

    Args:
        bundle: the bundle that ours predict with.
        model: its network as an ONNX file, for what is written by hand; None starts neither that
            nor torch.
        work: the spectra, of which each process predicts one.
        rounds: how often each one is started.
    """
    with tempfile.TemporaryDirectory() as name:
        load = _loading(work, Path(name))
        programs = _imports_and_ours(bundle, load)
        if model is not None:
            onnx = Path(name) / "model.onnx"
            onnx.write_bytes(model)
            programs["numpy, onnxruntime, the network alone"] = _NETWORK_ALONE.format(
                model=str(onnx)
            )
            programs["scipy and onnxruntime by hand"] = load + _BY_HAND.format(model=str(onnx))
            programs["torch, network alone"] = _TORCH.format(bundle=bundle)
        figures: dict[str, list[tuple[float, float, float]]] = {key: [] for key in programs}
        for number in range(rounds + 1):
            for key, program in programs.items():
                figure = _start(program, Path(name) / "byte code")
                # The first start writes byte code and proves the bundle, once for all.
                if number:
                    figures[key].append(figure)
    return {key: _medians(np.array(rows)) for key, rows in figures.items()}


def start_instructions(bundle: str, work: Workload) -> dict[str, int]:
    """Return the instructions of whole processes, which no other work on the computer changes.

    Empty without valgrind.
    """
    if shutil.which("valgrind") is None:
        return {}
    with tempfile.TemporaryDirectory() as name:
        programs = _imports_and_ours(bundle, _loading(work, Path(name)))
        found = {}
        for key, program in programs.items():
            # The first one writes byte code, and proves the bundle.
            for counting in ([], _COUNTING):
                output = _run(
                    [*counting, sys.executable, "-c", program],
                    Path(name) / "byte code",
                    **STEADY,
                )
            refs = re.search(r"I\s+refs:\s+([\d,]+)", output.stderr)
            assert refs is not None, output.stderr
            found[key] = int(refs[1].replace(",", ""))
    return found


def _loading(work: Workload, folder: Path) -> str:
    """Write one spectrum into a folder, and return the program that reads it."""
    file = folder / "spectrum.npz"
    np.savez(file, nm=work.info.wavelengths_nm, absorbance=work.absorbance()[0])
    return _ONE_SPECTRUM.format(file=str(file))


def _imports_and_ours(bundle: str, load: str) -> dict[str, str]:
    """Return the programs that import what is compared with, and ours on each engine."""
    programs = {"Python alone": "pass"}
    if ENGINES["onnx"].obstacle is None:
        programs[IMPORTS_ALONE] = IMPORTS_ALONE
    for label, engine in _ENGINES:
        if ENGINES[engine].obstacle is None:
            programs[f"ours, {label}"] = load + _OURS.format(bundle=bundle, engine=engine)
    return programs


def _start(program: str, byte_code: Path) -> tuple[float, float, float]:
    """Return the seconds, CPU seconds and peak memory in MB of a process."""
    started = time.perf_counter()
    result = _run([sys.executable, "-c", program + _REPORT], byte_code)
    seconds = time.perf_counter() - started
    cpu_seconds, peak_kb = result.stdout.splitlines()[-1].split()
    return seconds, float(cpu_seconds), float(peak_kb) / 1e3


def _run(command: list[str], byte_code: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    # As in an installation, where pip has compiled all modules; a developer's environment may
    # forbid that anything is written beside them.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(byte_code), **variables}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    # Set in this process by our engine; others' programs start without it.
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment)


def _medians(rows: np.ndarray) -> dict[str, Figure]:
    times = Times({str(column): rows[:, column] for column in range(3)}, {})
    names = ("seconds", "cpu_seconds", "peak_mb")
    return {name: times.median(str(column)) for column, name in enumerate(names)}


def installations() -> dict[str, dict[str, float]]:
    """Return the packages of each installation and their size in MB, without Python itself.

    They are those that pip installed here, so extras of packages are not counted.
    """
    ours = sum(
        path.stat().st_size
        for package in ("edge", "train", "export", "firmware_bridge")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    wanted = {
        "ours with onnxruntime": (["numpy", "pyserial", "onnxruntime"], ours),
        "ours with LiteRT": (["numpy", "pyserial", "ai-edge-litert"], ours),
        "ours with NumPy alone": (["numpy", "pyserial"], ours),
        "scipy and onnxruntime by hand": (["numpy", "scipy", "onnxruntime"], 0),
        "chemotools and onnxruntime": (["chemotools", "onnxruntime"], 0),
        "torch": (["numpy", "torch"], 0),
    }
    found = {}
    for name, (roots, own) in wanted.items():
        packages = _closure(roots)
        size = own + sum(map(_size, packages))
        found[name] = {"packages": len(packages) + bool(own), "mb": round(size / 1e6, 1)}
    return found


def _closure(names: list[str]) -> list[str]:
    """Return distributions with all that they need, as far as it is installed."""
    found: dict[str, None] = {}
    while names:
        name = names.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found[key] = None
        names = names + [
            re.split(r"[ ;<>=!~\[(]", requirement)[0]
            for requirement in requirements
            if "extra ==" not in requirement
        ]
    return list(found)


def _size(name: str) -> int:
    files = distribution(name).files or []
    return sum(
        path.stat().st_size
        for file in files
        if file.suffix != ".pyc" and (path := Path(str(file.locate()))).is_file()
    )

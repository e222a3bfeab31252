"""Compare the plain installation of two or more revisions: packages, size, memory and start.

    python -m tools.light_install 9c37a97 HEAD

Each revision is installed by `pip install '.[onnx]'` into a new environment, with the versions that
its own constraints.txt states. Then `ccnvr run` predicts a simulated instrument's scans in each of
them in turn, `--rounds` times, so that whatever else the computer does slows all of them alike; the
processor time of a run of one scan hardly depends on it. Without `--bundle` each revision runs its
own default model.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

SCANS = 50
"""The memory is read after so many scans."""

_RUN = ("run", "--instrument", "sim://?pace=0", "--store", "s.sqlite")


_PROCESSOR_TIME = (
    "import resource, subprocess, sys; "
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime)"
)
"""Prints the seconds of processor time of a command, which it runs in a process of its own."""


@dataclass
class Installed:
    """One revision in an environment of its own, and what was measured of it."""

    revision: str
    folder: Path
    imports_s: list[float] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "venv" / "bin" / "python"

    def install(self) -> None:
        """Take the revision's tree out of this repository and install it."""
        tree = self.folder / "tree"
        tree.mkdir(parents=True)
        archive = subprocess.run(
            ["git", "archive", self.revision], check=True, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
        subprocess.run([sys.executable, "-m", "venv", str(self.folder / "venv")], check=True)
        # One that this environment needs to be made itself would be counted otherwise.
        words = ["-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", ".[onnx]"]
        subprocess.run([str(self.python), *words], cwd=tree, check=True)

    def packages(self) -> list[str]:
        """Return the names of the packages but for those that every environment has."""
        listing = subprocess.run(
            [str(self.python), "-m", "pip", "list", "--format", "freeze"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        names = [line.partition("==")[0] for line in listing.stdout.split()]
        return sorted(name for name in names if name not in ("pip", "setuptools"))

    def size_mb(self, part: str = "") -> float:
        """Return the bytes of the installed files, or those of one part, in MB."""
        (packages,) = (self.folder / "venv" / "lib").glob("python*/site-packages")
        files = [path for path in (packages / part).rglob("*") if path.is_file()]
        # What pip compiles beside each file depends on the file alone.
        own = [path for path in files if not {"pip", "setuptools", "__pycache__"} & {*path.parts}]
        return sum(path.stat().st_size for path in own) / 1e6

    def measure(self, bundle: str) -> None:
        """Run each thing once: the help, the daemon for one scan, and for `SCANS`."""
        began = time.perf_counter()
        subprocess.run([*self._ccnvr, "--help"], check=True, stdout=subprocess.DEVNULL)
        self.imports_s.append(time.perf_counter() - began)
        with tempfile.TemporaryDirectory() as folder:
            words = [*self._ccnvr, *_RUN, *(("--bundle", bundle) if bundle else ())]
            alone = subprocess.run(
                [sys.executable, "-c", _PROCESSOR_TIME, *words, "--count", "1"],
                cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self.processor_s.append(float(alone.stdout.split()[-1]))
            began = time.perf_counter()
            with subprocess.Popen(
                [*words, "--count", str(SCANS)],
                cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            ) as process:  # fmt: skip
                assert process.stdout is not None
                process.stdout.readline()
                self.start_s.append(time.perf_counter() - began)
                for _ in range(SCANS - 2):
                    process.stdout.readline()
                self.peak_mb.append(_peak_mb(process.pid))
                process.stdout.read()
            assert process.returncode == 0, f"{self.revision}: exit code {process.returncode}"

    @property
    def _ccnvr(self) -> list[str]:
        return [str(self.python.with_name("ccnvr"))]


def _peak_mb(pid: int) -> float:
    """Return the most resident memory that a process has had, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError("no VmHWM")


def main(words: list[str] | None = None) -> int:
    """Print a table with one column for each revision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revisions", nargs="+", metavar="REVISION")
    parser.add_argument("--rounds", type=int, default=9, help="runs of each revision")
    parser.add_argument("--bundle", default="", help="a bundle for all instead of their default")
    parser.add_argument("--folder", type=Path, help="keep the environments here for another time")
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        all_of_them = [Installed(name, folder / name) for name in arguments.revisions]
        for one in all_of_them:
            if not one.python.exists():
                one.install()
        for one in all_of_them:
            one.measure(arguments.bundle)  # reads files into the cache and writes byte code
        for one in all_of_them:
            for kept in (one.imports_s, one.start_s, one.processor_s, one.peak_mb):
                kept.clear()
        for _ in range(arguments.rounds):
            for one in all_of_them:
                one.measure(arguments.bundle)
        _print(all_of_them)
    return 0


def _print(all_of_them: list[Installed]) -> None:
    rows = {
        "": [one.revision for one in all_of_them],
        "packages": [", ".join(one.packages()) for one in all_of_them],
        "number of packages": [str(len(one.packages())) for one in all_of_them],
        "installed, MB": [f"{one.size_mb():.1f}" for one in all_of_them],
        "of it ccnvr, MB": [f"{one.size_mb('ccnvr'):.1f}" for one in all_of_them],
        "`ccnvr --help`, s": [_spread(one.imports_s, 3) for one in all_of_them],
        "start to the first prediction, s": [_spread(one.start_s, 2) for one in all_of_them],
        "processor time of one scan, s": [_spread(one.processor_s, 2) for one in all_of_them],
        f"peak memory at {SCANS} scans, MB": [_spread(one.peak_mb, 1) for one in all_of_them],
    }
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def _spread(values: list[float], digits: int) -> str:
    """Return the median with the least and the greatest value."""
    return (
        f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to "
        f"{max(values):.{digits}f})"
    )


if __name__ == "__main__":
    sys.exit(main())

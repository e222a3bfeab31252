"""Guard against regressions by counting instructions: `python -m benchmarks.guard`.

Compares the instructions of one call with those in benchmarks/instructions.json, and ends with 1 if
any is more than 3 % above. Instructions do not depend on what else the computer does, as times do.
They do depend on the builds of Python and NumPy: where the file has none for those here, the
program says so and ends with 0. `--record` writes the instructions of this computer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import guarded, processes, workload
from ccnvr.firmware_bridge.errors import CcnvrError

ROOT = Path(__file__).parents[1]
BASELINE = ROOT / "benchmarks" / "instructions.json"
LIMIT = 0.03
"""By how much a count may grow; those of one build differ by less than 0.1 % from run to run."""

_HEADER = Path("/usr/include/valgrind/callgrind.h")


class Unavailable(CcnvrError):
    """The error for a computer that cannot count; the message says what it lacks."""


def build() -> str:
    """Return what the counts depend on besides our own code."""
    flags = Path("/proc/cpuinfo").read_text() if platform.machine() == "x86_64" else ""
    return ", ".join(
        (
            platform.machine() + ("" if " avx2 " in flags or not flags else " without AVX2"),
            f"Python {platform.python_version()} ({platform.python_compiler()})",
            f"numpy {np.__version__}",
            f"SQLite {sqlite3.sqlite_version}",
        )
    )


def count(inject: int = 0) -> dict[str, int]:
    """Return the instructions of one call of each function of `guarded.subjects`.

    Args:
        inject: loops of `guarded.INJECTED`, which then is counted too, to see that the guard
            notices it.

    Raises:
        Unavailable: valgrind, its headers or a C compiler are not installed.
    """
    for needed in ("valgrind", "gcc"):
        if shutil.which(needed) is None:
            raise Unavailable(f"instructions cannot be counted without {needed}; install it")
    if not _HEADER.exists():
        raise Unavailable(f"instructions cannot be counted without {_HEADER}; install valgrind")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "sums.npy", workload.sums_of(workload.make(guarded.SPECTRA)))
        marks = folder / "marks.so"
        source = ROOT / "benchmarks" / "callgrind_marks.c"
        _run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(marks), str(source)])
        program = [sys.executable, "-m", "benchmarks.guarded", str(folder / "sums.npy"), str(marks)]
        out = folder / "counts"
        _run(
            [
                *("valgrind", "--tool=callgrind", "--instr-atstart=no"),
                *(f"--callgrind-out-file={out}", "--compress-strings=no"),
                *program,
                *("--inject", str(inject)),
            ]
        )
        return dict(_counts(folder))


def _run(command: list[str]) -> None:
    """Run a program whose counts do not depend on chance or on the processor's newest features."""
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **processes.STEADY}
    )
    if result.returncode:
        raise Unavailable(f"{command[0]} ended with {result.returncode}: {result.stderr[-600:]}")


def _counts(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield name and instructions of a call from callgrind's files, one for each mark."""
    for path in sorted(folder.glob("counts.*"), key=lambda path: int(path.suffix[1:])):
        text = path.read_text()
        trigger = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.M)
        totals = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
        if trigger and totals:
            yield trigger[1], int(totals[1]) // guarded.calls(trigger[1])


def problems(found: dict[str, int], before: dict[str, int]) -> list[str]:
    """Return a sentence for each count that grew by more than `LIMIT`, or is new."""
    wrong = []
    for name, instructions in found.items():
        if name not in before:
            wrong.append(f"{name} has no count yet; run: python -m benchmarks.guard --record")
        elif instructions > (1.0 + LIMIT) * before[name]:
            wrong.append(
                f"{name} takes {instructions:,} instructions, {instructions / before[name] - 1:.1%}"
                f" more than the {before[name]:,} on record; make it faster, or record the new "
                "count with the reason in the commit: python -m benchmarks.guard --record"
            )
    return wrong


def baselines() -> dict[str, dict[str, int]]:
    """Return the counts on record, by build."""
    found: dict[str, dict[str, int]] = json.loads(BASELINE.read_text())
    return found


def main() -> int:
    """Compare or record, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the counts of this computer")
    arguments = parser.parse_args()
    recorded, here = baselines(), build()
    if not arguments.record and here not in recorded:
        print(f"not compared: there are no counts for {here}")
        return 0
    found = count()
    before = recorded.get(here, {})
    for name, instructions in found.items():
        change = f"{instructions / before[name] - 1:+.2%}" if name in before else "new"
        print(f"{name:<40}{instructions:>14,}  {change}")
    if arguments.record:
        BASELINE.write_text(json.dumps({**recorded, here: found}, indent=1) + "\n")
        return 0
    wrong = problems(found, before)
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

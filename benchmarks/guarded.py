"""The work whose instructions are counted; `benchmarks.guard` runs this program under callgrind.

It uses NumPy's own engine, because the instructions of onnxruntime are no work of ours and would
take most of the time.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import ours, workload
from benchmarks.timing import Subject
from ccnvr.firmware_bridge.link.frames import Decoder

SPECTRA = 4
"""Each function gets each spectrum once, so that the mean is that of the same spectra always."""

BACKLOG = "backlog of 32"
INJECTED = "decode frames with more work"
_BACKLOG = 32
_WARM = 8
"""Calls before, in which Python 3.11 adapts its byte code to the types that it meets."""


def subjects(work: workload.Workload, bundle: str, folder: Path) -> dict[str, Subject]:
    """Return the functions to count, by name."""
    bound = ours.bind(bundle, work, engine="numpy")
    backlog = np.concatenate([bound.spectra] * (_BACKLOG // len(bound.spectra)))
    return {
        "decode frames": lambda number: Decoder().feed(work.wires[number]),
        "preprocessing": lambda number: bound.preprocess(bound.spectra[number]),
        ours.TO_PREDICTION: lambda number: bound.pipeline(work.scans[number]),
        BACKLOG: lambda number: bound.predictor.batch(backlog),
        "commit to the store": ours.Committing(bound, work, folder).commit,
    }


def calls(name: str) -> int:
    """Return how many calls of a function are counted."""
    return 1 if name == BACKLOG else SPECTRA


def with_more_work(subject: Subject, loops: int) -> Subject:
    """Return a function that does what a careless change might add: a loop in Python."""

    def slower(number: int) -> object:
        for _ in range(loops):
            pass
        return subject(number)

    return slower


def main() -> None:
    """Run each function, with marks around its calls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sums", type=Path, help="an array that `workload.of_sums` takes")
    parser.add_argument("marks", help="the library with the marks")
    parser.add_argument("--inject", type=int, default=0, help=f"loops in {INJECTED!r}; 0: none")
    parser.add_argument("--bundle", default="default:nir")
    arguments = parser.parse_args()
    marks = ctypes.CDLL(arguments.marks)
    sums = np.load(arguments.sums)
    with tempfile.TemporaryDirectory() as folder:
        found = subjects(workload.of_sums(sums, sums), arguments.bundle, Path(folder))
        if arguments.inject:
            found[INJECTED] = with_more_work(found["decode frames"], arguments.inject)
        for name, subject in found.items():
            _warm_up(subject, calls(name))
            gc.collect()
            gc.disable()
            marks.count_from_here()
            for number in range(calls(name)):
                subject(number)
            marks.count_until_here(name.encode())
            gc.enable()


def _warm_up(subject: Subject, spectra: int) -> None:
    for number in range(_WARM if spectra > 1 else 1):
        subject(number % spectra)


if __name__ == "__main__":
    main()

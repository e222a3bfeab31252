"""The standardised outputs of every engine and profile that this Python has, for given spectra.

The program runs on this computer and on emulated ones. `answers.py BUNDLE SPECTRA.npz OUT.npz`
writes an array for each pair of engine and profile. With `--count` it instead marks a few
inferences of each pair for the instruction counter (`icount.c`), and prints what each mark means.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numpy as np

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.engines.registry import ENGINES, Choice, Session
from ccnvr.edge.network.layout import PROFILES

MARK = 0x51500000
AT_ONCE = 25
"""Spectra in one call of an engine, which saves time on the emulated computer.

Instructions are counted for one spectrum alone.
"""

COUNTED = 5
"""Inferences of each pair that are counted, after two that are not."""


def sessions(bundle: bundles.Bundle) -> Iterator[tuple[Choice, Session]]:
    """Yield what can run here, opened in this process.

    A program under qemu-user cannot start the child process of `IsolatedSession`.
    """
    for engine in ENGINES.values():
        if find_spec(engine.library) is None or engine.obstacle is not None:
            continue
        for choice in (Choice(engine, profile) for profile in PROFILES):
            if choice.model_file in bundle.parts:
                yield choice, choice.engine.load()(bundle.parts[choice.model_file])


def main(bundle_path: str, spectra_path: str, out_path: str) -> None:
    """Write the outputs, and print as JSON which engines gave them."""
    bundle = bundles.read(bundle_path)
    with np.load(spectra_path) as spectra:
        preprocess = Preprocessor(
            bundle.manifest.preprocessing, spectra["wavelengths_nm"], bundle.correction()
        )
        inputs = preprocess.batch(spectra["absorbance"])
    test = bundle.self_test()
    test_inputs = Preprocessor(
        bundle.manifest.preprocessing,
        bundle.manifest.preprocessing.grid.wavelengths(),
        bundle.correction(),
    ).batch(np.array(test.absorbance))
    outputs: dict[str, Any] = {"inputs": inputs}
    engines: dict[str, dict[str, Any]] = {}
    for choice, session in sessions(bundle):
        name = f"{choice.engine.name} {choice.profile}"
        outputs[name] = np.concatenate(
            [session(some) for some in np.array_split(inputs, len(inputs) // AT_ONCE)]
        )
        expected = np.array(test.quantized.get(choice.profile, test.expected))
        self_test = float(np.max(np.abs(session(test_inputs) - expected)))
        engines[name] = {"version": choice.engine.version, "self_test": self_test}
    with open(out_path, "wb") as stream:
        np.savez(stream, **outputs)
    print(
        json.dumps(
            {"machine": platform.machine(), "python": platform.python_version(), "engines": engines}
        )
    )


def count(bundle_path: str, spectra_path: str) -> None:
    """Mark preprocessing and each pair `COUNTED` times; print the names of the marks as JSON."""
    bundle = bundles.read(bundle_path)
    with np.load(spectra_path) as spectra:
        wavelengths, soils = spectra["wavelengths_nm"], spectra["absorbance"]
    preprocess = Preprocessor(bundle.manifest.preprocessing, wavelengths, bundle.correction())
    inputs = preprocess.batch(soils[: COUNTED + 2])
    names = ["preprocessing"]
    for number in range(COUNTED + 2):
        _mark(0)
        preprocess(soils[number])
        _mark(1 if number >= 2 else 0)
    for choice, session in sessions(bundle):
        names.append(f"{choice.engine.name} {choice.profile}")
        for number in range(COUNTED + 2):
            one = inputs[number : number + 1]
            _mark(0)
            session(one)
            _mark(len(names) if number >= 2 else 0)
    print(json.dumps(names))


def _mark(number: int) -> None:
    with suppress(OSError):
        os.getpgid(MARK + number)


if __name__ == "__main__":
    if sys.argv[1] == "--count":
        count(*sys.argv[2:])
    else:
        main(*sys.argv[1:])

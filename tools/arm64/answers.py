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
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numpy as np

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.chemometrics.preprocess import Preprocessor
from ccnvr.edge.engines.registry import ENGINES, Choice, Session
from ccnvr.edge.inference.pipeline import Pipeline, References
from ccnvr.edge.inference.predictor import Predictor
from ccnvr.edge.network.layout import PROFILES
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings

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
    """Mark `COUNTED` calls of preprocessing, of each pair, and of the whole way from counts to a
    prediction with it; print the names of the marks as JSON.
    """
    bundle = bundles.read(bundle_path)
    with np.load(spectra_path) as spectra:
        wavelengths, soils = spectra["wavelengths_nm"], spectra["absorbance"][: COUNTED + 2]
    preprocess = Preprocessor(bundle.manifest.preprocessing, wavelengths, bundle.correction())
    inputs = preprocess.batch(soils)
    names: list[str] = []

    def mark(name: str, call: Callable[[int], object]) -> None:
        names.append(name)
        for number in range(COUNTED + 2):
            _mark(0)
            call(number)
            _mark(len(names) if number >= 2 else 0)

    mark("preprocessing", lambda number: preprocess(soils[number]))
    info, references, scans = _scans(wavelengths, soils)
    for choice, session in sessions(bundle):
        name = f"{choice.engine.name} {choice.profile}"
        mark(name, lambda number, run=session: run(inputs[number : number + 1]))  # type: ignore[misc]
        predictor = Predictor(_Opened(bundle, session), wavelengths)
        pipeline = Pipeline(predictor, info, references)
        mark(f"counts to prediction, {name}", lambda number, run=pipeline: run(scans[number]))  # type: ignore[misc]
    print(json.dumps(names))


class _Opened:
    """A `PredictiveModel` without a trial, whose child process cannot be started here."""

    def __init__(self, bundle: bundles.Bundle, session: Session) -> None:
        self.bundle, self.outputs = bundle, session
        self.correction, self.domain = bundle.correction(), bundle.domain()


def _scans(wavelengths_nm: Any, soils: Any) -> tuple[InstrumentInfo, References, list[Scan]]:
    """Return scans that a quiet instrument of 16 bits would take of soils, with its references."""
    info = InstrumentInfo("counted", "1", "1", 1, wavelengths_nm, 65_535, 1, 1_000_000, 16)
    dark, white = np.full(wavelengths_nm.size, 1_000.0), np.full(wavelengths_nm.size, 50_000.0)
    reflected = np.rint(16.0 * (dark + (white - dark) * 10.0**-soils)) / 16.0
    kinds = [ScanKind.DARK, ScanKind.WHITE, *[ScanKind.SAMPLE] * len(soils)]
    scans = [
        Scan(number, kind, counts, Settings(10_000, 16), False, 25.0)
        for number, (kind, counts) in enumerate(zip(kinds, [dark, white, *reflected], strict=True))
    ]
    return info, References(scans[0], scans[1], 1.0), scans[2:]


def _mark(number: int) -> None:
    with suppress(OSError):
        os.getpgid(MARK + number)


if __name__ == "__main__":
    if sys.argv[1] == "--count":
        count(*sys.argv[2:])
    else:
        main(*sys.argv[1:])

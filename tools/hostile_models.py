"""Load bundles whose model file is damaged but whose checksums are right, as an attack would.

`python -m tools.hostile_models` loads 10,000 bundles with each engine, in this process and as every
command does, and prints what became of them. It fails if one ends the process or raises anything
but one clear error. A model that loads all the same must predict without ending the process.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.archive import Bundle, BundleError, model_file_name
from ccnvr.edge.chemometrics.preprocess import SpectrumError
from ccnvr.edge.engines.isolated import IsolatedSession
from ccnvr.edge.engines.registry import ENGINES
from ccnvr.edge.engines.worker import Limits, serve
from ccnvr.edge.inference import proved_model
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.network.layout import PROFILES
from ccnvr.firmware_bridge.simulators.handheld import synthetic_soils

SECONDS = 20.0


class ForkedSession(IsolatedSession):
    """An isolated session that is forked from this process instead of started.

    The engine is imported here already, which makes it tens of times faster to start.
    """

    @staticmethod
    def _start(name: str, python: Path, limits: Limits | None) -> Any:
        return _Forked(name, limits)


class _Forked:
    """The part of a Popen that `IsolatedSession` uses."""

    def __init__(self, name: str, limits: Limits | None) -> None:
        to_child, from_child = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(to_child[1])
            os.close(from_child[0])
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                serve(name, os.fdopen(to_child[0], "rb"), os.fdopen(from_child[1], "wb"), limits)
            finally:
                os._exit(0)
        os.close(to_child[0])
        os.close(from_child[1])
        self.stdin, self.stdout = os.fdopen(to_child[1], "wb"), os.fdopen(from_child[0], "rb")
        self.code: int | None = None

    def kill(self) -> None:
        if self.code is None:
            os.kill(self.pid, 9)

    def wait(self) -> int:
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code


def mutate(model: bytes, rng: random.Random) -> bytes:
    """Return a model with bytes changed, set to extremes, cut off, taken out or doubled."""
    content = bytearray(model)
    kind = rng.randrange(6)
    where = rng.randrange(len(content) - 8)
    if kind <= 1:
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == 2:
        extreme = rng.choice((0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x40000000, 0, 1 << 24))
        content[where : where + 4] = extreme.to_bytes(4, "little")
    elif kind == 3:
        del content[where:]
    else:
        length = rng.randrange(1, 64)
        if kind == 4:
            del content[where : where + length]
        else:
            content[where:where] = content[where : where + length]
    return bytes(content)


def _mutations(model: bytes, rng: random.Random) -> Iterator[bytes]:
    """Yield damaged models, half of them damaged anywhere and half in tables and names.

    Most bytes are weights, in which damage does little.
    """
    structure = _structure(model)
    while True:
        if rng.random() < 0.5:
            yield mutate(model, rng)
        else:
            content = bytearray(model)
            for _ in range(rng.choice((1, 1, 2, 4))):
                content[rng.choice(structure)] = rng.choice(
                    (0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256))
                )
            yield bytes(content)


def _structure(model: bytes) -> list[int]:
    """Return the offsets of bytes among zeros or text: tables and names rather than weights."""
    found: list[int] = []
    for start in range(0, len(model), 16):
        block = model[start : start + 16]
        if block.count(0) >= 4 or sum(32 <= byte < 127 for byte in block) >= 10:
            found.extend(range(start, start + len(block)))
    return found or list(range(len(model)))


def with_model(source: Bundle, part: str, content: bytes, path: Path) -> None:
    """Write a bundle with one model file alone, whose manifest has its checksum."""
    parts = {name: kept for name, kept in source.parts.items() if not name.startswith("model.")}
    parts[part] = content
    described = {name: bundles.part_of(content) for name, content in parts.items()}
    bundles.write(path, dataclasses.replace(source.manifest, parts=described), parts)


def outcome(path: Path, engine: str, profile: str) -> str:
    """Load a bundle and return what became of it; anything but one clear error is raised."""
    try:
        model = ProvedModel(str(path), engine, profile)
    except BundleError as error:
        text = str(error)
        assert "\n" not in text or engine != "numpy", text
        for words, name in (
            ("crashes the engine", "crashed the trial's process"),
            ("does not finish", "hung the trial's process"),
            ("from its self-test by", "answered wrongly"),
            ("fails its self-test", "answered wrongly"),
        ):
            if words in text:
                return name
        return "refused by the engine"
    grid = model.bundle.manifest.preprocessing.grid.wavelengths()
    try:
        predict = model.bind(grid)
    except BundleError:
        return "refused as it was bound"
    wavelengths = np.linspace(0.0, 1.0, len(grid))
    for soil in synthetic_soils(3, 2):
        reflectance = np.interp(wavelengths, np.linspace(0.0, 1.0, len(soil)), soil)
        try:
            predict(-np.log10(reflectance))
        except SpectrumError:
            continue
        except BundleError:
            assert not model.choice.engine.in_process
            return "crashed later, in the engine's own process"
    return "harmless: it passes the self-test"


def run(
    source: Path, engine: str, profile: str, mutations: int, seed: int
) -> collections.Counter[str]:
    """Load this number of mutations of one model file, and count what became of them."""
    bundle = bundles.read(source)
    part = model_file_name(profile, ENGINES[engine].model_format)
    ENGINES[engine].load()
    # No proof is looked up or kept, so that each bundle is tried.
    monkey = cast(Any, proved_model)
    monkey.proofs.known = lambda *_: False
    monkey.proofs.remember = lambda *_: None
    monkey.IsolatedSession = lambda *arguments, **options: ForkedSession(
        *arguments, **options, seconds=SECONDS
    )
    counts: collections.Counter[str] = collections.Counter()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ccnvr-hostile-") as folder:
        path = Path(folder) / "hostile.ccnvr"
        for number, content in zip(
            range(mutations), _mutations(bundle.parts[part], random.Random(seed)), strict=False
        ):
            with_model(bundle, part, content, path)
            counts[outcome(path, engine, profile)] += 1
            if sys.stderr.isatty() and number % 50 == 49:
                left = (time.monotonic() - started) / (number + 1) * (mutations - number - 1)
                print(
                    f"\r{engine} {profile}: {number + 1} of {mutations}, {left:.0f} s left ",
                    end="",
                    file=sys.stderr,
                )
    return counts


def main() -> int:
    """Run each engine in a process of its own, so that a model that ends it is noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--mutations",
        type=int,
        default=3_334,
        help="mutations of each model file (3334)",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        help="a bundle with every model file (default: one of random weights)",
    )
    parser.add_argument("--engines", default="onnx,litert,numpy")
    parser.add_argument("--profiles", default=",".join(PROFILES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "PROFILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        engine, profile = arguments.one
        print(
            json.dumps(run(arguments.bundle, engine, profile, arguments.mutations, arguments.seed))
        )
        return 0
    with tempfile.TemporaryDirectory(prefix="ccnvr-hostile-") as folder:
        source = arguments.bundle
        if source is None:
            from tests.support import bundles_of_all

            source = bundles_of_all.write(Path(folder) / "all.ccnvr")
        failed = False
        for engine in arguments.engines.split(","):
            for profile in arguments.profiles.split(","):
                command = [
                    sys.executable,
                    __file__,
                    "--bundle",
                    str(source),
                    "--seed",
                    str(arguments.seed),
                ]
                command += ["--mutations", str(arguments.mutations), "--one", engine, profile]
                result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
                failed |= result.returncode != 0
                print(f"{engine} {profile}: ", end="")
                if result.returncode != 0:
                    print(f"the process ended with {result.returncode}")
                    continue
                counts = json.loads(result.stdout)
                print(
                    f"{sum(counts.values())} loaded; "
                    + ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
                )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

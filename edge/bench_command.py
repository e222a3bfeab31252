"""Time each stage from serial bytes to a committed prediction, side by side in one run, on a simulated scan.

Stages are interleaved round by round, so that a busy machine disturbs all alike; compare their ratios, and not one
machine's milliseconds with another's."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ccnvr.edge.arguments import whole_number
from ccnvr.edge.pipeline import Pipeline, References
from ccnvr.edge.predictor import Model
from ccnvr.edge.preprocess import Preprocessor, absorbance
from ccnvr.edge.store import Store
from ccnvr.firmware_bridge.codec import MAX_PAYLOAD, Decoder, Frame, encode
from ccnvr.firmware_bridge.instrument import Scan, ScanKind, Settings
from ccnvr.firmware_bridge.messages import ScanRequest, Type
from ccnvr.firmware_bridge.simulator import SimulatedSpectrometer, synthetic_soils

_SETTINGS = Settings(10_000, 16)

Stages = dict[str, Callable[[], object]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr bench`."""
    parser.add_argument("bundle", nargs="?", default="default", help="a .ccnvr file, or 'default' (the default)")
    parser.add_argument("--rounds", type=whole_number(10, 100_000), default=300, help="rounds (300)")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Time the stages and print medians and ratios."""
    with tempfile.TemporaryDirectory(prefix="ccnvr-bench-") as folder:
        store = Store(Path(folder) / "bench.sqlite", owner=True)
        try:
            medians = _medians(_stages(Model(arguments.bundle), store), arguments.rounds)
        finally:
            store.close()
    rows = {
        name: {"median_ms": round(ms, 4), "ratio_to_inference": round(ms / medians["inference"], 3)}
        for name, ms in medians.items()
    }
    if arguments.json:
        print(json.dumps(rows))
        return 0
    print(f"{'stage':<34}{'median ms':>10}{'x inference':>13}")
    for name, row in rows.items():
        print(f"{name:<34}{row['median_ms']:>10.3f}{row['ratio_to_inference']:>13.2f}")
    return 0


def _stages(model: Model, store: Store) -> Stages:
    detector = SimulatedSpectrometer(synthetic_soils(1, 1), pace=0.0)
    info = detector.info
    dark, white, sample = (_scan(detector, kind, number) for number, kind in enumerate(ScanKind))
    predictor = model.bind(info.wavelengths_nm)
    pipeline = Pipeline(predictor, info, References(dark, white, 0.99))
    prediction = pipeline(sample)
    spectrum = absorbance(synthetic_soils(1, 1)[0])
    recipe = model.bundle.manifest.recipe
    compiled = Preprocessor(recipe, info.wavelengths_nm)
    inputs = compiled(spectrum)[None]
    wire = _on_the_wire(sample)
    references = (store.add_reference(info, dark).id, store.add_reference(info, white).id)
    numbers = iter(range(10**9))
    return {
        "decode frames": lambda: Decoder().feed(wire),
        "preprocessing, compiled": lambda: compiled(spectrum),
        "preprocessing, as one dense matrix": lambda: compiled.batch(spectrum[None]),
        "inference": lambda: model.backend(inputs),
        "counts to prediction": lambda: pipeline(sample),
        "commit to the store": lambda: store.add_scan(
            info, _numbered(sample, next(numbers)), prediction, references, model.bundle.digest, 0.0
        ),
    }


def _medians(stages: Stages, rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(rounds):
        for name, stage in stages.items():
            started = time.perf_counter()
            stage()
            times[name].append(time.perf_counter() - started)
    return {name: float(np.median(values)) * 1e3 for name, values in times.items()}


def _scan(detector: SimulatedSpectrometer, kind: ScanKind, number: int) -> Scan:
    exposure = detector.expose(ScanRequest(kind, _SETTINGS.integration_us, _SETTINGS.averages), number)
    return Scan(number, kind, exposure.sums / _SETTINGS.averages, _SETTINGS, exposure.saturated, exposure.temperature_c)


def _numbered(scan: Scan, number: int) -> Scan:
    return Scan(number, scan.kind, scan.counts, scan.settings, scan.saturated, scan.temperature_c)


def _on_the_wire(scan: Scan) -> bytes:
    """The scan's data as the frames that carry them."""
    data = np.rint(scan.counts * scan.settings.averages).astype("<u4").tobytes()
    chunks = [data[start : start + MAX_PAYLOAD] for start in range(0, len(data), MAX_PAYLOAD)]
    return b"".join(encode(Frame(Type.DATA, 1, chunk, index, len(chunks))) for index, chunk in enumerate(chunks))

"""Time each stage from serial bytes to a committed prediction, on a simulated scan; then every
installed backend on every model of the bundle: latency, cold start, memory and size. All are
interleaved round by round, so that a busy machine disturbs all alike; compare their ratios, and not
one machine's milliseconds with another's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from ccnvr.edge.chemometrics.preprocess import Preprocessor, absorbance
from ccnvr.edge.commands import bench_engines as bench_backends
from ccnvr.edge.commands.arguments import add_model_choice, whole_number
from ccnvr.edge.commands.bench_link import FASTEST_WIRE_BAUD, throughput
from ccnvr.edge.daemon.store import Store
from ccnvr.edge.inference.pipeline import Pipeline, References, reflectance
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.connect.registry import open_instrument
from ccnvr.firmware_bridge.instrument import InstrumentInfo, Scan, ScanKind, Settings
from ccnvr.firmware_bridge.link.frames import Decoder, Frame, encode
from ccnvr.firmware_bridge.link.messages import Type
from ccnvr.firmware_bridge.link_constants import MAX_PAYLOAD

Stages = dict[str, Callable[[], object]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr bench`."""
    parser.add_argument(
        "bundle", nargs="?", default="default", help="a .ccnvr file, or 'default' (the default)"
    )
    add_model_choice(parser)
    parser.add_argument(
        "--rounds", type=whole_number(10, 100_000), default=300, help="rounds (300)"
    )
    parser.add_argument(
        "--link",
        action="store_true",
        help="time the link's codec instead, beside the wire at 12 Mbit/s",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Time stages and backends, or the link's codec, and print medians and ratios."""
    if arguments.link:
        return _run_link(arguments)
    model = ProvedModel(arguments.bundle, arguments.engine, arguments.profile)
    with tempfile.TemporaryDirectory(prefix="ccnvr-bench-") as folder:
        store = Store(Path(folder) / "bench.sqlite", owner=True)
        try:
            medians = _medians(_stages(model, store), arguments.rounds)
        finally:
            store.close()
    rows = {
        name: {"median_ms": round(ms, 4), "ratio_to_inference": round(ms / medians["inference"], 3)}
        for name, ms in medians.items()
    }
    inputs = np.zeros(
        (
            1,
            len(model.bundle.manifest.preprocessing.channels),
            model.bundle.manifest.preprocessing.grid.bands,
        ),
        np.float32,
    )
    backends = bench_backends.compare(arguments.bundle, model, inputs, arguments.rounds)
    if arguments.json:
        named = {
            f"{choice.engine.name} {choice.profile}": vars(figures)
            for choice, figures in backends.items()
        }
        print(json.dumps({"backend": str(model.choice), "stages": rows, "backends": named}))
        return 0
    print(
        f"{f'stage, on {model.choice.engine.name} {model.choice.profile}':<34}"
        f"{'median ms':>10}{'x inference':>13}"
    )
    for name, row in rows.items():
        print(f"{name:<34}{row['median_ms']:>10.3f}{row['ratio_to_inference']:>13.2f}")
    print(f"\n{bench_backends.table(backends)}")
    return 0


def _run_link(arguments: argparse.Namespace) -> int:
    rows = throughput(arguments.rounds)
    if arguments.json:
        print(json.dumps(rows))
        return 0
    print(f"{'stage':<30}{'MB/s':>10}{'x CRC-32 and copy':>20}{'share of wire time':>20}")
    for name, row in rows.items():
        speed, ratio, share = row.values()
        print(f"{name:<30}{speed:>10.1f}{ratio:>20.1f}{share:>20.1%}")
    print(
        f"the wire at {FASTEST_WIRE_BAUD:,} baud carries 1.2 MB/s, and a codec is no bottleneck "
        "below 100 % of its time"
    )
    return 0


def _stages(model: ProvedModel, store: Store) -> Stages:
    info, dark, white, sample = _simulated_scans()
    pipeline = Pipeline(model.bind(info.wavelengths_nm), info, References(dark, white, 0.99))
    prediction = pipeline(sample)
    spectrum = absorbance(reflectance(sample.counts, dark.counts, white.counts, 0.99))
    compiled = Preprocessor(
        model.bundle.manifest.preprocessing, info.wavelengths_nm, model.correction
    )
    inputs = compiled(spectrum)[None]
    wire = _on_the_wire(sample)
    references = (store.add_reference(info, dark).id, store.add_reference(info, white).id)
    numbers = count(sample.number)
    return {
        "decode frames": lambda: Decoder().feed(wire),
        "preprocessing, compiled": lambda: compiled(spectrum),
        "preprocessing, as for many": lambda: compiled.batch(spectrum[None]),
        "inference": lambda: model.session(inputs),
        "counts to prediction": lambda: pipeline(sample),
        "commit to the store": lambda: store.add_scan(
            info,
            replace(sample, number=next(numbers)),
            prediction,
            references,
            model.bundle.digest,
            0.0,
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


def _simulated_scans() -> tuple[InstrumentInfo, Scan, Scan, Scan]:
    """A simulated instrument, and its dark, white and first sample."""
    instrument = open_instrument("sim://?pace=0")
    try:
        info = instrument.identify()
        instrument.configure(Settings(10_000, 16))
        dark, white, sample = (instrument.scan(kind) for kind in ScanKind)
    finally:
        instrument.close()
    return info, dark, white, sample


def _on_the_wire(scan: Scan) -> bytes:
    """The scan's data as the frames that carry them."""
    data = np.rint(scan.counts * scan.settings.averages).astype("<u4").tobytes()
    chunks = [data[start : start + MAX_PAYLOAD] for start in range(0, len(data), MAX_PAYLOAD)]
    return b"".join(
        encode(Frame(Type.DATA, 1, chunk, index, len(chunks))) for index, chunk in enumerate(chunks)
    )

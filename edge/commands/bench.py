"""Time each stage from serial bytes to a committed prediction, then each installed engine.

The stages are timed on a scan of a simulated instrument that has the bands of the model. Each
engine is then timed with every model file of the bundle that it reads: latency, cold start, memory
and size. Everything takes turns, so that a busy machine slows all of it alike; compare the ratios
of one run, not the milliseconds of two machines.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from ccnvr.edge.benchmark.engines import EngineFigures, compare
from ccnvr.edge.benchmark.link import FASTEST_WIRE_BAUD, throughput
from ccnvr.edge.benchmark.stages import stage_milliseconds
from ccnvr.edge.commands.arguments import BUNDLE_HELP, add_model_choice, whole_number
from ccnvr.edge.engines.registry import Choice
from ccnvr.edge.inference.models import load_bundle
from ccnvr.firmware_bridge.simulators.handheld import pixel_wavelengths

Rows = dict[str, dict[str, float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr bench`."""
    parser.add_argument("bundle", nargs="?", default="default", help=f"{BUNDLE_HELP} (the default)")
    add_model_choice(parser)
    parser.add_argument(
        "--rounds",
        type=whole_number(10, 100_000),
        default=300,
        help="how often each one is timed; the median counts (300)",
    )
    parser.add_argument(
        "--link",
        action="store_true",
        help="time the codec of the ccnvr link instead, compared with a wire at 12 Mbit/s",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Time stages and engines, or the link's codec, and print medians and ratios."""
    lines = _link(arguments) if arguments.link else _stages_and_engines(arguments)
    for line in lines:
        print(line)
    return 0


def _stages_and_engines(arguments: argparse.Namespace) -> Iterator[str]:
    # Opened first, so that the trial of a bundle that is new here is not timed.
    named = load_bundle(arguments.bundle, arguments.engine, arguments.profile)
    model = named.for_wavelengths(pixel_wavelengths())
    medians = stage_milliseconds(model, arguments.rounds)
    stages: Rows = {
        name: {"median_ms": round(ms, 4), "ratio_to_inference": round(ms / medians["inference"], 3)}
        for name, ms in medians.items()
    }
    engines = compare(model.bundle.source, model, arguments.rounds)
    if arguments.json:
        # The keys keep the word "backend", which programs read.
        figures = {_label(choice): vars(row) for choice, row in engines.items()}
        told = {"bundle": model.bundle.source, "backend": str(model.choice)}
        yield json.dumps({**told, "stages": stages, "backends": figures})
        return
    yield f"{f'stage, on {_label(model.choice)}':<34}{'median ms':>10}{'x inference':>13}"
    for name, row in stages.items():
        yield f"{name:<34}{row['median_ms']:>10.3f}{row['ratio_to_inference']:>13.2f}"
    yield ""
    yield from _engine_table(engines)
    yield (
        f"bundle {model.bundle.source}; the stages take turns with a commit, which leaves other "
        "data in the caches, and the engines with each other alone: compare stages with stages, "
        "and engines with engines"
    )


def _engine_table(figures: dict[Choice, EngineFigures]) -> Iterator[str]:
    """Yield the lines of a table; each figure has its ratio to that of the first row."""
    reference = next(iter(figures.values()))
    columns = ("latency ms", "cold start ms", "peak MB", "model kB")
    yield f"{'engine, profile':<18}" + "".join(f"{title:>15}{'x':>7}" for title in columns)
    for choice, row in figures.items():
        cells = "".join(
            f"{value:>15.3g}{value / base:>7.2f}"
            for value, base in zip(vars(row).values(), vars(reference).values(), strict=True)
        )
        yield f"{_label(choice):<18}{cells}"
    versions = ", ".join(dict.fromkeys(choice.engine.version for choice in figures))
    yield f"{versions}; a cold start is from a new Python process to its first output"


def _link(arguments: argparse.Namespace) -> Iterator[str]:
    rows = throughput(arguments.rounds)
    if arguments.json:
        yield json.dumps(rows)
        return
    yield f"{'stage':<30}{'MB/s':>10}{'x CRC-32 and copy':>20}{'share of wire time':>20}"
    for name, row in rows.items():
        speed, ratio, share = row.values()
        yield f"{name:<30}{speed:>10.1f}{ratio:>20.1f}{share:>20.1%}"
    yield (
        f"the wire at {FASTEST_WIRE_BAUD:,} baud carries 1.2 MB/s; below 100 % of its time the "
        "codec is not the bottleneck"
    )


def _label(choice: Choice) -> str:
    return f"{choice.engine.name} {choice.profile}"

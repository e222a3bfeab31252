"""Measure everything side by side: `python -m benchmarks.run`, or `make bench`.

Prints tables and, with `--json`, writes all figures to a file. `--record` adds a line to
benchmarks/history.jsonl, so that a change of speed shows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import ours, peers, processes, workload
from benchmarks.timing import Times, take_turns
from ccnvr.edge.bundle.archive import read
from ccnvr.edge.commands.arguments import whole_number
from ccnvr.edge.engines.registry import ENGINES
from tools.arm64 import machines, parity

ROOT = Path(__file__).parents[1]
HISTORY = ROOT / "benchmarks" / "history.jsonl"
NETWORK = str(ROOT / "tests" / "data" / "nir-open-4.ccnvr")
BUNDLES = {"default:nir": "default:nir", "network": NETWORK}
"""The model that comes with the package, of kernel members, and a convolutional recurrent network
in all profiles.
"""

Figures = dict[str, Any]


def measure(arguments: argparse.Namespace) -> Figures:
    """Return all figures."""
    work = workload.make()
    found: Figures = {"machine": machine()}
    for name in arguments.bundles:
        bound = ours.bind(BUNDLES[name], work)
        found[name] = {
            "side by side": _side_by_side(bound, work, arguments),
            "engines": _engines(bound, arguments.rounds),
            "committing": _committing(bound, work, arguments.rounds),
            "backlog": _backlog(bound, arguments.backlog),
            "bundle_bytes": Path(bound.model.bundle.source).stat().st_size
            if name == "network"
            else (ROOT / "edge" / "models" / "nir.ccnvr").stat().st_size,
        }
    if arguments.starts:
        model = read(BUNDLES["default:nir"]).parts["model.fp32.onnx"]
        started = processes.starts("default:nir", model, work, arguments.starts)
        found["starts"] = {
            name: {key: figure.to_json() for key, figure in row.items()}
            for name, row in started.items()
        }
        found["start_instructions"] = processes.start_instructions("default:nir", work)
        found["installations"] = processes.installations()
    if arguments.arm64:
        found["emulated Cortex-A72"] = parity.counts(machines.PI_4)
    found["machine"]["load_after"] = os.getloadavg()[0]
    return found


def machine() -> Figures:
    """Return what a figure depends on besides the code."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "commit": commit.stdout.strip() or None,
        "date": time.strftime("%Y-%m-%d"),
        "cpu": models[0] if models else platform.machine(),
        "arch": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "engines": [one.version for one in ENGINES.values() if one.obstacle is None],
        "torch": torch.__version__,
        "load_before": os.getloadavg()[0],
    }


def _side_by_side(
    bound: ours.Bound, work: workload.Workload, arguments: argparse.Namespace
) -> Figures:
    subjects = {
        **ours.stages(bound, work),
        **peers.network_alone(bound, compiled=arguments.compile),
        **peers.from_counts(bound, work),
    }
    return _rows(take_turns(subjects, arguments.rounds), ours.INFERENCE)


def _rows(times: Times, reference: str) -> Figures:
    """Return microseconds and ratios by name."""
    base = times.first_call(reference).median
    return {
        name: {
            "us": times.median(name).scaled(1e6).to_json(),
            "us_mean": float(f"{times.mean(name) * 1e6:.4g}"),
            "us_p95": float(f"{times.percentile(name, 95) * 1e6:.4g}"),
            "ratio": times.ratio(name, reference).to_json(),
            "first_us": times.first_call(name).scaled(1e6).to_json(),
            "first_ratio": float(f"{times.first_call(name).median / base:.4g}"),
        }
        for name in times.steady
    }


def _engines(bound: ours.Bound, rounds: int) -> Figures:
    return _rows(take_turns(ours.engines(bound), rounds), "onnx fp32")


def _committing(bound: ours.Bound, work: workload.Workload, rounds: int) -> Figures:
    """Return the times of commits, each with its fsync, and the bytes of each."""
    with tempfile.TemporaryDirectory() as folder:
        committing = ours.Committing(bound, work, Path(folder))
        subjects = {
            ours.INFERENCE: ours.stages(bound, work)[ours.INFERENCE],
            "commit to the store": committing.commit,
            ours.TO_COMMITTED: committing.whole,
        }
        few = max(10, rounds // 3)
        try:
            before = _written()
            # In wall time too, since a commit mostly waits for the disk.
            wall = take_turns(subjects, few, most_calls=4, clock=time.perf_counter)
            each = (_written() - before) // committing.scans
            cpu = take_turns(subjects, few, most_calls=4)
        finally:
            committing.store.close()
    in_cpu = {f"{name}, CPU time": row for name, row in _rows(cpu, ours.INFERENCE).items()}
    return _rows(wall, ours.INFERENCE) | in_cpu | {"bytes_a_scan": each}


def _written() -> int:
    """Return the bytes that this process has had the kernel write to disks so far."""
    text = Path("/proc/self/io").read_text("ascii")
    return int(dict(line.split(": ") for line in text.splitlines())["write_bytes"])


def _backlog(bound: ours.Bound, count: int) -> Figures:
    many, one = ours.backlog(bound, count)
    # Three times suffice for the mean of so many spectra.
    alone = take_turns({"one": one}, 3, turn_s=1.0, most_calls=200)
    whole = []
    for number in range(3):
        started = time.thread_time()
        many(number)
        whole.append(time.thread_time() - started)
    each = float(np.median(whole)) / count
    return {
        "spectra": count,
        "us_each": float(f"{each * 1e6:.4g}"),
        "us_one": float(f"{alone.median('one').median * 1e6:.4g}"),
        "times_the_rate": float(f"{alone.median('one').median / each:.3g}"),
    }


def tables(found: Figures) -> Iterator[str]:
    """Yield the lines of the report."""
    state = found["machine"]
    yield (
        f"commit {state['commit']}, {state['cpu']} x{state['cpus']}, one thread, Python "
        f"{state['python']}, load {state['load_before']:.1f} to {state['load_after']:.1f}; "
        "CPU time, except for processes and commits"
    )
    for name in BUNDLES:
        if name in found:
            yield from _bundle_tables(name, found[name])
    if "starts" in found:
        yield from _start_tables(found)
    if "emulated Cortex-A72" in found:
        yield "\n| on an emulated Cortex-A72 | million instructions |\n|---|---|"
        for name, instructions in found["emulated Cortex-A72"].items():
            yield f"| {name} | {instructions / 1e6:.2f} |"


def _bundle_tables(name: str, rows: Figures) -> Iterator[str]:
    yield f"\n{name}: bundle {rows['bundle_bytes'] / 1e3:.0f} kB"
    for title in ("side by side", "engines", "committing"):
        yield (
            f"\n| {title} | us, median (90 % interval) | mean | x {_reference(title)} | "
            "us after other work | x |"
        )
        yield "|---|---|---|---|---|---|"
        for label, row in rows[title].items():
            if not isinstance(row, dict):
                continue
            (us, low, high), ratio = row["us"], row["ratio"]
            yield (
                f"| {label} | {us:.1f} ({low:.1f}-{high:.1f}) | {row['us_mean']:.1f} | "
                f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f}) | {row['first_us'][0]:.0f} | "
                f"{row['first_ratio']:.2f} |"
            )
    backlog = rows["backlog"]
    yield (
        f"\n{rows['committing']['bytes_a_scan']} bytes written a scan; a backlog of "
        f"{backlog['spectra']} spectra: {backlog['us_each']:.1f} us each, "
        f"{backlog['times_the_rate']:.1f} times the rate of one at a time"
    )


def _reference(title: str) -> str:
    return "onnx fp32" if title == "engines" else ours.INFERENCE


def _start_tables(found: Figures) -> Iterator[str]:
    base = found["starts"][processes.IMPORTS_ALONE]
    yield "\n| process to its first prediction | s | x | CPU s | x | peak MB | x |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in found["starts"].items():
        cells = " | ".join(
            f"{row[key][0]:.3g} | {row[key][0] / base[key][0]:.2f}"
            for key in ("seconds", "cpu_seconds", "peak_mb")
        )
        yield f"| {name} | {cells} |"
    counts = found.get("start_instructions", {})
    if counts:
        yield "\n| process to its first prediction | million instructions | x |\n|---|---|---|"
    for name, count in counts.items():
        yield f"| {name} | {count / 1e6:.0f} | {count / counts[processes.IMPORTS_ALONE]:.2f} |"
    yield "\n| installation | packages | MB |\n|---|---|---|"
    for name, row in found["installations"].items():
        yield f"| {name} | {row['packages']} | {row['mb']:.0f} |"


def summary(found: Figures) -> Figures:
    """Return the line of the history: the ratios that the goals are about."""
    line: Figures = {"machine": found["machine"]}
    for name in BUNDLES:
        if name not in found:
            continue
        rows, stored = found[name]["side by side"], found[name]["committing"]
        whole = rows[ours.TO_PREDICTION]["us"][0]
        line[name] = {
            "inference_us": rows[ours.INFERENCE]["us"][0],
            "counts_to_prediction": rows[ours.TO_PREDICTION]["ratio"][0],
            "frames_to_committed": stored[ours.TO_COMMITTED]["ratio"][0],
            "bytes_a_scan": stored["bytes_a_scan"],
            "backlog_rate": found[name]["backlog"]["times_the_rate"],
            "faster_than": {
                peer: float(f"{row['us'][0] / whole:.3g}")
                for peer, row in rows.items()
                if peer in peers.FROM_COUNTS + peers.NETWORK_ALONE
            },
        }
    if "starts" in found:
        base, own = (found["starts"][key] for key in (processes.IMPORTS_ALONE, "ours, onnxruntime"))
        for key in ("seconds", "peak_mb"):
            line[f"start_{key}"] = float(f"{own[key][0] / base[key][0]:.3g}")
    if "emulated Cortex-A72" in found:
        line["emulated Cortex-A72"] = found["emulated Cortex-A72"]
    return line


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=whole_number(1, 100_000), default=200, help="turns of each function (200)"
    )
    parser.add_argument(
        "--starts",
        type=whole_number(0, 1_000),
        default=9,
        help="starts of each process (9), 0: none",
    )
    parser.add_argument(
        "--backlog",
        type=whole_number(1, 1_000_000),
        default=2_000,
        help="spectra of a backlog (2,000)",
    )
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="torch.compile too, where there is a C++ compiler (yes)",
    )
    parser.add_argument("--bundles", nargs="+", choices=BUNDLES, default=list(BUNDLES))
    parser.add_argument(
        "--arm64", action="store_true", help="count instructions on an emulated Pi, see tools.arm64"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--record", action="store_true", help="add a line to the history")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(arguments)
    for line in tables(found):
        print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.record:
        with HISTORY.open("a") as history:
            history.write(json.dumps(summary(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

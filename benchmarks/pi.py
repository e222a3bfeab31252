"""Measure a real Raspberry Pi: `make bench-pi`, or `python -m benchmarks.pi`.

Writes one JSON file, to be sent in with the form "Raspberry Pi figures". It needs ccnvr and one
engine, and none of the packages that training needs. On any other computer it does the same as a
dry run, and the file says that it is no Pi.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ours, processes, workload
from benchmarks.timing import Times, take_turns
from ccnvr.edge.atomic_files import check_writable, write_atomically
from ccnvr.edge.commands.arguments import whole_number
from tools.exit_code import explained

_ROOT = Path("/")
_TOO_HOT_C = 80.0
"""Raspberry Pis slow down from here on."""


def computer(root: Path = _ROOT) -> dict[str, Any]:
    """Return what the computer says about itself; None stands for what it does not say.

    Args:
        root: the folder that holds `proc`, `sys` and `etc`.
    """
    model = _text(root / "proc/device-tree/model")
    release = dict(
        line.split("=", 1)
        for line in (_text(root / "etc/os-release") or "").splitlines()
        if "=" in line
    )
    cpus = root / "sys/devices/system/cpu/cpu0/cpufreq"
    return {
        "is_a_raspberry_pi": (model or "").startswith("Raspberry Pi"),
        "model": model,
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "memory_mb": _memory_mb(root),
        "os": release.get("PRETTY_NAME", "").strip('"') or None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "governor": _text(cpus / "scaling_governor"),
        "most_mhz": _scaled(_text(cpus / "cpuinfo_max_freq"), 1e-3),
        "disk": _disk(root),
    }


def state(root: Path = _ROOT) -> dict[str, Any]:
    """Return what changes while the computer works: clock, temperature, throttling and load."""
    return {
        "mhz": _scaled(_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"), 1e-3),
        "temperature_c": _scaled(_text(root / "sys/class/thermal/thermal_zone0/temp"), 1e-3),
        "throttled": _throttled(),
        "load": os.getloadavg()[0],
    }


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace").strip(" \n\0") or None
    except OSError:
        return None


def _scaled(text: str | None, factor: float) -> float | None:
    try:
        return None if text is None else float(text) * factor
    except ValueError:
        return None


def _memory_mb(root: Path) -> float | None:
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return round(float(line.split()[1]) / 1e3)
    return None


def _disk(root: Path) -> str | None:
    """Return the device of the root file system, such as /dev/mmcblk0p2 for an SD card."""
    for line in (_text(root / "proc/mounts") or "").splitlines():
        device, place, kind = line.split()[:3]
        if place == "/":
            return f"{device} ({kind})"
    return None


def _throttled() -> str | None:
    """Return what the firmware says: `throttled=0x0` if neither heat nor voltage slowed it down."""
    if (program := shutil.which("vcgencmd")) is None:
        return None
    result = subprocess.run([program, "get_throttled"], capture_output=True, text=True)
    return result.stdout.strip() or None


def figures(bundle: str, rounds: int, starts: int, disk: Path) -> dict[str, Any]:
    """Return the times of a bundle's stages, engines, commits and starts.

    Args:
        bundle: the bundle.
        rounds: the number of turns of each function.
        starts: the number of starts of each process.
        disk: a folder on the disk that commits are timed on.
    """
    work = workload.make()
    bound = ours.bind(bundle, work)
    _tell("timing commits to the store (1 of 4)")
    with tempfile.TemporaryDirectory(dir=disk) as folder:
        committing = ours.Committing(bound, work, Path(folder))
        subjects = {"commit to the store": committing.commit, ours.TO_COMMITTED: committing.whole}
        try:
            stored = take_turns(subjects, rounds, most_calls=4, clock=time.perf_counter)
        finally:
            committing.store.close()
    # In wall time: nothing else should run meanwhile, and heat shows.
    _tell("timing stages (2 of 4)")
    stages = take_turns(ours.stages(bound, work), rounds, clock=time.perf_counter)
    _tell("timing engines (3 of 4)")
    engines = take_turns(ours.engines(bound), rounds, clock=time.perf_counter)
    _tell("starting processes (4 of 4)")
    return {
        "engine": f"{bound.model.choice}",
        "stages_us": _medians(stages),
        "engines_us": _medians(engines),
        "committing_us": _medians(stored),
        "starts": {
            name: {key: figure.to_json() for key, figure in row.items()}
            for name, row in processes.starts(bundle, None, work, starts).items()
        },
    }


def _tell(step: str) -> None:
    """Say on stderr what is measured now, because the whole takes minutes."""
    print(step, file=sys.stderr, flush=True)


def _medians(times: Times) -> dict[str, dict[str, list[float]]]:
    return {
        name: {
            "steady": times.median(name).scaled(1e6).to_json(),
            "after_other_work": times.first_call(name).scaled(1e6).to_json(),
        }
        for name in times.steady
    }


def warnings(found: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each reason why the figures should not be compared with others."""
    if not found["computer"]["is_a_raspberry_pi"]:
        model = found["computer"]["model"] or found["computer"]["machine"]
        yield f"this computer is no Raspberry Pi ({model}); this was a dry run"
    if found["computer"]["governor"] not in (None, "performance"):
        yield (
            f"the CPU governor is {found['computer']['governor']}; for steady figures run: "
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        )
    for when in ("before", "after"):
        one = found[when]
        if one["temperature_c"] is not None and one["temperature_c"] >= _TOO_HOT_C:
            yield f"the processor had {one['temperature_c']:.0f} degrees Celsius {when} the run"
        if one["throttled"] not in (None, "throttled=0x0"):
            yield f"the firmware says {one['throttled']} {when} the run; use the maker's supply"
    if found["before"]["load"] > 0.5:
        yield f"other programs were running (load {found['before']['load']:.1f})"


def main() -> int:
    """Measure, write the file, and say what to do with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--bundle", default="default:nir", help="a .ccnvr file or default:NAME (default:nir)"
    )
    parser.add_argument(
        "--rounds", type=whole_number(1, 100_000), default=200, help="turns of each function (200)"
    )
    parser.add_argument(
        "--starts", type=whole_number(1, 1_000), default=7, help="starts of each process (7)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("bench-pi.json"),
        help="the file to write (bench-pi.json); commits are timed on the disk of its folder",
    )
    arguments = parser.parse_args()
    return explained(lambda: _write(arguments))


def _write(arguments: argparse.Namespace) -> None:
    check_writable(arguments.out)
    found = _measured(arguments)
    with write_atomically(arguments.out) as stream:
        stream.write(f"{json.dumps(found, indent=1)}\n".encode())
    for sentence in found["warnings"]:
        print(sentence, file=sys.stderr)
    for line in report(found, arguments.out):
        print(line)


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what is written into the file."""
    found: dict[str, Any] = {"schema": 1, "computer": computer(), "before": state()}
    found["commit"] = _commit()
    found["figures"] = figures(
        arguments.bundle, arguments.rounds, arguments.starts, arguments.out.parent
    )
    found["after"] = state()
    found["warnings"] = list(warnings(found))
    return found


def report(found: dict[str, Any], out: Path) -> Iterator[str]:
    """Yield the main figure, and what to do with the file."""
    of_figures = found["figures"]
    median, low, high = of_figures["stages_us"][ours.TO_PREDICTION]["steady"]
    yield (
        f"{ours.TO_PREDICTION}: {median / 1e3:.3f} ms ({low / 1e3:.3f} to {high / 1e3:.3f}), "
        f"{of_figures['engine']}"
    )
    # Figures of other computers are of no use to the form.
    if found["computer"]["is_a_raspberry_pi"]:
        yield (
            f"wrote {out}; attach it to an issue of the form 'Raspberry Pi figures'. It has no "
            "name, address or serial number in it."
        )
    else:
        yield f"wrote {out}"


def _commit() -> str | None:
    try:
        result = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=processes.ROOT,
            capture_output=True,
            text=True,
        )
    except OSError:  # a copy without git
        return None
    return result.stdout.strip() or None


if __name__ == "__main__":
    sys.exit(main())

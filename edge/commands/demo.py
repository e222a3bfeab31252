"""Predict real soils through a simulated handheld on a real pseudo-terminal: the whole way from
serial bytes to predictions, each beside the laboratory's value. The soils, of LimeSoDa's held-out
fold, are none that the default bundle was trained on; the instrument and its noise are simulated.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.atomic_files import check_absent, write_atomically
from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.commands.arguments import add_model_choice, whole_number
from ccnvr.edge.daemon import config as configuration
from ccnvr.edge.daemon import main_loop as daemon
from ccnvr.edge.engines.registry import Choice, choose
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError

WAVELENGTHS_NM = range(1100, 2499)
"""At these the soils are handed to the simulated instrument, which sees them at its own pixels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr demo`."""
    parser.add_argument(
        "--spectra",
        type=whole_number(1, 89),
        default=20,
        metavar="N",
        help="how many soils, 1 to 89 (20)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**31),
        default=1,
        help="seed of the choice of soils and the noise (1)",
    )
    parser.add_argument(
        "--bundle", default="default", metavar="FILE", help="a .ccnvr file, or 'default'"
    )
    add_model_choice(parser)
    parser.add_argument(
        "--json", action="store_true", help="a JSON object a line, the last one a summary"
    )
    parser.add_argument(
        "--save-soils",
        type=Path,
        metavar="FILE",
        help="only write the soils' reflectance to a new CSV file",
    )


@dataclass(frozen=True)
class DemoSoil:
    """A soil to show: reflectance at `WAVELENGTHS_NM`, and what the laboratory found."""

    sample_id: str
    reflectance: list[float]
    laboratory: dict[str, float]


def choose_soils(count: int, seed: int) -> list[DemoSoil]:
    """`count` soils of the held-out fold, drawn from all sets.

    Raises:
        UsageError: there are fewer, or LimeSoDa is not installed.
    """
    soils = [soil for name in limesoda.VISNIR_SETS for soil in _held_out(limesoda.load(name))]
    if count > len(soils):
        raise UsageError(
            f"--spectra {count} is more than the {len(soils)} held-out soils; ask for fewer"
        )
    order = np.random.default_rng(seed).permutation(len(soils))[:count]
    return [soils[index] for index in order]


def _held_out(soils: limesoda.LimeSoDaSet) -> Iterator[DemoSoil]:
    for row in np.flatnonzero(soils.folds == limesoda.HELD_OUT_FOLD):
        reflectance = np.interp(WAVELENGTHS_NM, soils.wavelengths_nm, soils.reflectance[row])
        laboratory = {
            name: round(float(values[row]), 4) for name, values in soils.properties.items()
        }
        yield DemoSoil(soils.sample_ids[row], reflectance.round(6).tolist(), laboratory)


def run(arguments: argparse.Namespace) -> int:
    """Start the simulator and the runtime, stream, summarise."""
    if arguments.save_soils is not None:
        check_absent(arguments.save_soils, "--save-soils")
    soils = choose_soils(arguments.spectra, arguments.seed)
    if arguments.save_soils is not None:
        with write_atomically(arguments.save_soils) as stream:
            stream.write(_soils_csv(soils).encode())
        return 0
    bundle = bundles.read(arguments.bundle)
    targets, choice = bundle.manifest.targets, choose(arguments.engine, arguments.profile, bundle)
    show = _JsonReport(soils, targets) if arguments.json else _TextReport(soils, targets)
    with tempfile.TemporaryDirectory(prefix="ccnvr-demo-") as folder:
        table = Path(folder) / "soils.csv"
        table.write_text(_soils_csv(soils))
        with _simulator(table, arguments.seed) as url:
            settings = configuration.load(
                None,
                {
                    "instrument": {"url": url},
                    "model": {
                        "bundle": arguments.bundle,
                        "engine": arguments.engine,
                        "profile": arguments.profile,
                    },
                    "store": {"path": f"{folder}/demo.sqlite"},
                },
            )
            show.begin(url, choice)
            result = daemon.run(settings, len(soils), show.record, say=show.notice)
    show.end(result)
    return 0 if result.predicted == len(soils) else 1


def _soils_csv(soils: list[DemoSoil]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample_id", *WAVELENGTHS_NM])
    writer.writerows([soil.sample_id, *soil.reflectance] for soil in soils)
    return text.getvalue()


@contextmanager
def _simulator(table: Path, seed: int) -> Iterator[str]:
    """`ccnvr simulate` as a process of its own; gives the URL of its serial port."""
    program = [sys.executable, "-m", "ccnvr.edge.cli", "simulate"]
    # A fixed boot counter, so that two demos print the same scan ids; each has a store of its own.
    command = [*program, "--spectra", str(table), "--seed", str(seed), "--boot", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise CcnvrError(f"the simulator did not start: {process.stderr.read().strip()}")
        yield url
    finally:
        process.terminate()
        process.communicate()


class _Report:
    """Puts the laboratory's values beside the predictions and adds up the errors."""

    def __init__(self, soils: list[DemoSoil], targets: tuple[Target, ...]) -> None:
        self._soils = soils
        self._targets = targets
        self._seen: list[dict[str, Any]] = []

    @property
    def _names(self) -> list[str]:
        return [target.name for target in self._targets]

    def begin(self, url: str, choice: Choice) -> None:
        """Before the first record."""

    def notice(self, message: str) -> None:
        """What the daemon tells the person."""

    def record(self, record: dict[str, Any]) -> None:
        """One prediction; records come in the order of the soils."""
        soil = self._soils[len(self._seen)]
        reference = {name: soil.laboratory[name] for name in self._names if name in soil.laboratory}
        self._seen.append({**record, "reference": reference})
        self.show(soil, self._seen[-1])

    def show(self, soil: DemoSoil, record: dict[str, Any]) -> None:
        """Print one prediction."""
        raise NotImplementedError

    def summary(self, result: daemon.RunSummary) -> dict[str, Any]:
        """What the run came to."""
        latencies = [record["latency_ms"] for record in self._seen]
        return {
            "spectra": result.predicted,
            "errors": {name: self._errors(name) for name in self._names},
            "latency_ms": {"p50": _percentile(latencies, 50), "p99": _percentile(latencies, 99)},
            "frames_lost": result.statistics.frames_lost,
            "retries": result.statistics.retries,
            "bytes_read": result.statistics.bytes_read,
        }

    def _errors(self, name: str) -> dict[str, float | None]:
        pairs = [
            (record["reference"][name], record["predictions"][name]["value"])
            for record in self._seen
            if name in record["reference"] and name in record["predictions"]
        ]
        measured, predicted = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        return accuracy(measured, predicted).as_dict()


class _JsonReport(_Report):
    def show(self, soil: DemoSoil, record: dict[str, Any]) -> None:
        print(json.dumps(record), flush=True)

    def end(self, result: daemon.RunSummary) -> None:
        """After the last record."""
        print(json.dumps({"summary": self.summary(result)}), flush=True)


class _TextReport(_Report):
    def begin(self, url: str, choice: Choice) -> None:
        print(f"simulated NIR-512 handheld on {url}; real soils of the held-out fold of LimeSoDa")
        print(f"engine {choice}; predicted [90 % interval] | laboratory\n")
        titles = (
            f"{target.name} {target.unit}" if target.unit != target.name else target.name
            for target in self._targets
        )
        print(f"{'soil':<13}" + "".join(f"{title:<29}" for title in titles) + "latency")

    def show(self, soil: DemoSoil, record: dict[str, Any]) -> None:
        cells = "".join(f"{_cell(record, name):<29}" for name in self._names)
        notes = " ".join(record["flags"])
        print(
            f"{soil.sample_id:<13}{cells}{record['latency_ms']:.1f} ms {notes}".rstrip(), flush=True
        )

    def end(self, result: daemon.RunSummary) -> None:
        """After the last record."""
        summary = self.summary(result)
        print(
            f"\n{summary['spectra']} spectra, {summary['frames_lost']} frames lost, "
            f"{summary['bytes_read']} bytes read;",
            end=" ",
        )
        print(
            f"latency p50 {summary['latency_ms']['p50']} ms, p99 {summary['latency_ms']['p99']} ms"
        )
        for name, figures in summary["errors"].items():
            if figures["n"]:
                errors = (
                    f"RMSE {figures['rmse']:.3g}, MAE {figures['mae']:.3g}, bias "
                    f"{figures['bias']:+.3g}"
                )
                print(f"{name}: {errors} (n = {figures['n']})")
            else:
                print(f"{name}: these soils have no laboratory value")


def _cell(record: dict[str, Any], name: str) -> str:
    estimate = record["predictions"].get(name)
    if estimate is None:
        return "-"
    interval = (
        "" if estimate["low"] is None else f" [{estimate['low']:.3g}, {estimate['high']:.3g}]"
    )
    laboratory = record["reference"].get(name)
    return (
        f"{estimate['value']:.3g}{interval} | {'-' if laboratory is None else f'{laboratory:.3g}'}"
    )


def _percentile(values: list[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 3) if values else None

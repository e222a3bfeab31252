"""Reports of the demo: each prediction beside the laboratory's value, then a summary of errors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ccnvr.edge.chemometrics.metrics import accuracy
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.edge.daemon.setup import RunSummary
from ccnvr.edge.demo.soils import DemoSoil
from ccnvr.edge.engines.registry import Choice


class DemoReport:
    """A report that pairs records with their soils and collects them for the summary.

    Args:
        soils: the soils, in the order in which the instrument sees them.
        targets: the bundle's properties.
    """

    def __init__(self, soils: list[DemoSoil], targets: tuple[Target, ...]) -> None:
        self._soils = soils
        self._targets = targets
        self._seen: list[dict[str, Any]] = []

    @property
    def _names(self) -> list[str]:
        return [target.name for target in self._targets]

    def begin(self, url: str, choice: Choice) -> None:
        """Print what comes before the first record."""

    def record(self, record: dict[str, Any]) -> None:
        """Take one record of the daemon and print it."""
        # By position: the instrument sees the soils in this order, and each scan gives one record.
        soil = self._soils[len(self._seen)]
        reference = {name: soil.laboratory[name] for name in self._names if name in soil.laboratory}
        self._seen.append({**record, "reference": reference})
        self.show(soil, self._seen[-1])

    def show(self, soil: DemoSoil, record: dict[str, Any]) -> None:
        """Print one record, which has the laboratory's values under `reference`."""
        raise NotImplementedError

    def end(self, result: RunSummary) -> None:
        """Print the summary."""
        raise NotImplementedError

    def summary(self, result: RunSummary) -> dict[str, Any]:
        """Return errors by property, latencies in ms, and the statistics of the link."""
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
            # Not every soil was measured for every property, and a scan may be flagged without a
            # value.
            if name in record["reference"] and name in record["predictions"]
        ]
        measured, predicted = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        return accuracy(measured, predicted).as_dict()


class JsonReport(DemoReport):
    """A report of one JSON object a line, with the summary last."""

    def show(self, soil: DemoSoil, record: dict[str, Any]) -> None:
        """Print one record."""
        print(json.dumps(record), flush=True)

    def end(self, result: RunSummary) -> None:
        """Print the summary."""
        print(json.dumps({"summary": self.summary(result)}), flush=True)


class TextReport(DemoReport):
    """A report as a table for people."""

    def begin(self, url: str, choice: Choice) -> None:
        """Print the setting and the table's header."""
        print(f"simulated NIR-512 handheld on {url}; real soils of the held-out fold of LimeSoDa")
        print(f"engine {choice}; predicted [90 % interval] | laboratory\n")
        titles = (
            f"{target.name} {target.unit}" if target.unit != target.name else target.name
            for target in self._targets
        )
        print(f"{'soil':<13}" + "".join(f"{title:<29}" for title in titles) + "latency")

    def show(self, soil: DemoSoil, record: dict[str, Any]) -> None:
        """Print one row."""
        cells = "".join(f"{_cell(record, name):<29}" for name in self._names)
        notes = " ".join(record["flags"])
        print(
            f"{soil.sample_id:<13}{cells}{record['latency_ms']:.1f} ms {notes}".rstrip(), flush=True
        )

    def end(self, result: RunSummary) -> None:
        """Print the summary."""
        summary = self.summary(result)
        latency = summary["latency_ms"]
        print(
            f"\n{_counted(summary['spectra'], 'spectrum', 'spectra')}, "
            f"{_counted(summary['frames_lost'], 'frame', 'frames')} lost, "
            f"{summary['bytes_read']} bytes read; "
            f"latency p50 {latency['p50'] or 0.0:.1f} ms, p99 {latency['p99'] or 0.0:.1f} ms"
        )
        for name, figures in summary["errors"].items():
            if figures["n"]:
                print(
                    f"{name}: RMSE {figures['rmse']:.3g}, MAE {figures['mae']:.3g}, "
                    f"bias {figures['bias']:+.3g} (n = {figures['n']})"
                )
            else:
                print(f"{name}: these soils have no laboratory value")


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _cell(record: dict[str, Any], name: str) -> str:
    """Return `value [low, high] | laboratory` of one property."""
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

"""Every engine that is here on every artefact of a bundle that it reads: latency, cold start,
memory and size, side by side.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ccnvr.edge.engines.isolated import IsolatedSession
from ccnvr.edge.engines.registry import ENGINES, Choice
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.network.layout import PROFILES
from ccnvr.firmware_bridge.arrays import Float32

COLD_STARTS = 5


@dataclass(frozen=True)
class Figures:
    """Of one engine on one artefact: medians, and the peak of a fresh process that loaded it and
    predicted once.

    `cold_start_ms` is from starting that process, Python and all, to its first answer.
    """

    latency_ms: float
    cold_start_ms: float
    peak_memory_mb: float
    model_kb: float


def compare(
    bundle_path: str, first: ProvedModel, inputs: Float32, rounds: int
) -> dict[Choice, Figures]:
    """Figures of each pair, that of `first` before all; each round runs all, so that a busy machine
    disturbs all alike.
    """
    choices = [
        Choice(engine, profile)
        for engine in ENGINES.values()
        for profile in PROFILES
        if engine.obstacle is None
    ]
    there = [choice for choice in choices if choice.model_file in first.bundle.parts]
    there.sort(key=lambda choice: choice != first.choice)
    models = {
        choice: ProvedModel(bundle_path, choice.engine.name, choice.profile) for choice in there
    }
    latency: dict[Choice, list[float]] = {choice: [] for choice in models}
    for _ in range(rounds):
        for choice, model in models.items():
            started = time.perf_counter()
            model.session(inputs)
            latency[choice].append(time.perf_counter() - started)
    cold: dict[Choice, list[tuple[float, float]]] = {choice: [] for choice in models}
    for _ in range(COLD_STARTS):
        for choice in models:
            cold[choice].append(_cold_start(choice, first.bundle.parts[choice.model_file], inputs))
    return {
        choice: Figures(
            latency_ms=float(np.median(latency[choice])) * 1e3,
            cold_start_ms=float(np.median([seconds for seconds, _ in cold[choice]])) * 1e3,
            peak_memory_mb=float(np.median([peak for _, peak in cold[choice]])),
            model_kb=len(first.bundle.parts[choice.model_file]) / 1e3,
        )
        for choice in models
    }


def _cold_start(choice: Choice, part: bytes, inputs: Float32) -> tuple[float, float]:
    """Seconds to the first answer of a new process, and its peak of resident memory in MB."""
    started = time.perf_counter()
    with IsolatedSession(choice.engine.name, part) as backend:
        backend(inputs)
        return time.perf_counter() - started, backend.peak_memory / 1e6


def table(figures: dict[Choice, Figures]) -> str:
    """As lines; each figure with its ratio to the first row's."""
    reference = next(iter(figures.values()))
    columns = ("latency ms", "cold start ms", "peak MB", "model kB")
    lines = [f"{'backend, profile':<18}" + "".join(f"{title:>15}{'x':>7}" for title in columns)]
    for choice, row in figures.items():
        cells = "".join(
            f"{value:>15.3g}{value / base:>7.2f}"
            for value, base in zip(vars(row).values(), vars(reference).values(), strict=True)
        )
        lines.append(f"{choice.engine.name + ' ' + choice.profile:<18}{cells}")
    versions = ", ".join(dict.fromkeys(choice.engine.version for choice in figures))
    return "\n".join(
        [*lines, f"{versions}; a cold start is a new Python process to its first answer"]
    )

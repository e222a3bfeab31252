"""Latency, cold start, memory and size of each installed engine with each model file it reads."""

from __future__ import annotations

import time
from functools import partial

import numpy as np

from ccnvr.edge.benchmark.interleaved import median_seconds
from ccnvr.edge.engines.isolated import IsolatedSession
from ccnvr.edge.engines.registry import ENGINES, Choice
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.network.layout import PROFILES
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.firmware_bridge.frozen import frozen

# Each takes a second or more, so a few must do; the median discards one that was disturbed.
COLD_STARTS = 5


@frozen
class EngineFigures:
    """The medians of one engine with one model file.

    Attributes:
        latency_ms: the time of one inference in this process.
        cold_start_ms: the time from starting a new Python process to its first output.
        peak_memory_mb: the largest resident memory of that process, in MB.
        model_kb: the size of the model file, in kB.
    """

    latency_ms: float
    cold_start_ms: float
    peak_memory_mb: float
    model_kb: float


def compare(bundle_path: str, first: ProvedModel, rounds: int) -> dict[Choice, EngineFigures]:
    """Measure each pair of engine and model file on an input of zeros, `first` before the others.

    Args:
        bundle_path: the bundle.
        first: the model whose engine and profile come first in the result.
        rounds: inferences of each pair.
    """
    preprocessing, parts = first.bundle.manifest.preprocessing, first.bundle.parts
    inputs = np.zeros((1, len(preprocessing.channels), preprocessing.grid.bands), np.float32)
    choices = [
        choice
        for engine in ENGINES.values()
        if engine.obstacle is None
        for choice in (Choice(engine, profile) for profile in PROFILES)
        if choice.model_file in parts
    ]
    # The sort is stable, so that only `first` moves.
    choices.sort(key=lambda choice: choice != first.choice)
    # All are opened before any is timed, so that none loads during another's turn.
    sessions = {
        choice: ProvedModel(bundle_path, choice.engine.name, choice.profile).session
        for choice in choices
    }
    latencies = median_seconds(
        {choice: partial(session, inputs) for choice, session in sessions.items()}, rounds
    )
    cold: dict[Choice, list[tuple[float, float]]] = {choice: [] for choice in choices}
    for _ in range(COLD_STARTS):
        for choice in choices:
            cold[choice].append(_cold_start(choice, parts[choice.model_file], inputs))
    return {
        choice: EngineFigures(
            latency_ms=latencies[choice] * 1e3,
            cold_start_ms=float(np.median([seconds for seconds, _ in cold[choice]])) * 1e3,
            peak_memory_mb=float(np.median([peak for _, peak in cold[choice]])),
            model_kb=len(parts[choice.model_file]) / 1e3,
        )
        for choice in choices
    }


def _cold_start(choice: Choice, content: bytes, inputs: Float32) -> tuple[float, float]:
    """Return the time in s to a new process's first output, and its peak memory in MB."""
    started = time.perf_counter()
    with IsolatedSession(choice.engine.name, content) as session:
        session(inputs)
        return time.perf_counter() - started, session.peak_memory / 1e6

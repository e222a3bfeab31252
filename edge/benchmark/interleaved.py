"""Median times of several functions that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np

K = TypeVar("K", bound=Hashable)


def median_seconds(
    functions: Mapping[K, Callable[[], object]], rounds: int, calls: int = 1
) -> dict[K, float]:
    """Return the median time of one call of each function, in s.

    Args:
        functions: the functions to time, by name.
        rounds: how many times each one gets its turn.
        calls: calls in one turn, for functions that are too fast to time alone.
    """
    times: dict[K, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            started = time.perf_counter()
            for _ in range(calls):
                function()
            times[name].append((time.perf_counter() - started) / calls)
    # Not the mean: an interruption by other work only ever makes a time longer.
    return {name: float(np.median(taken)) for name, taken in times.items()}

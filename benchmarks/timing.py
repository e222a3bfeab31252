"""Times of several functions that take turns, with intervals for their medians and ratios.

A busy computer slows all of them alike while they take turns, so ratios from one run can be
compared although milliseconds of two computers cannot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ccnvr.firmware_bridge.arrays import Array

Subject = Callable[[int], object]
"""What is timed: it gets the number of the call, to take another spectrum each time."""

_CALLS_OF_A_FAST_ONE = 40
"""A function of which more calls fit into a turn is faster than the clock can be read often for."""

_RESAMPLES = 400
_LEVEL = (5.0, 95.0)


@dataclass(frozen=True)
class Figure:
    """A median with its 90 % bootstrap interval."""

    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> Figure:
        """Return the figure in another unit."""
        return Figure(self.median * factor, self.low * factor, self.high * factor)

    def to_json(self) -> list[float]:
        """Return median, low and high with four significant digits."""
        return [float(f"{value:.4g}") for value in (self.median, self.low, self.high)]


@dataclass(frozen=True)
class Times:
    """The times of functions that took turns, in s.

    Attributes:
        steady: the times of the calls in a turn, without the turn's first, `(rounds, calls)` by
            name; of a fast function one column with their mean.
        first: the time of a turn's first call, when other work has filled the caches.
    """

    steady: dict[str, Array]
    first: dict[str, Array]

    def median(self, name: str) -> Figure:
        """Return the median time of one call, in s."""
        return _figure(_medians(self.steady[name]), float(np.median(self.steady[name])))

    def mean(self, name: str) -> float:
        """Return the mean time of one call, in s, which slow spectra raise."""
        return float(np.mean(self.steady[name]))

    def percentile(self, name: str, percent: float) -> float:
        """Return a percentile of the time of one call, in s."""
        return float(np.percentile(self.steady[name], percent))

    def first_call(self, name: str) -> Figure:
        """Return the median time of a turn's first call, in s."""
        return _figure(_medians(self.first[name]), float(np.median(self.first[name])))

    def ratio(self, name: str, reference: str) -> Figure:
        """Return the ratio of two medians; rounds are drawn as pairs, as they were measured."""
        one, other = self.steady[name], self.steady[reference]
        ratios = _medians(one) / _medians(other)
        return _figure(ratios, float(np.median(one) / np.median(other)))


def take_turns(
    subjects: Mapping[str, Subject],
    rounds: int,
    *,
    turn_s: float = 0.008,
    most_calls: int = 64,
    clock: Callable[[], float] = time.thread_time,
) -> Times:
    """Time functions in turns.

    Args:
        subjects: the functions, by name.
        rounds: the number of turns of each.
        turn_s: about how long a turn takes, so that slow functions take few calls in it.
        most_calls: the largest number of calls in a turn.
        clock: the clock, by default the CPU time of this thread: on a computer that others use,
            wall time would show how often the thread had to wait.
    """
    calls = {name: _calls(subject, turn_s, most_calls) for name, subject in subjects.items()}
    steady: dict[str, list[list[float]]] = {name: [] for name in subjects}
    first: dict[str, list[float]] = {name: [] for name in subjects}
    # A turn begins one spectrum after the last turn's, so that no function sees some more often.
    for number in range(rounds):
        for name, subject in subjects.items():
            started = clock()
            subject(number)
            first[name].append(clock() - started)
            steady[name].append(_turn(subject, number + 1, calls[name], clock))
    return Times(_as_arrays(steady), _as_arrays(first))


def _calls(subject: Subject, turn_s: float, most: int) -> int:
    """Return how many calls fill a turn; two calls before warm up what is loaded lazily."""
    subject(0)
    subject(1)
    started = time.perf_counter()
    subject(2)
    taken = time.perf_counter() - started
    return int(np.clip(turn_s / max(taken, 1e-9), 1, most))


def _turn(subject: Subject, number: int, calls: int, clock: Callable[[], float]) -> list[float]:
    """Return the time of each call of a turn; of a fast function their mean, in one number."""
    stamps = [clock()]
    if calls > _CALLS_OF_A_FAST_ONE:
        for call in range(calls):
            subject(number + call)
        return [(clock() - stamps[0]) / calls]
    for call in range(calls):
        subject(number + call)
        stamps.append(clock())
    return [after - before for before, after in pairwise(stamps)]


def _as_arrays(times: Mapping[str, Sequence[object]]) -> dict[str, Array]:
    return {name: np.array(taken) for name, taken in times.items()}


def _resampled(rounds: int) -> np.ndarray:
    # Always the same draws, so that a report of equal times is equal.
    return np.random.default_rng(1).integers(0, rounds, (_RESAMPLES, rounds))


def _medians(values: Array) -> Array:
    """Return the medians of resampled rounds; a round's calls stay together."""
    drawn = values[_resampled(len(values))]
    medians: Array = np.median(drawn.reshape(len(drawn), -1), axis=1)
    return medians


def _figure(resampled: Array, median: float) -> Figure:
    low, high = np.percentile(resampled, _LEVEL)
    return Figure(median, float(low), float(high))

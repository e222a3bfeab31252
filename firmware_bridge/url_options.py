"""Numeric options in the URL of an instrument."""

from __future__ import annotations

import math

from ccnvr.firmware_bridge.errors import UsageError


def number(options: dict[str, str], name: str, default: float, low: float, high: float) -> float:
    """Return the option `name` as a number, or `default` if it is not given.

    Raises:
        UsageError: it is not a number from `low` to `high`.
    """
    given = options.get(name, str(default))
    try:
        value = float(given)
    except ValueError:
        value = float("nan")
    # Written so that a NaN fails the comparison.
    if not low <= value <= high:
        raise UsageError(
            f"{name}={given} is not a number from {low:g} to {high:g}; correct the URL"
        )
    return value


def numbers(options: dict[str, str], name: str) -> list[float] | None:
    """Return the option `name`, finite numbers separated by commas; None if it is not given.

    Raises:
        UsageError: it is not such a list.
    """
    if name not in options:
        return None
    try:
        values = [float(value) for value in options[name].split(",")]
    except ValueError:
        values = []
    if not values or not all(math.isfinite(value) for value in values):
        raise UsageError(
            f"{name}={options[name]} is not a list of numbers, as in {name}=340.1,2.7,-0.001; "
            "correct the URL"
        )
    return values

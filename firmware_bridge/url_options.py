"""Numbers among the options of an instrument's URL."""

from __future__ import annotations

import math

from ccnvr.firmware_bridge.errors import UsageError


def number(options: dict[str, str], name: str, default: float, low: float, high: float) -> float:
    """A number among a URL's options.

    Raises:
        UsageError: it is none, or not from `low` to `high`.
    """
    given = options.get(name, str(default))
    try:
        value = float(given)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise UsageError(
            f"{name}={given} is not a number from {low:g} to {high:g}; correct the URL"
        )
    return value


def numbers(options: dict[str, str], name: str) -> list[float] | None:
    """Finite numbers among a URL's options, written with commas between them; None if they are not
    given.

    Raises:
        UsageError: they are none.
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

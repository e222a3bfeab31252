"""Numbers rounded to what they mean: a value to the digits that its interval leaves uncertain."""

from __future__ import annotations

import math

_MOST_DECIMALS = 6


def decimals_of(half_width: float) -> int:
    """Return the decimals to which a half width is written; negative for tens, hundreds, ...

    One digit is kept, or two where the first digits are below 3.55 or above 9.49, so that rounding
    changes the half width by at most some 10 % (the rule of the Particle Data Group).
    """
    if not (math.isfinite(half_width) and half_width > 0.0):
        return _MOST_DECIMALS
    exponent = math.floor(math.log10(half_width))
    leading = half_width / 10.0**exponent
    digits = 2 if leading < 3.55 else 1
    # 9.5 and above become 10, which has two digits at the same decimal.
    return min(digits - 1 - exponent, _MOST_DECIMALS)


def written(value: float, decimals: int) -> str:
    """Return a value rounded to decimals, which may be negative."""
    rounded = round(value, decimals)
    # No "-0": a small negative number rounds to it.
    return f"{rounded + 0.0:.{max(decimals, 0)}f}"


def with_uncertainty(value: float, half_width: float | None) -> tuple[str, str]:
    """Return a value and half the width of its interval, rounded alike; "" without an interval."""
    # Without an interval nothing says how many digits count; three are usual in laboratories.
    if half_width is None:
        return f"{value:.3g}", ""
    decimals = decimals_of(half_width)
    return written(value, decimals), written(half_width, decimals)

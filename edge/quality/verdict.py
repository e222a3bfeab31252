"""The verdict on a sample: its numbers will do, it goes to the laboratory, or it is scanned again.

In: the estimates and flags of a prediction, and the tolerance that the user states for each
property, half the width of the interval that one can live with. Out: a `Verdict` with the reason
in words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import field

from ccnvr.edge.chemometrics.targets import NEW, Estimate
from ccnvr.edge.quality.checks import LABORATORY, OK, RESCAN, Check, check_of, property_of
from ccnvr.edge.quality.rounding import decimals_of, written
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen

Tolerances = Mapping[str, float]
"""Half the width of the interval that is accepted, by property and in its unit."""

_REASONS = {
    "out_of_domain:": "the spectrum is unlike every soil that the model knows; dry, flatten and "
    "scan again, and send the sample in if that does not help",
    "OC:outside_training_range": "the value lies outside those of the soils that the model knows",
    "rescan:no_reference": "no references belong to the scan; take new ones and scan again",
}
"""Reasons in place of the prompt, which is about something else or missing."""


@frozen
class PropertyVerdict:
    """The verdict on one property: `ok`, `laboratory` or `rescan`, and the reason in words."""

    verdict: str
    reason: str


@frozen
class Verdict:
    """The verdict on a sample, with those on the properties for which a tolerance was stated.

    `sample` is `rescan` if any property's is, else `laboratory` if any property's is, else `ok`.
    """

    sample: str
    reason: str
    properties: dict[str, PropertyVerdict] = field(default_factory=dict)


def check_tolerances(tolerances: Tolerances, known: Iterable[str], source: str) -> None:
    """Check that a model predicts every property for which a tolerance is stated.

    Raises:
        UsageError: it does not; `source` names the model.
    """
    names = list(known)
    for name in tolerances:
        if name not in names:
            raise UsageError(
                f"a tolerance is stated for {name}, but {source} predicts {', '.join(names)}; "
                "correct the name"
            )


def larger_half(estimate: Estimate) -> float | None:
    """Return the larger half of an interval in the property's unit, or None if there is none.

    The halves differ where the property is learnt on a logarithmic scale, or where an interval is
    cut at 0.
    """
    if estimate.low is None or estimate.high is None:
        return None
    halves = (estimate.high - estimate.value, estimate.value - estimate.low)
    # `max` would drop NaN, depending on the order.
    return max(halves) if all(map(math.isfinite, halves)) else math.inf


def judge(
    estimates: Mapping[str, Estimate], flags: Iterable[str], tolerances: Tolerances
) -> Verdict | None:
    """Return the verdict on a sample, or None if no tolerance is stated."""
    if not tolerances:
        return None
    # It may be an iterator, and each property reads it.
    flags = tuple(flags)
    properties = {
        name: _of_property(name, estimates.get(name), flags, tolerance)
        for name, tolerance in tolerances.items()
    }
    for verdict in (RESCAN, LABORATORY, OK):
        decisive = {name: one for name, one in properties.items() if one.verdict == verdict}
        if decisive:
            break
    reasons = dict.fromkeys(one.reason for one in decisive.values())
    if len(reasons) == 1 and len(properties) > 1 and len(decisive) == len(properties):
        # What holds for the whole scan is said once.
        return Verdict(verdict, next(iter(reasons)), properties)
    said = (f"{name}: {one.reason}" for name, one in decisive.items())
    return Verdict(verdict, "; ".join(said), properties)


def _of_property(
    name: str, estimate: Estimate | None, flags: tuple[str, ...], tolerance: float
) -> PropertyVerdict:
    """Return the verdict on one property."""
    about = [flag for flag in flags if property_of(flag) in (None, name)]
    found = [check for check in map(check_of, about) if check is not None]
    # A scan that is bad is repeated before anything is sent to the laboratory.
    for verdict in (RESCAN, LABORATORY):
        for check in found:
            if check.verdict == verdict:
                return PropertyVerdict(verdict, _reason(check))
    if estimate is None:
        # A bundle of the default family may lack what another one predicts.
        return PropertyVerdict(LABORATORY, "the model for this instrument does not predict it")
    half = larger_half(estimate)
    if half is None:
        return PropertyVerdict(
            LABORATORY, "the bundle states no interval, so nothing is known of the error"
        )
    if half == math.inf:
        return PropertyVerdict(LABORATORY, "the interval has no end")
    if half <= tolerance:
        return PropertyVerdict(OK, f"{_plus_minus(half, estimate)} is accepted ({tolerance:g})")
    wide = f"{_plus_minus(half, estimate)} is more than the accepted {tolerance:g}"
    if f"{name}:noisy" in flags:
        return PropertyVerdict(
            RESCAN, f"{wide}, mostly by noise; average more scans, or use more light"
        )
    place = ", as the soil may come from a place that the model does not know"
    return PropertyVerdict(LABORATORY, wide + (place if estimate.places == NEW else ""))


def _reason(check: Check) -> str:
    return _REASONS.get(check.flag) or check.prompt


def _plus_minus(half: float, estimate: Estimate) -> str:
    # Rounded up, so that no half width that is refused reads as the accepted one.
    step = 10.0 ** -decimals_of(half)
    up = math.ceil(half / step - 1e-9) * step
    unit = "" if estimate.unit == "pH" else f" {estimate.unit}"
    return f"+-{written(up, decimals_of(half))}{unit}"

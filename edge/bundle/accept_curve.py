"""How many soils each tolerance sends to the laboratory: the half widths of a bundle's intervals.

In: a manifest. Out: quantiles of the half widths over soils, by property. A bundle's card states
those of the soils that its intervals were calibrated on, each predicted by models that had not
seen it. For a bundle made before cards had them, they are estimated from the calibration alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np

from ccnvr.edge.bundle.manifest import Manifest
from ccnvr.edge.chemometrics.targets import Target
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.frozen import frozen

HALF_WIDTHS = "half_widths"
"""The key of a card's training that states the quantiles."""

SHARES = tuple(number / 20 for number in range(21))
"""The shares of soils that quantiles are stated for, from the narrowest interval to the widest."""

_PRINTED = (0.9, 0.75, 0.5, 0.25, 0.1, 0.0)

_DISTANCES = tuple(np.geomspace(0.02, 1.0, 41).tolist())
"""Where a typical soil may lie in the domain, whose limit is 1."""

# Odd, so that the median is among the quantiles of the normal distribution that are taken.
_STEPS = 201


@frozen
class HalfWidths:
    """The quantiles of a property's half widths, in its unit, at `SHARES`.

    `new` is that for soils of places that the model may not know; None if the bundle has no such
    interval. `estimated` says that no soils stand behind the numbers, only the calibration.
    """

    name: str
    unit: str
    known: tuple[float, ...]
    new: tuple[float, ...] | None
    estimated: bool

    def to_laboratory(self, tolerance: float, new: bool = False) -> float:
        """Return the share of soils whose interval is wider than a tolerance."""
        quantiles = self.new if new and self.new is not None else self.known
        # A tolerance below the narrowest interval sends in every soil, and one above the widest
        # none.
        return 1.0 - float(np.interp(tolerance, quantiles, SHARES, left=0.0, right=1.0))

    def tolerance_for(self, share: float, new: bool = False) -> float:
        """Return the tolerance that sends a share of the soils to the laboratory."""
        quantiles = self.new if new and self.new is not None else self.known
        return float(np.interp(1.0 - share, SHARES, quantiles))


def half_widths_of(manifest: Manifest) -> list[HalfWidths]:
    """Return the half widths of each property that has an interval."""
    stated = manifest.card.training.get(HALF_WIDTHS)
    table = stated if isinstance(stated, dict) else {}
    found = []
    for target in manifest.targets:
        if target.half_width_90 is None:
            continue
        of_target = table.get(target.name)
        entry = of_target if isinstance(of_target, dict) else {}
        known, new = _quantiles(entry.get("known")), _quantiles(entry.get("new"))
        if known is not None:
            found.append(HalfWidths(target.name, target.unit, known, new, estimated=False))
        else:
            found.append(_estimated(target, manifest))
    return found


def accept_table(manifest: Manifest) -> Iterator[str]:
    """Yield the lines of a table: the tolerance at which a share of the soils is sent in."""
    curves = half_widths_of(manifest)
    if not curves:
        return
    source = (
        "estimated from the calibration"
        if any(curve.estimated for curve in curves)
        else "of the soils that the intervals were calibrated on"
    )
    yield (f"accepted half width (--accept) at which so many soils go to the laboratory, {source}")
    heads = (f"{share:.0%}" if share else "none" for share in _PRINTED)
    yield f"{'':<28}" + "".join(f"{head:>9}" for head in heads)
    for curve in curves:
        kinds = [("", False)] if curve.new is None else [("", False), (", new places", True)]
        for words, new in kinds:
            title = f"{curve.name}{words}" + ("" if curve.unit == curve.name else f", {curve.unit}")
            cells = (curve.tolerance_for(share, new) for share in _PRINTED)
            yield f"{title:<28}" + "".join(f"{cell:>9.3g}" for cell in cells)


def quantiles_of(halves: Array) -> list[float]:
    """Return the quantiles of half widths `(n,)` at `SHARES`, for a card."""
    return [float(f"{value:.4g}") for value in np.quantile(halves, SHARES)]


def in_unit(target: Target, outputs: Array, halves: Array) -> Array:
    """Return the larger halves `(n,)` of intervals in the target's unit.

    `outputs` and `halves` `(n,)` are standardised.
    """
    values = target.restore(outputs)
    low, high = target.interval(outputs, halves)
    # A transform makes the halves unequal, and an accepted estimate must be within the tolerance on
    # both sides.
    larger: Array = np.maximum(high - values, values - low)
    return larger


def _quantiles(stated: Any) -> tuple[float, ...] | None:
    """Return quantiles as a card states them, or None if these are none."""
    if not isinstance(stated, list) or len(stated) != len(SHARES):
        return None
    # A card may hold anything; the comparison also refuses NaN and infinity.
    if not all(isinstance(value, int | float) and 0.0 <= value < 1e9 for value in stated):
        return None
    return tuple(map(float, stated)) if stated == sorted(stated) else None


def _estimated(target: Target, manifest: Manifest) -> HalfWidths:
    """Return half widths of soils whose predictions spread as the training soils' values do."""
    middles = (np.arange(_STEPS) + 0.5) / _STEPS
    outputs = np.array([NormalDist().inv_cdf(middle) for middle in middles])
    lowest, highest = target.standardise(np.array([target.lowest, target.highest]))
    # The normal distribution has tails beyond the values that any training soil had.
    outputs = np.clip(outputs, lowest, highest)
    libraries = len(target.difficulty.libraries) if target.difficulty is not None else 0
    weights = np.repeat(_soils_of(manifest, libraries), _STEPS)
    every = np.tile(outputs, max(1, libraries))
    # The distance of typical soils is not known, but the median soil has difficulty 1.
    tried = [_factors(target, outputs, distance) for distance in _DISTANCES]
    factors = min(tried, key=lambda one: abs(np.log(_weighted(one, weights)[len(SHARES) // 2])))
    halves = (target.half_width_90 or 0.0) * factors
    known = _weighted(in_unit(target, every, halves), weights)
    wide, new = None, target.half_width_90_new_places
    if new is not None:
        # An interval for new places is never narrower than the one for known places.
        wide = _weighted(in_unit(target, every, np.maximum(halves, new)), weights)
    return HalfWidths(target.name, target.unit, known, wide, estimated=True)


def _factors(target: Target, outputs: Array, distance: float) -> Array:
    """Return the factors of the half widths of outputs `(n,)` near each library, `(L x n,)`."""
    difficulty = target.difficulty
    if difficulty is None:
        return np.ones(outputs.size)
    if not difficulty.libraries:
        return difficulty.factor(outputs)
    places = np.full(outputs.size, distance)
    return np.concatenate(
        [
            difficulty.factor(outputs, np.full(outputs.size, library), places)
            for library in range(len(difficulty.libraries))
        ]
    )


def _soils_of(manifest: Manifest, libraries: int) -> Array:
    """Return the number of soils of each library of the domain; 1 where the card does not say."""
    counts = manifest.card.soils.get("trained_on")
    stated = counts if isinstance(counts, dict) else {}
    names = manifest.domain.libraries if manifest.domain is not None and libraries else ("",)
    found = [stated.get(name) for name in names]
    return np.array([value if type(value) is int and value > 0 else 1 for value in found], float)


def _weighted(values: Array, weights: Array) -> tuple[float, ...]:
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    # Each value stands at the middle of its own weight (Hazen's plotting position).
    middles = (cumulated - 0.5 * weights[order]) / cumulated[-1]
    return tuple(np.interp(SHARES, middles, values[order]).tolist())

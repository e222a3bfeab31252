"""Parts of a library that a label selects, such as `country=Kenya` in `icraf:country=Kenya`.

`LABEL=VALUE` takes the soils with a value, `LABEL=VALUE+VALUE` those with one of several, and
`LABEL!=VALUE` all others. `profiles=K/N` takes the K-th of N shares of the profiles, which are
divided by chance but in the same way on every computer; `profiles!=K/N` takes the rest. So does
`countries=K/N` with whole countries. `K/N/SEED` divides them in another way.

The experiments on ICRAF (`ccnvr experiment accuracy --data icraf`) hold out these very shares:
fold K of repetition SEED is `profiles=K/5/SEED`, or `countries=K/5/SEED`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.arrays import Integers
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.soils import Soils

PROFILES, COUNTRIES = "profiles", "countries"
SHARED = (PROFILES, COUNTRIES)
"""The labels that are divided into shares."""

_PATTERN = re.compile(r"([a-z]+)(!?)=(.+)")
_SHARE = re.compile(r"([0-9]{1,3})/([0-9]{1,3})(?:/([0-9]{1,3}))?")


@dataclass(frozen=True)
class Selection:
    """The soils whose label has one of the values, or, if `excluded`, those whose label has not."""

    label: str
    values: tuple[str, ...]
    excluded: bool

    def rows(self, soils: Soils) -> NDArray[np.bool_]:
        """Return the mask `(n,)` of the selected soils.

        Raises:
            UsageError: no soil has one of the values.
        """
        if self.label in SHARED:
            share, shares, seed = _numbers(self.values[0])
            found: NDArray[np.bool_] = shares_of(soils, self.label, shares, seed) == share
        else:
            found = _labelled(soils.labels[self.label], self.label, self.values)
        return ~found if self.excluded else found


def selection(part: str, labels: Sequence[str]) -> Selection | None:
    """Return the selection that a part names, or None if it names none.

    Raises:
        UsageError: it has a label, and that or its value is not possible.
    """
    parsed = _PATTERN.fullmatch(part)
    if parsed is None:
        return None
    label, negated, text = parsed.groups()
    if label not in labels:
        raise UsageError(f"part {part!r} selects by {label}, and not by {' or '.join(labels)}")
    values = tuple(value.strip() for value in text.split("+"))
    if label in SHARED:
        share, shares, _ = _numbers(text)
        if not 1 <= share <= shares or shares < 2:
            raise UsageError(
                f"part {part!r} is not a share of the {label}; give one such as {label}=1/5"
            )
    return Selection(label, values, bool(negated))


def shares_of(soils: Soils, label: str, shares: int, seed: int = 0) -> Integers:
    """Return the share of each soil `(n,)`, from 1 to `shares`.

    Args:
        soils: all soils of the library; with their country, if countries are divided.
        label: what is kept whole, `PROFILES` or `COUNTRIES`.
        shares: the number of shares.
        seed: each seed divides them in another way.
    """
    if label == COUNTRIES:
        return _dealt(soils.labels["country"], shares, seed)
    sites = soils.sites or soils.sample_ids
    # By a digest and not by a position, so that a soil stays where it is when others are added.
    found: Integers = np.array([_digest(site, seed) % shares + 1 for site in sites])
    return found


def _dealt(places: Sequence[str], shares: int, seed: int) -> Integers:
    """Return a share for each soil, the places dealt out so that shares are of about one size."""
    counts = Counter(places)
    sizes, share_of = [0] * shares, {}
    for place in sorted(counts, key=lambda name: (_digest(name, seed), name)):
        # Into the smallest share: some places have a hundred times the soils of others.
        share = sizes.index(min(sizes))
        sizes[share] += counts[place]
        share_of[place] = share + 1
    found: Integers = np.array([share_of[place] for place in places])
    return found


def _digest(name: str, seed: int) -> int:
    # Seed 0 has no mark, because recipes name its shares without a seed.
    marked = f"{name}/{seed}" if seed else name
    return int.from_bytes(hashlib.sha256(marked.encode()).digest()[:8], "big")


def _numbers(text: str) -> tuple[int, int, int]:
    parsed = _SHARE.fullmatch(text)
    if parsed is None:
        return 0, 0, 0
    return int(parsed[1]), int(parsed[2]), int(parsed[3] or 0)


def _labelled(labels: Sequence[str], label: str, values: tuple[str, ...]) -> NDArray[np.bool_]:
    known = {name.casefold(): name for name in labels}
    for value in values:
        if value.casefold() not in known:
            near = get_close_matches(value.casefold(), known, 1)
            hint = (
                f"did you mean {known[near[0]]!r}?"
                if near
                else (f"there are {', '.join(sorted(known.values()))}")
            )
            raise UsageError(f"no soil has the {label} {value!r}; {hint}")
    wanted = {value.casefold() for value in values}
    return np.array([name.casefold() in wanted for name in labels])

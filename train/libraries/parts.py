"""Parts of a library that a label selects, such as `country=Kenya` in `icraf:country=Kenya`.

`LABEL=VALUE` takes the soils with a value, `LABEL=VALUE+VALUE` those with one of several, and
`LABEL!=VALUE` all others. `profiles=K/N` takes the K-th of N shares of the profiles, which are
divided by chance but in the same way on every computer; `profiles!=K/N` takes the rest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.soils import Soils

PROFILES = "profiles"

_PATTERN = re.compile(r"([a-z]+)(!?)=(.+)")
_SHARE = re.compile(r"([0-9]{1,3})/([0-9]{1,3})")


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
        if self.label == PROFILES:
            found = _share(soils.sites or soils.sample_ids, *_numbers(self.values[0]))
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
    if label == PROFILES:
        share, shares = _numbers(text)
        if not 1 <= share <= shares or shares < 2:
            raise UsageError(
                f"part {part!r} is not a share of the profiles; give one such as {PROFILES}=1/5"
            )
    return Selection(label, values, bool(negated))


def _numbers(text: str) -> tuple[int, int]:
    parsed = _SHARE.fullmatch(text)
    return (0, 0) if parsed is None else (int(parsed[1]), int(parsed[2]))


def _share(sites: Sequence[str], share: int, shares: int) -> NDArray[np.bool_]:
    # By a digest and not by a position, so that a soil stays where it is when others are added.
    digests = [hashlib.sha256(site.encode()).digest() for site in sites]
    return np.array([int.from_bytes(digest[:8], "big") % shares == share - 1 for digest in digests])


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

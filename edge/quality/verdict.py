"""The verdict on a sample: its numbers will do, it goes to the laboratory, or it is scanned again.

In: the estimates and flags of a prediction, and the tolerance that the user states for each
property. Out: a `Verdict`, with the reason in words.
"""

from __future__ import annotations

from dataclasses import dataclass, field

OK, LABORATORY, RESCAN = "ok", "laboratory", "rescan"


@dataclass(frozen=True)
class PropertyVerdict:
    """The verdict on one property: `ok`, `laboratory` or `rescan`, and the reason in words."""

    verdict: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The verdict on a sample, with those on the properties for which a tolerance was stated.

    `sample` is `rescan` if any property's is, else `laboratory` if any property's is, else `ok`.
    """

    sample: str
    reason: str
    properties: dict[str, PropertyVerdict] = field(default_factory=dict)

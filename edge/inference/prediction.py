"""The result of a prediction: an estimate for each soil property, and flags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.quality.verdict import Tolerances, Verdict, judge


@dataclass(frozen=True)
class Prediction(Mapping[str, Estimate]):
    """The estimates of one spectrum by property, as a read-only mapping: `prediction["OC"].low`.

    `estimates` is empty if the spectrum cannot be used. `flags` says why, as in
    `rescan:saturated`, or warns about the estimates, as in `out_of_domain:Q` or `OC:noisy`.
    `verdict` is None where no tolerance was stated.
    """

    estimates: dict[str, Estimate]
    flags: tuple[str, ...] = ()
    verdict: Verdict | None = None

    def judged(self, tolerances: Tolerances, more_flags: Iterable[str] = ()) -> Prediction:
        """Return this prediction with more flags, and with the verdict by these tolerances."""
        flags = (*self.flags, *more_flags)
        return replace(self, flags=flags, verdict=judge(self.estimates, flags, tolerances))

    def __getitem__(self, name: str) -> Estimate:
        """Return the estimate of the property `name`, such as `OC`."""
        return self.estimates[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the properties."""
        return iter(self.estimates)

    def __len__(self) -> int:
        """Return the number of properties, 0 if the spectrum cannot be used."""
        return len(self.estimates)

"""The result of a prediction: an estimate for each soil property, and flags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.quality.verdict import Verdict


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

    def __getitem__(self, name: str) -> Estimate:
        """Return the estimate of the property `name`, such as `OC`."""
        return self.estimates[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the properties."""
        return iter(self.estimates)

    def __len__(self) -> int:
        """Return the number of properties, 0 if the spectrum cannot be used."""
        return len(self.estimates)

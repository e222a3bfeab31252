"""Measure how often the rule for replicates rejects one of a sample without outliers.

    python -m tools.replicate_rejection

It prints the table of docs/decisions/0079: the share of samples from which a replicate is rejected,
and that from which a true outlier is.
"""

from __future__ import annotations

import numpy as np

from ccnvr.edge.chemometrics.targets import Estimate
from ccnvr.edge.inference.prediction import Prediction
from ccnvr.edge.workflow.replicates import outliers

SAMPLES = 5_000
COUNTS = (3, 4, 5, 10)
SCATTERS = (0.1, 0.2, 0.3, 0.5)
PROPERTIES = ("a", "b", "c", "d", "e")
OUTLIER = 2.0
"""How far a planted outlier lies, in half widths of the interval."""


def main() -> None:
    """Print the table."""
    source = np.random.default_rng(1)
    heads = (f"s = {scatter}" for scatter in SCATTERS)
    print(f"| replicates | {' | '.join(heads)} | an outlier of {OUTLIER:g}, s = 0.1, is rejected |")
    print("| ---: |" + " ---: |" * (len(SCATTERS) + 1))
    for count in COUNTS:
        shares = [_rejected(source, count, scatter) for scatter in SCATTERS]
        found = _rejected(source, count, 0.1, OUTLIER)
        print(f"| {count} | {' | '.join(f'{share:.1%}' for share in shares)} | {found:.1%} |")


def _rejected(
    source: np.random.Generator, count: int, scatter: float, outlier: float = 0.0
) -> float:
    """Return the share of samples from which a replicate is rejected."""
    values = source.normal(0.0, scatter, (SAMPLES, count, len(PROPERTIES)))
    values[:, 0, 0] += outlier
    rejected = 0
    for sample in values.tolist():
        replicates = [
            Prediction(
                {
                    name: Estimate(value, "", value - 1.0, value + 1.0)
                    for name, value in zip(PROPERTIES, one, strict=True)
                }
            )
            for one in sample
        ]
        found = outliers(replicates)
        rejected += bool(found[0] if outlier else found.any())
    return rejected / SAMPLES


if __name__ == "__main__":
    main()

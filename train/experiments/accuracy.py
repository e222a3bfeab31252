"""The paper's first experiment: the accuracy of CCNVR and its rivals on one library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ccnvr.train.experiments import figures
from ccnvr.train.experiments.comparison import Comparison
from ccnvr.train.libraries.properties import UNITS


def run(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """Return the figures of merit of each method and the choices behind them.

    `accuracy-LIBRARY.svg` and `predicted-LIBRARY.svg` are drawn in `folder`.
    """
    predicted = {
        name: comparison.predictions(contender)[""]
        for name, contender in comparison.contenders.items()
    }
    table = comparison.table(predicted)
    figures.bars(
        folder / f"accuracy-{comparison.stem}.svg",
        table,
        f"{comparison.library}: R² with 95 % bootstrap interval",
    )
    # The scatter plot shows one method: CCNVR, or the first where it is not compared.
    best = predicted.get(comparison.reference, next(iter(predicted.values())))
    properties = comparison.properties
    figures.scatter(
        folder / f"predicted-{comparison.stem}.svg",
        comparison.measured,
        # The mean of the repetitions: a plot with five points for each soil would look like more
        # soils.
        best.mean(axis=0),
        properties,
        UNITS,
    )
    choices = {
        name: {
            split.name: comparison.choice(contender, split)
            for split in (comparison.splits[:1] if comparison.choose_once else comparison.splits)
        }
        for name, contender in comparison.contenders.items()
    }
    return {
        "experiment": "accuracy",
        "library": comparison.library,
        "soils": {"predicted": len(comparison.measured), "splits": len(comparison.splits)},
        "budget": vars(comparison.budget),
        "seeds": comparison.seeds,
        "reference": comparison.reference,
        "scored after": dict(comparison.scales),
        "table": table,
        **({"in units": comparison.table(predicted, in_units=True)} if comparison.scales else {}),
        "by library": comparison.tables(predicted) or {comparison.library: table},
        "choices": choices,
    }

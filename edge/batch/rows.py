"""Rows of predictions as CSV and as lines of JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence

from ccnvr.edge.batch.predict_files import Row
from ccnvr.edge.chemometrics.targets import KNOWN, NEW, Estimate, Target


def as_json_lines(rows: Iterable[Row]) -> str:
    """Return a JSON object for each row."""
    return "".join(
        json.dumps(
            {
                "sample_id": sample_id,
                "predictions": {name: vars(value) for name, value in estimates.items()},
                "flags": flags,
            }
        )
        + "\n"
        for sample_id, estimates, flags in rows
    )


def as_csv(rows: Iterable[Row], targets: Sequence[Target]) -> str:
    """Return a CSV table with a value, a low and a high end for each target.

    If the model has intervals for new places, a column says which soils got them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = [
        f"{target.name} ({target.unit}){bound}"
        for target in targets
        for bound in ("", " low", " high")
    ]
    two_kinds = any(target.half_width_90_new_places is not None for target in targets)
    writer.writerow(["sample_id", *header, *(["places"] if two_kinds else []), "flags"])
    for sample_id, estimates, flags in rows:
        numbers = [number for target in targets for number in _numbers(estimates.get(target.name))]
        # A property without an interval for new places has that for known ones.
        places = NEW if NEW in {one.places for one in estimates.values()} else KNOWN
        writer.writerow([sample_id, *numbers, *([places] if two_kinds else []), " ".join(flags)])
    return text.getvalue()


def _numbers(estimate: Estimate | None) -> list[str]:
    if estimate is None:
        return [""] * 3
    return [
        # Four digits are more than the interval of any estimate justifies.
        "" if value is None else f"{value:.4g}"
        for value in (estimate.value, estimate.low, estimate.high)
    ]

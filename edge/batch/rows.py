"""Rows of predictions as CSV and as lines of JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from ccnvr.edge.batch.predict_files import Row
from ccnvr.edge.chemometrics.targets import KNOWN, NEW, Estimate, Target
from ccnvr.edge.inference.prediction import Prediction


def as_json_lines(rows: Iterable[Row]) -> str:
    """Return a JSON object for each row; `verdict` is in it if tolerances were stated."""
    return "".join(json.dumps(_as_data(*row)) + "\n" for row in rows)


def as_csv(rows: Sequence[Row], targets: Sequence[Target]) -> str:
    """Return a CSV table with a value, a low and a high end for each target.

    If the model has intervals for new places, a column says which soils got them. If tolerances
    were stated, two columns hold the verdict and its reason.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    bounds = [
        f"{target.name} ({target.unit}){bound}"
        for target in targets
        for bound in ("", " low", " high")
    ]
    two_kinds = any(target.half_width_90_new_places is not None for target in targets)
    judged = any(prediction.verdict for _, prediction in rows)
    places, verdicts = ["places"] * two_kinds, ["verdict", "reason"] * judged
    writer.writerow(["sample_id", *bounds, *places, "flags", *verdicts])
    for sample_id, prediction in rows:
        numbers = [number for target in targets for number in _numbers(prediction.get(target.name))]
        if two_kinds:
            # A property without an interval for new places has that for known ones.
            numbers.append(NEW if NEW in {one.places for one in prediction.values()} else KNOWN)
        verdict = prediction.verdict
        said = [verdict.sample, verdict.reason] if verdict else []
        writer.writerow([sample_id, *numbers, " ".join(prediction.flags), *said])
    return text.getvalue()


def _as_data(sample_id: str, prediction: Prediction) -> dict[str, Any]:
    data = {
        "sample_id": sample_id,
        "predictions": {name: value._asdict() for name, value in prediction.items()},
        "flags": list(prediction.flags),
    }
    return data | ({"verdict": asdict(prediction.verdict)} if prediction.verdict else {})


def _numbers(estimate: Estimate | None) -> list[str]:
    if estimate is None:
        return [""] * 3
    return [
        # Four digits are more than the interval of any estimate justifies.
        "" if value is None else f"{value:.4g}"
        for value in (estimate.value, estimate.low, estimate.high)
    ]

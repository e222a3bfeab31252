"""The daemon's status as Prometheus metrics: the text format 0.0.4 of its documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

KIND = "text/plain; version=0.0.4; charset=utf-8"

MOST_METRICS = 500


def metrics_of(status: Mapping[str, object], newest: int) -> str:
    """Return the numbers of a status, one line each, with `newest`, the last record's id.

    A key's way is the metric's name: `{"references": {"age_s": 5}}` is `ccnvr_references_age_s 5`.
    """
    lines = [
        "# HELP ccnvr_records_total Records that the store has taken.",
        "# TYPE ccnvr_records_total counter",
        f"ccnvr_records_total {newest}",
    ]
    # Bounded, because a status may hold what came from an instrument.
    for place, (name, number) in enumerate(_numbers("ccnvr", status)):
        if place < MOST_METRICS:
            lines += [f"# TYPE {name} gauge", f"{name} {number:.10g}"]
    return "\n".join(lines) + "\n"


def _numbers(name: str, value: object) -> Iterator[tuple[str, float]]:
    # A boolean becomes 0 or 1, which an alarm can compare.
    if isinstance(value, bool | int | float):
        yield name, float(value)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _numbers(f"{name}_{re.sub(r'[^A-Za-z0-9]', '_', str(key))}", part)

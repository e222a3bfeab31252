"""A record in words, for whoever asked for the scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ccnvr.edge.quality.prompts import prompts


def in_words(record: Mapping[str, Any]) -> str:
    """Return a record as lines: the sample, its values with their intervals, what to do."""
    lines = []
    sample = record.get("sample", {})
    if "id" in sample:
        lines.append(f"sample {sample['id']}{_depth(sample)}")
    for name, estimate in record.get("predictions", {}).items():
        unit = "" if estimate["unit"] == "pH" else f" {estimate['unit']}"
        lines.append(f"{name} {_number(estimate['value'])}{unit}{_interval(estimate)}")
    replicates = record.get("replicates", {})
    if replicates:
        used, rejected = len(replicates["used"]), len(replicates["rejected"])
        lines.append(f"mean of {used} replicates, {rejected} rejected")
    lines += prompts(record.get("flags", []))
    verdict = record.get("verdict")
    if verdict:
        lines.append(f"verdict: {verdict['sample']} ({verdict['reason']})")
    return "\n".join(lines) or "the scan is stored"


def _number(value: float) -> str:
    """Return three significant digits, which is more than any interval warrants."""
    return f"{value:.0f}" if abs(value) >= 100.0 else f"{value:.3g}"


def _interval(estimate: Mapping[str, Any]) -> str:
    if estimate["low"] is None or estimate["high"] is None:
        return ""
    return f" ({_number(estimate['low'])} to {_number(estimate['high'])})"


def _depth(sample: Mapping[str, Any]) -> str:
    top, bottom = sample.get("top_cm"), sample.get("bottom_cm")
    if top is None and bottom is None:
        return ""
    return (
        f", {'?' if top is None else f'{top:g}'} to {'?' if bottom is None else f'{bottom:g}'} cm"
    )

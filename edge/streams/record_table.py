"""Records as a table that a person can read on a terminal, one line or two for each."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ccnvr.edge.chemometrics.targets import NEW, Estimate
from ccnvr.edge.quality.checks import OK, check_of, property_of
from ccnvr.edge.quality.rounding import decimals_of, with_uncertainty, written
from ccnvr.edge.quality.verdict import larger_half
from ccnvr.edge.storage.context import escaped, shown_name

HEADER_EVERY = 20
"""Rows between two headers, so that one is always in sight."""

_NARROWEST = 13
"""The least width of a property's column, as wide as `1.0 (0.1-2.5)`."""

_TIME, _SAMPLE, _VERDICT = 10, 16, 11


class RecordTable:
    """A table of records, whose columns follow from the properties that the records hold.

    Values are rounded to what their intervals leave uncertain. Behind a value stands half the width
    of its 90 % interval, or the ends of the interval where its halves differ by more than the
    rounding. An asterisk marks the interval for soils of places that the model may not know. A
    legend above the first row says so.

    Args:
        width: the width of the terminal.
        plus_minus: what stands between value and half width.
    """

    def __init__(self, width: int = 100, plus_minus: str = "±") -> None:
        self._width = max(width, 40)
        self._plus_minus = plus_minus
        self._units: dict[str, str] = {}
        self._judged = False
        self._rows = 0
        self._explained = False

    def lines(self, record: Mapping[str, Any]) -> Iterator[str]:
        """Yield the lines of a record, after a header where one is due."""
        units = {name: one["unit"] for name, one in record["predictions"].items()}
        judged = record["verdict"] is not None
        # A scan without numbers, or one of a bundle with fewer properties, keeps the columns.
        if self._rows % HEADER_EVERY == 0 or not units.items() <= self._units.items():
            self._units |= units
            self._judged |= judged
            self._rows = 0
            if units and not self._explained:
                self._explained = True
                yield from textwrap.wrap(self._legend(), self._width)
            yield self._header()
        self._rows += 1
        cells = [
            f"{self._cell(record['predictions'].get(name)):>{self._column(name)}}"
            for name in self._units
        ]
        verdict = record["verdict"] or {"sample": "", "reason": ""}
        start = f"{_time(record):<{_TIME}}{_name(record):<{_SAMPLE}}"
        if self._judged:
            start += f"{verdict['sample']:<{_VERDICT}}"
        yield from self._wrapped(start + "".join(cells), _notes(record))
        if judged and verdict["sample"] != OK:
            indent = " " * _TIME
            yield from textwrap.wrap(
                escaped(verdict["reason"]), self._width, initial_indent=indent,
                subsequent_indent=indent,
            )  # fmt: skip

    def _legend(self) -> str:
        return (
            f"{self._plus_minus} half the 90 % interval, or (low-high); "
            "* if the place may be new to the model"
        )

    def _header(self) -> str:
        properties = "".join(f"{self._title(name):>{self._column(name)}}" for name in self._units)
        verdict = f"{'verdict':<{_VERDICT}}" if self._judged else ""
        return f"{'time':<{_TIME}}{'sample':<{_SAMPLE}}{verdict}{properties}".rstrip()

    def _title(self, name: str) -> str:
        unit = self._units[name]
        return name if unit == name else f"{name} {unit}"

    def _column(self, name: str) -> int:
        return max(_NARROWEST, len(self._title(name))) + 2

    def _cell(self, estimate: Mapping[str, Any] | None) -> str:
        if estimate is None:
            return "-"
        found = Estimate(**estimate)
        value, half = with_uncertainty(found.value, larger_half(found))
        mark = "*" if found.places == NEW else ""
        if not half:
            return value
        around = _ends(found) or f"{self._plus_minus} {half}"
        return f"{value} {around}{mark}"

    def _wrapped(self, start: str, notes: str) -> Iterator[str]:
        """Yield a row with its notes, which go below it where the terminal is too narrow."""
        if not notes or len(start) + 2 + len(notes) <= self._width:
            yield f"{start}  {notes}".rstrip()
            return
        yield start
        yield f"{'':<{_TIME}}{notes}"


def _ends(estimate: Estimate) -> str:
    """Return the ends of an interval as `(low-high)`, or "" if its halves are equal as shown."""
    low, high, half = estimate.low, estimate.high, larger_half(estimate)
    if low is None or high is None or half is None or not math.isfinite(half):
        return ""
    decimals = decimals_of(half)
    if abs((high - estimate.value) - (estimate.value - low)) <= 10.0**-decimals:
        return ""
    # A hyphen after or before a minus sign could be taken for another one.
    between = "-" if low >= 0.0 else " to "
    return f"({written(low, decimals)}{between}{written(high, decimals)})"


def _time(record: Mapping[str, Any]) -> str:
    """Return the time of day in the computer's time zone."""
    try:
        return f"{datetime.fromisoformat(record['time']).astimezone():%H:%M:%S}"
    except ValueError:
        return "-"  # a damaged record


def _name(record: Mapping[str, Any]) -> str:
    """Return the sample's id, or the scan's number where it has none."""
    text = shown_name(str(record["scan_id"]), str(record.get("sample", {}).get("id", "")))
    return text if len(text) < _SAMPLE else text[: _SAMPLE - 4] + "..."


def _notes(record: Mapping[str, Any]) -> str:
    """Return the flags in words, each once."""
    words: dict[str, None] = {}
    for flag in record["flags"]:
        check, name = check_of(flag), property_of(flag)
        short = check.short if check is not None else ""
        words[f"{name} {short}" if name and short else short or escaped(flag)] = None
    return ", ".join(words)

"""What is stored of a scan beside its counts: the sample, the position and the purpose."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any

from ccnvr.firmware_bridge.frozen import frozen

MOST_ID = 100
"""The most characters of a sample's id and of the operator's name."""

MOST_NOTE = 1_000
"""The most characters of a note."""

DEPTHS_CM = (-200.0, 10_000.0)
"""The smallest and largest depth; organic layers above the mineral soil have negative ones."""

CHECK = "check"
"""The purpose of a scan of the check sample."""


def escaped(text: str) -> str:
    """Return text with Python's escapes in place of the characters that cannot be printed.

    These are control characters, those that turn the direction of writing, line separators and
    lone surrogates: on a terminal or in a log they could act, or show something else.
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


def shown_name(record_id: str, sample_id: str) -> str:
    """Return what an operator sees as a record's name: the sample's id, or the scan's number."""
    return escaped(sample_id or record_id.removesuffix("-mean").rpartition("-")[2])


@frozen
class SampleIdentity:
    """Which sample is measured, by whom; every part may be absent.

    Attributes:
        id: a name or the text of a barcode.
        top_cm: the depth of its upper end in cm.
        bottom_cm: the depth of its lower end in cm.
        operator: who measures.
        note: anything else.

    Raises:
        ValueError: a text is too long, or a depth is out of range.
    """

    id: str = ""
    top_cm: float | None = None
    bottom_cm: float | None = None
    operator: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for name, most in (("id", MOST_ID), ("operator", MOST_ID), ("note", MOST_NOTE)):
            # Cut first, so that a huge text costs nothing.
            text = escaped(getattr(self, name)[: most + 1].strip())
            if len(text) > most:
                raise ValueError(f"{name} has more than {most} characters ({text[:20]}...)")
            object.__setattr__(self, name, text)
        low, high = DEPTHS_CM
        for name in ("top_cm", "bottom_cm"):
            depth = getattr(self, name)
            # Written so that NaN fails.
            if depth is not None and not low <= depth <= high:
                raise ValueError(f"{name} = {depth:g} is outside {low:g} to {high:g} cm")
        if self.top_cm is not None and self.bottom_cm is not None and self.top_cm > self.bottom_cm:
            raise ValueError(
                f"top_cm = {self.top_cm:g} lies below bottom_cm = {self.bottom_cm:g}; exchange them"
            )

    @property
    def known(self) -> bool:
        """Whether any part is given."""
        return self != NO_SAMPLE

    def as_data(self) -> dict[str, Any]:
        """Return the parts that are given, as JSON values."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None)}


NO_SAMPLE = SampleIdentity()
"""The identity of a sample of which nothing is known."""


@frozen
class GeoPosition:
    """Where a scan was taken: WGS 84 latitude and longitude in degrees.

    `accuracy_m` is the radius in m that holds the true position with some 95 %; NaN if not known.
    """

    latitude: float
    longitude: float
    accuracy_m: float = math.nan

    def as_data(self) -> dict[str, float | None]:
        """Return the position as JSON values."""
        known = math.isfinite(self.accuracy_m)
        return {
            "latitude": self.latitude,
            "longitude": self.longitude,
            "accuracy_m": self.accuracy_m if known else None,
        }


@frozen
class ScanContext:
    """What belongs to a scan beside what the instrument measured.

    Attributes:
        sample: the sample.
        position: where it was scanned; None if not known.
        purpose: CHECK for the check sample, None for a sample.
        replicate_of: the id of the record that a replicate belongs to; None for other scans.
        replicates: the ids of the replicates that a record is the mean of, by "used" and
            "rejected"; empty for other scans.
    """

    sample: SampleIdentity = NO_SAMPLE
    position: GeoPosition | None = None
    purpose: str | None = None
    replicate_of: str | None = None
    replicates: Mapping[str, list[str]] = field(default_factory=dict)

    def as_columns(self) -> dict[str, object]:
        """Return the columns of the store; what is absent is NULL."""
        sample, position = self.sample, self.position
        accuracy = position.accuracy_m if position else math.nan
        return {
            "sample_id": sample.id or None,
            "depth_top_cm": _real(sample.top_cm),
            "depth_bottom_cm": _real(sample.bottom_cm),
            "operator": sample.operator or None,
            "note": sample.note or None,
            "latitude": position.latitude if position else None,
            "longitude": position.longitude if position else None,
            "position_accuracy_m": accuracy if math.isfinite(accuracy) else None,
            "purpose": self.purpose,
            "replicate_of": self.replicate_of,
            "replicates": json.dumps(self.replicates) if self.replicates else None,
        }


NO_CONTEXT = ScanContext()
"""The context of a scan of which nothing more is known."""


def context_of(record: Mapping[str, Any]) -> ScanContext:
    """Return the context of a sound record of the store.

    Raises:
        ValueError: the columns hold what no version has written.
    """
    position, accuracy = None, record["position_accuracy_m"]
    if record["latitude"] is not None and record["longitude"] is not None:
        position = GeoPosition(
            record["latitude"], record["longitude"], math.nan if accuracy is None else accuracy
        )
    return ScanContext(
        SampleIdentity(
            record["sample_id"] or "",
            record["depth_top_cm"],
            record["depth_bottom_cm"],
            record["operator"] or "",
            record["note"] or "",
        ),
        position,
        record["purpose"],
        record["replicate_of"],
        json.loads(record["replicates"] or "{}"),
    )


def _real(value: float | None) -> float | None:
    # The checksum tells 10 from 10.0, and SQLite returns the latter.
    return None if value is None else float(value)

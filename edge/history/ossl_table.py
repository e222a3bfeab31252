"""Scans as a CSV table in the layout of the Open Soil Spectral Library, ready to train on.

One row for each sample: identity, depth, position, time and spectrum under the library's names
(`scan_visnir.1350_ref`, reflectance as a fraction), then the laboratory's values if there are any.
Predictions stand in columns that begin with `predicted`, which nothing takes for measured values;
each has its unit beside it, since bundles may differ in it.
"""

from __future__ import annotations

import csv
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import IO, Any

import numpy as np

from ccnvr.edge.history.stored_scans import NotComputed, StoredScan, StoredScans
from ccnvr.edge.spectrum_files.messages import cleaned, listed
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen

ID = "id.layer_local_c"
_CONTEXT = (
    ID,
    # Not id.scan_local_c, or the name of the sample would be ambiguous.
    "scan_id",
    "layer.upper.depth_usda_cm",
    "layer.lower.depth_usda_cm",
    "longitude.point_wgs84_dd",
    "latitude.point_wgs84_dd",
    "location.point.error_any_m",
    "scan.visnir.date.begin_iso.8601_yyyy.mm.dd",
    "scan.visnir.model.name_utf8_txt",
    "surveyor.title_utf8_txt",
)
_PREDICTED = ("", " half width", " unit")
"""The ends of the names of a property's columns."""

_MOST_LABORATORY_BYTES = 64 << 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@frozen
class LaboratoryValues:
    """Values of a laboratory by sample id: `names` of the columns, `rows` of their texts."""

    names: Sequence[str] = ()
    rows: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> LaboratoryValues:
        """Read a CSV table whose first column has sample ids.

        Raises:
            UsageError: it cannot be read, or a sample stands in it twice.
        """
        try:
            if path.stat().st_size > _MOST_LABORATORY_BYTES:
                raise UsageError(f"{path} is larger than {_MOST_LABORATORY_BYTES >> 20} MiB")
            # Excel begins its CSV files with a byte order mark, which would become part of the
            # first name.
            with path.open(newline="", encoding="utf-8-sig") as stream:
                header, *rows = list(csv.reader(stream, strict=True))
        except (OSError, ValueError, csv.Error) as error:
            raise UsageError(
                f"{path} is no CSV table with a header ({error}); give sample ids in the first "
                "column and the laboratory's values, such as OC_g_kg, in others"
            ) from error
        found: dict[str, Sequence[str]] = {}
        for number, row in enumerate(rows, 2):
            if not any(row):
                continue
            if len(row) != len(header) or row[0] in found:
                what = "stands in it twice" if row[0] in found else "has another number of cells"
                raise UsageError(cleaned(f"{path} row {number}: sample {row[0]!r} {what}"))
            found[row[0]] = row[1:]
        return cls(header[1:], found)


def write_ossl(
    scans: StoredScans, laboratory: LaboratoryValues, stream: IO[str]
) -> tuple[int, int]:
    """Write the samples of one kind of instrument; return how many, and how many with values.

    Raises:
        UsageError: the store holds scans of instruments with different bands, or columns of the
            laboratory have names that the table has already.
    """
    first: StoredScan | None = None
    # A dict, because it keeps the order of their first appearance.
    properties: dict[str, None] = {}
    count = measured = 0
    missing = [""] * len(laboratory.names)
    # On the disk until all are read: the header has the properties, and bundles differ in them.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as kept:
        for scan in scans:
            try:
                reflectance = scan.reflectance()
            except NotComputed as reason:
                scans.leave_out(str(reason))
                continue
            first = first or scan
            _check_alike(first, scan)
            predictions = scan.record["predictions"]
            properties |= dict.fromkeys(predictions)
            values = laboratory.rows.get(scan.name)
            cells = [
                *map(safe_cell, _context(scan)),
                # Seven digits are more than any detector resolves.
                *("" if np.isnan(value) else f"{value:.7g}" for value in reflectance),
                *map(safe_cell, values or missing),
            ]
            kept.write(f"{json.dumps([cells, predictions, ' '.join(scan.record['flags'])])}\n")
            count, measured = count + 1, measured + (values is not None)
        if first is not None:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(_header(first, properties, laboratory.names))
            kept.seek(0)
            for cells, predictions, flags in map(json.loads, kept):
                writer.writerow([*cells, *_predicted(predictions, properties), safe_cell(flags)])
    return count, measured


def _header(scan: StoredScan, properties: Iterable[str], laboratory: Sequence[str]) -> list[str]:
    bands = [f"scan_visnir.{nm:.10g}_ref" for nm in scan.info.wavelengths_nm]
    predicted = [f"predicted {name}{bound}" for name in properties for bound in _PREDICTED]
    header = [*_CONTEXT, *bands, *laboratory, *predicted, "flags"]
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise UsageError(
            cleaned(f"the column {listed(twice, 3)} would stand in the table twice; rename it")
        )
    return list(map(safe_cell, header))


def _check_alike(first: StoredScan, scan: StoredScan) -> None:
    if not np.array_equal(first.info.wavelengths_nm, scan.info.wavelengths_nm):
        raise UsageError(
            f"the store holds scans of instruments {first.info.serial} and {scan.info.serial} "
            "with other bands; export each by --instrument SERIAL"
        )


def _context(scan: StoredScan) -> list[str]:
    sample, position = scan.context.sample, scan.context.position
    numbers = (
        sample.top_cm,
        sample.bottom_cm,
        position.longitude if position else None,
        position.latitude if position else None,
        position.accuracy_m if position else None,
    )
    texts = ["" if one is None or math.isnan(one) else f"{one:.10g}" for one in numbers]
    return [
        scan.name,
        scan.record["scan_id"],
        *texts,
        scan.record["time"],
        f"{scan.info.model} {scan.info.serial}".strip(),
        sample.operator,
    ]


def _predicted(
    predictions: Mapping[str, Mapping[str, Any]], properties: Iterable[str]
) -> Iterator[str]:
    for name in properties:
        one = predictions.get(name)
        if one is None:
            yield from [""] * len(_PREDICTED)
            continue
        known = one["low"] is not None and one["high"] is not None
        yield f"{one['value']:.4g}"
        yield f"{(one['high'] - one['low']) / 2.0:.4g}" if known else ""
        yield safe_cell(str(one["unit"]))


def safe_cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula.

    Ids and notes are free text, and a table is often opened in a spreadsheet.
    """
    if not text.startswith(_FORMULA):
        return text
    try:
        # A negative number begins like a formula and must stay a number.
        float(text)
    except ValueError:
        return f"'{text}"
    return text

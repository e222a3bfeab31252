"""Samples as features on a map: GeoJSON (RFC 7946) and GeoPackage 1.3 (OGC 12-128r17).

A plain table for people has the same columns.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sqlite3
import struct
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from typing import IO, Any

from ccnvr.edge.history.ossl_table import safe_cell
from ccnvr.edge.history.stored_scans import StoredScan

TABLE = "samples"
"""The name of the layer in a GeoPackage."""

_WGS84 = 4326

_NUMBERS = {"top_cm", "bottom_cm", "accuracy_m"}

_WGS84_WKT = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,'
    'AUTHORITY["EPSG","7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,'
    'AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],'
    'AUTHORITY["EPSG","4326"]]'
)

# The tables and rows that the standard requires of every GeoPackage, and of one with features.
_REQUIRED = f"""
PRAGMA application_id = {int.from_bytes(b"GPKG", "big")};
PRAGMA user_version = 10300;
CREATE TABLE gpkg_spatial_ref_sys (
    srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
    organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT
);
CREATE TABLE gpkg_contents (
    table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
    description TEXT DEFAULT '', last_change DATETIME NOT NULL, min_x DOUBLE, min_y DOUBLE,
    max_x DOUBLE, max_y DOUBLE, srs_id INTEGER REFERENCES gpkg_spatial_ref_sys (srs_id)
);
CREATE TABLE gpkg_geometry_columns (
    table_name TEXT NOT NULL UNIQUE REFERENCES gpkg_contents (table_name),
    column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL,
    srs_id INTEGER NOT NULL REFERENCES gpkg_spatial_ref_sys (srs_id),
    z TINYINT NOT NULL, m TINYINT NOT NULL, PRIMARY KEY (table_name, column_name)
);
"""


def properties_of(scan: StoredScan) -> dict[str, Any]:
    """Return what is told of a sample, flat, as tables on maps are; every key is always there."""
    sample, position, verdict = scan.context.sample, scan.context.position, scan.record["verdict"]
    accuracy = position.accuracy_m if position else math.nan
    told: dict[str, Any] = {
        "sample_id": scan.name,
        "scan_id": scan.record["scan_id"],
        "time": scan.record["time"],
        "instrument": scan.info.serial,
        "top_cm": sample.top_cm,
        "bottom_cm": sample.bottom_cm,
        "operator": sample.operator or None,
        "note": sample.note or None,
        "accuracy_m": accuracy if math.isfinite(accuracy) else None,
    }
    for name, one in scan.record["predictions"].items():
        told |= {name: one["value"], f"{name}_low": one["low"], f"{name}_high": one["high"]}
        told[f"{name}_unit"] = one["unit"]
    flags = " ".join(scan.record["flags"])
    return told | {
        "flags": flags,
        "verdict": verdict["sample"] if verdict else None,
        "reason": verdict["reason"] if verdict else None,
    }


def write_geojson(scans: Iterable[StoredScan], stream: IO[str]) -> int:
    """Write a feature collection of points, and return how many.

    A sample without a position has no geometry. One feature is in memory at a time.
    """
    count = 0
    stream.write('{"type": "FeatureCollection", "features": [')
    for count, scan in enumerate(scans, 1):
        position = scan.context.position
        # Longitude first; the datum is always WGS 84 (RFC 7946, section 4).
        place = position and {
            "type": "Point",
            "coordinates": [position.longitude, position.latitude],
        }
        feature = {"type": "Feature", "geometry": place, "properties": properties_of(scan)}
        # NaN is not JSON: an error here is better than a file that no map can read.
        stream.write((",\n" if count > 1 else "\n") + json.dumps(feature, allow_nan=False))
    stream.write("\n]}\n")
    return count


def as_geojson(scans: Iterable[StoredScan]) -> str:
    """Return what `write_geojson` writes."""
    text = io.StringIO()
    write_geojson(scans, text)
    return text.getvalue()


def as_csv(scans: Iterable[StoredScan]) -> str:
    """Return a table with a row for each sample, for people; spectra are left out."""
    rows = []
    for scan in scans:
        position = scan.context.position
        place = (position.longitude, position.latitude) if position else (None, None)
        rows.append(properties_of(scan) | dict(zip(("longitude", "latitude"), place, strict=True)))
    text = io.StringIO()
    # Scans that different bundles predicted may have different properties, so the header has all of
    # them.
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                name: safe_cell(value) if isinstance(value, str) else value
                for name, value in row.items()
            }
        )
    return text.getvalue()


def as_geopackage(scans: Iterable[StoredScan]) -> tuple[bytes, int]:
    """Return a GeoPackage with one layer of points, `TABLE`, and the number of its rows."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(_REQUIRED)
        connection.executemany(
            "INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, NULL)",
            [
                # The standard requires the first two rows, although no feature here refers to them.
                ("Undefined cartesian SRS", -1, "NONE", -1, "undefined"),
                ("Undefined geographic SRS", 0, "NONE", 0, "undefined"),
                ("WGS 84 geodetic", _WGS84, "EPSG", _WGS84, _WGS84_WKT),
            ],
        )
        connection.execute(f"CREATE TABLE {TABLE} (fid INTEGER PRIMARY KEY, geom POINT)")
        connection.execute("BEGIN")
        count, edges = _fill(connection, scans)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        connection.execute(
            "INSERT INTO gpkg_contents VALUES (?, 'features', ?, '', ?, ?, ?, ?, ?, ?)",
            (TABLE, TABLE, now, *edges, _WGS84),
        )
        connection.execute(
            "INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', 'POINT', ?, 0, 0)",
            (TABLE, _WGS84),
        )
        connection.execute("COMMIT")
        return connection.serialize(), count


def _fill(
    connection: sqlite3.Connection, scans: Iterable[StoredScan]
) -> tuple[int, list[float | None]]:
    """Insert the samples; return how many, and west, south, east and north edge of them all."""
    known: set[str] = set()
    count, edges = 0, list[float | None](4 * [None])
    for scan in scans:
        count += 1
        told = properties_of(scan)
        for name in told:
            # SQL does not tell upper from lower case in names, and a bundle's properties may.
            if name.lower() not in known:
                known.add(name.lower())
                connection.execute(
                    f"ALTER TABLE {TABLE} ADD COLUMN {_quoted(name)} {_kind(name, scan)}"
                )
        columns = ", ".join(["geom", *map(_quoted, told)])
        places = ", ".join("?" * (len(told) + 1))
        connection.execute(
            f"INSERT INTO {TABLE} ({columns}) VALUES ({places})",  # noqa: S608 - quoted names
            (_point(scan), *told.values()),
        )
        if position := scan.context.position:
            point = (position.longitude, position.latitude)
            edges = [
                place if edge is None else choose(edge, place)
                for choose, edge, place in zip(
                    (min, min, max, max), edges, (*point, *point), strict=True
                )
            ]
    return count, edges


def _point(scan: StoredScan) -> bytes | None:
    """Return a point in GeoPackage's binary form, which ends in well-known binary."""
    position = scan.context.position
    if position is None:
        return None
    # Version 0; flags: little-endian, no envelope (section 2.1.3).
    header = struct.pack("<2sBBi", b"GP", 0, 1, _WGS84)
    return header + struct.pack("<BIdd", 1, 1, position.longitude, position.latitude)


def _kind(name: str, scan: StoredScan) -> str:
    """Return the SQL type of a column, by its name: the first value may be missing."""
    values = {f"{one}{end}" for one in scan.record["predictions"] for end in ("", "_low", "_high")}
    return "DOUBLE" if name in values | _NUMBERS else "TEXT"


def _quoted(name: str) -> str:
    # Names of properties come from a bundle and may hold anything.
    return '"' + name.replace('"', '""') + '"'

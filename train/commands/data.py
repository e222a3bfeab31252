"""List the known spectral libraries: their files, what was measured, licence and origin.

Soils are counted where the files are at hand. Large libraries are read and counted only if they are
named, and nothing is fetched unless it is named.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries import load as libraries
from ccnvr.train.libraries.catalogue import LIBRARIES
from ccnvr.train.libraries.properties import PROPERTIES, UNITS

# A grid that every library covers, because counting soils needs no spectra.
_ANYWHERE = Grid(1500.0, 2.0, 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr data`."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"libraries to read and count: {', '.join(LIBRARIES)}",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """Print what is known of all libraries, or of those named."""
    if unknown := [name for name in arguments.names if name not in LIBRARIES]:
        raise UsageError(
            f"library {unknown[0]!r} is not one of {', '.join(LIBRARIES)}; see ccnvr data"
        )
    for name in arguments.names or LIBRARIES:
        entry = describe(name, count=name in arguments.names)
        print(json.dumps(entry) if arguments.json else _text(entry))
    return 0


def describe(name: str, count: bool) -> dict[str, Any]:
    """Return what is known of a library.

    `soils` holds the number of soils with each property, or None if its files were not read.

    Raises:
        CcnvrError: the soils are to be counted, and the library cannot be read.
    """
    library = LIBRARIES[name]
    path = library.present()
    soils: dict[str, int] | None = None
    # A large library takes minutes to read, so it is counted only if it is named.
    if count or (path is not None and not library.large):
        loaded = libraries.load_library(name, _ANYWHERE)
        known = {name: int(np.sum(~np.isnan(loaded.column(name)))) for name in PROPERTIES}
        soils = {"all": len(loaded), **known}
        # Asked again, because reading a library may have fetched its file.
        path = library.present()
    return {
        "name": name,
        "present": path is not None,
        "file": None if path is None else str(path),
        "parts": [*library.parts, *(f"{label}=..." for label in library.labels)],
        "soils": soils,
        "units": UNITS,
        "values": library.values,
        "licence": library.licence,
        "origin": library.origin,
    }


def _text(entry: dict[str, Any]) -> str:
    where = entry["file"] or "not at hand"
    parts = f"; parts {', '.join(entry['parts'])}" if entry["parts"] else ""
    lines = [f"{entry['name']}: {where}{parts}"]
    if entry["soils"]:
        counts = [
            f"{name} {number}"
            for name, number in entry["soils"].items()
            if number and name != "all"
        ]
        lines.append(f"  {entry['soils']['all']} soils; {', '.join(counts)}")
    elif entry["present"]:
        lines.append(f"  large; ccnvr data {entry['name']} reads and counts its soils")
    lines += [
        f"  values: {entry['values']}",
        f"  licence: {entry['licence']}",
        f"  from: {entry['origin']}",
    ]
    return "\n".join(lines)

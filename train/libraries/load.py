"""Spectral libraries, harmonised: absorbance on one grid, OC and N in g/kg, CEC in cmol(+)/kg, pH,
clay in %.

`load("nirsoil:train")` names a library of `catalogue.SOURCES` and a part. Parts are `train` and
`test`, a library's official split (for a LimeSoDa set, the official folds without and with
`limesoda.HELD_OUT_FOLD`), and what else it defines. No part means all soils. `load("mine.csv")` and
`load("mine.parquet")` read the user's own soils, see `own_files`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np

from ccnvr.edge.chemometrics.grid import Grid, WavelengthError, naming_source
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries import own_files
from ccnvr.train.libraries.catalogue import SOURCES, library_and_part
from ccnvr.train.libraries.properties import PROPERTIES as PROPERTIES
from ccnvr.train.libraries.properties import UNITS as UNITS
from ccnvr.train.libraries.sensor import Sensor, View
from ccnvr.train.libraries.soils import Rows, Soils


@dataclass(frozen=True)
class Library:
    """Soils of one library on one grid; `targets` is `(n, len(PROPERTIES))`, NaN where not
    measured.

    `notes` says how a user's file was harmonised.
    """

    name: str
    sample_ids: list[str]
    spectra: Array
    targets: Array
    notes: str = ""


@dataclass(frozen=True)
class Pool:
    """Several libraries joined, soils in rows; `origin` is the library of each soil, `notes` are
    those of users' files.
    """

    sample_ids: list[str]
    origin: list[str]
    spectra: Array
    targets: Array
    notes: dict[str, str] = field(default_factory=dict)


def load(
    spec: str, grid: Grid, file_quantity: str = "reflectance", instrument: Sensor | None = None
) -> Library:
    """One library, `NAME`, `NAME:PART` or a path that ends in .csv or .parquet, resampled onto
    `grid`.

    `file_quantity` is what a file holds, one of `spectra_table.QUANTITIES`. `instrument` sees the
    spectra first, if one is given.

    Raises:
        UsageError: see `check`; or its data are not to be found.
        DataError: its file is not as published.
        CcnvrError: its file is not at hand and cannot be fetched.
        WavelengthError: the library does not cover the grid, or cannot show what the instrument
            sees; names it.
    """
    check(spec)
    with naming_source(spec):
        return _load(spec, file_quantity, View(grid, instrument))


def _load(spec: str, file_quantity: str, view: View) -> Library:
    if spec.endswith(own_files.ENDINGS):
        path = Path(spec)
        # With its ending, so that no file can pass for a published library.
        return _library(path.name, own_files.read(path, file_quantity, view), "")
    name, part = library_and_part(spec)
    return _library(name, SOURCES[name].read(view, part), part)


def check(spec: str) -> None:
    """Before anything is fetched: whether `load` knows the name.

    Raises:
        UsageError: it is no known library or part, and no file of the user's.
    """
    name, part = library_and_part(spec)
    if spec.endswith(own_files.ENDINGS):
        return
    if name.endswith(own_files.ENDINGS):
        raise UsageError(f"{spec!r}: a file of your own has no parts; name it as {name!r}")
    if name not in SOURCES:
        raise UsageError(
            f"library {name!r} is not one of {', '.join(SOURCES)}, or a .csv or .parquet file"
        )
    parts = SOURCES[name].parts
    if part and not parts:
        raise UsageError(f"library {name} has no official parts; name it without {part!r}")
    if part and part not in parts:
        raise UsageError(
            f"part {part!r} of library {name!r} is not {' or '.join(parts)}; leave it out for all "
            "soils"
        )


def _library(name: str, soils: Soils, part: str) -> Library:
    """The soils of one part, with the properties in order."""
    missing = np.full(len(soils.sample_ids), np.nan)
    targets = np.stack([soils.measured.get(name, missing) for name in PROPERTIES], axis=1)
    if not part:
        return Library(name, soils.sample_ids, soils.spectra, targets, soils.notes)
    rows = np.flatnonzero(soils.parts[part])
    if not rows.size:
        raise DataError(
            f"part {part!r} of library {name!r} holds no soil; leave it out for all soils, or "
            "fetch the file again"
        )
    return Library(
        name,
        [soils.sample_ids[row] for row in rows],
        soils.spectra[rows],
        targets[rows],
        soils.notes,
    )


def open_sets(grid: Grid, instrument: Sensor | None = None) -> tuple[str, ...]:
    """LimeSoDa's sets that cover the grid, if it is installed: an export is proved on real spectra,
    and a user's alone may be too few.
    """
    covering = []
    for name in limesoda.VISNIR_SETS:
        try:
            load(name, grid, instrument=instrument)
        except (UsageError, WavelengthError):
            continue
        covering.append(name)
    return tuple(covering)


def join(libraries: Iterable[Library]) -> Pool:
    """Stack libraries that share a grid, one after the other: give an iterator, and each is let go
    before the next is read.
    """
    iterator = iter(libraries)
    first = next(iterator)
    pool = Pool(
        list(first.sample_ids),
        [first.name] * len(first.sample_ids),
        first.spectra,
        first.targets,
        {first.name: first.notes},
    )
    second = next(iterator, None)
    # One library alone is not copied.
    if second is None:
        return pool
    spectra, targets = Rows(first.spectra.shape[1]), Rows(len(PROPERTIES))
    spectra.append(first.spectra)
    targets.append(first.targets)
    del first
    for library in chain([second], iterator):
        pool.sample_ids.extend(library.sample_ids)
        pool.origin.extend([library.name] * len(library.sample_ids))
        pool.notes[library.name] = library.notes
        spectra.append(library.spectra)
        targets.append(library.targets)
    return replace(pool, spectra=spectra.finish(), targets=targets.finish())


def source(name: str, notes: str = "") -> dict[str, str]:
    """Licence, origin and treatment of a library's values; `notes` are those of a user's file."""
    if name not in SOURCES:
        return {"licence": "the user's own file", "values": notes or "as the file states them"}
    return {"licence": SOURCES[name].licence, "values": SOURCES[name].values}

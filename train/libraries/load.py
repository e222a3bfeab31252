"""Load soils of spectral libraries onto one grid.

Spectra become absorbance, and values are in the units of `properties.KNOWN`.

A library is named as `NAME` or `NAME:PART`, after `catalogue.LIBRARIES`: `nirsoil:train`. The parts
`train` and `test` are the library's official split; for a LimeSoDa set they are the official folds
without `limesoda.HELD_OUT_FOLD`, and that fold. Some libraries define more parts, or labels to
select soils by, see `parts`. Without a part all soils are loaded. A path such as `mine.csv` or
`mine.parquet` names a file of the user's own soils, see `own.files`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from ccnvr.edge.chemometrics.grid import Grid, WavelengthError, naming_source
from ccnvr.edge.spectrum_files import limesoda
from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.catalogue import LIBRARIES, library_and_part
from ccnvr.train.libraries.own import files as own_files
from ccnvr.train.libraries.parts import selection
from ccnvr.train.libraries.properties import PROPERTIES, Property
from ccnvr.train.libraries.published.icraf import GAPS_NM
from ccnvr.train.libraries.sensor import Sensor, View
from ccnvr.train.libraries.soils import Rows, Soils

NEAR_INFRARED = Grid(1104.0, 2.0, 696)
"""The near infrared that all open libraries share, less a margin of 4 nm."""

WITH_WORLD = Grid.between(1110.0, 2450.0, 10.0, GAPS_NM)
"""The near infrared that ICRAF shares with the other open libraries."""


def load_library(
    name: str,
    grid: Grid = NEAR_INFRARED,
    *,
    quantity: str = "reflectance",
    sensor: Sensor | None = None,
    properties: Mapping[str, Property] | None = None,
) -> Soils:
    """Load the soils of a library onto a grid; a small published file is fetched when first used.

    Args:
        name: `NAME`, `NAME:PART`, or a path that ends in .csv or .parquet.
        grid: the wavelengths of the result.
        quantity: what a file of the user's holds, one of `spectra_table.QUANTITIES`.
        sensor: if given, the spectra are those that this sensor would measure.
        properties: further properties that a file of the user's may have, or other ranges.

    Raises:
        UsageError: the name is unknown (see `check`), or its files are not found.
        DataError: a file differs from the published one.
        CcnvrError: a file is not at hand and cannot be fetched.
        WavelengthError: the library does not cover the grid, or its bands are too coarse for the
            sensor.
    """
    check(name)
    view = View(grid, sensor)
    with naming_source(name):
        if name.endswith(own_files.ENDINGS):
            return own_files.read(Path(name), quantity, view, properties or {})
        library, part = library_and_part(name)
        return _part(library, LIBRARIES[library].read(view, part), part)


def check(name: str) -> None:
    """Refuse a name that `load_library` does not know, before anything is fetched.

    Raises:
        UsageError: it is neither a known library, with a known part, nor a file of the user's.
    """
    library, part = library_and_part(name)
    if name.endswith(own_files.ENDINGS):
        return
    if library.endswith(own_files.ENDINGS):
        raise UsageError(f"{name!r}: a file of your own has no parts; name it as {library!r}")
    if library not in LIBRARIES:
        raise UsageError(
            f"library {library!r} is not one of {', '.join(LIBRARIES)}, or a .csv or .parquet file"
        )
    parts, labels = LIBRARIES[library].parts, LIBRARIES[library].labels
    if labels and selection(part, labels) is not None:
        return
    if part and labels:
        raise UsageError(
            f"library {library!r} has no part {part!r}; select soils by "
            f"{' or '.join(f'{label}=...' for label in labels)}, or leave it out for all soils"
        )
    if part and not parts:
        raise UsageError(f"library {library} has no official parts; name it without {part!r}")
    if part and part not in parts:
        raise UsageError(
            f"part {part!r} of library {library!r} is not {' or '.join(parts)}; leave it out for "
            "all soils"
        )


def _part(library: str, soils: Soils, part: str) -> Soils:
    if not part:
        return replace(soils, parts={}, labels={})
    selected = selection(part, LIBRARIES[library].labels)
    if selected is not None:
        soils = replace(soils, parts={part: selected.rows(soils)})
    if not soils.parts[part].any():
        raise DataError(
            f"part {part!r} of library {library!r} holds no soil; leave it out for all soils, or "
            "fetch the file again"
        )
    return soils.rows(soils.parts[part])


def open_sets(grid: Grid, sensor: Sensor | None = None) -> tuple[str, ...]:
    """Return the names of LimeSoDa's sets that cover the grid; none if LimeSoDa is not installed.

    An export is proved on real spectra, and a user's own may be too few for that.
    """
    covering = []
    for name in limesoda.VISNIR_SETS:
        try:
            load_library(name, grid, sensor=sensor)
        # LimeSoDa is not installed, or the set does not reach far enough.
        except (UsageError, WavelengthError):
            continue
        covering.append(name)
    return tuple(covering)


def join(libraries: Iterable[Soils]) -> Soils:
    """Stack the soils of at least one library; all share their grid.

    Given an iterator, each library is released before the next one is loaded.
    """
    iterator = iter(libraries)
    first = next(iterator)
    second = next(iterator, None)
    # A single library is not copied: it may fill half of the memory.
    if second is None:
        return first
    joined = replace(
        first,
        sample_ids=list(first.sample_ids),
        origin=list(first.origin),
        parts={},
        labels={},
        groups=None,
    )
    sites = [] if first.sites is None else list(first.sites)
    notes = dict(first.notes)
    spectra, laboratory = Rows(first.grid.bands), [_without_spectra(first)]
    spectra.append(first.spectra)
    del first
    for library in chain([second], iterator):
        if library.sites is not None or sites:
            # Without a profile a soil stands for itself.
            sites += joined.sample_ids[len(sites) :]
            sites += library.sites or library.sample_ids
        joined.sample_ids.extend(library.sample_ids)
        joined.origin.extend(library.origin)
        notes |= library.notes
        spectra.append(library.spectra)
        laboratory.append(_without_spectra(library))
    measured = {name: None for soils in laboratory for name in soils.properties}
    properties = tuple(dict.fromkeys([*filter(measured.__contains__, PROPERTIES), *measured]))
    return replace(
        joined,
        spectra=spectra.finish(),
        values=np.concatenate([soils.of(properties).values for soils in laboratory]),
        properties=properties,
        notes=notes,
        sites=sites or None,
    )


def _without_spectra(soils: Soils) -> Soils:
    return replace(soils, spectra=np.empty((len(soils), 0)))


def source(name: str, notes: str = "") -> dict[str, str]:
    """Return the licence of a library and the treatment of its values, for a model card.

    `notes` says how the values of a user's file were converted.
    """
    if name not in LIBRARIES:
        return {"licence": "the user's own file", "values": notes or "as the file states them"}
    return {"licence": LIBRARIES[name].licence, "values": LIBRARIES[name].values}

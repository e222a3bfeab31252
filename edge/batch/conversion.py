"""Files of spectra -> one CSV table of reflectance over wavelengths in nm."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.batch.predict_files import fractions
from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES, SpectraTable, as_fraction
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError


def convert(blocks: Iterable[SpectraTable], quantity: str | None, stream: IO[str]) -> int:
    """Write the spectra as fractions of reflectance, empty where missing; return their number.

    Other columns are kept if all files have the same ones.

    Raises:
        UsageError: a file has other wavelengths or other columns than the first, or its values are
            not of its quantity.
    """
    writer = csv.writer(stream, lineterminator="\n")
    first: SpectraTable | None = None
    count = 0
    for table in blocks:
        if first is None:
            first = table
            names = [name for name in table.columns if name]
            # Ten digits keep any wavelength that instruments state; eight of reflectance are more
            # than float32 resolves.
            bands = [f"{nm:.10g}" for nm in table.wavelengths_nm]
            writer.writerow(["sample_id", *names, *bands])
        _check_alike(first, table)
        reflectance = _checked(table, quantity)
        for row, sample_id in enumerate(table.sample_ids):
            others = [table.columns[name][row] for name in names]
            cells = ["" if np.isnan(value) else f"{value:.8g}" for value in reflectance[row]]
            writer.writerow([sample_id, *others, *cells])
        count += len(table.sample_ids)
    return count


def _check_alike(first: SpectraTable, table: SpectraTable) -> None:
    # Exactly, since one header must name the bands of every row.
    if not np.array_equal(first.wavelengths_nm, table.wavelengths_nm):
        raise UsageError(
            f"{table.path} has other wavelengths than {first.path}; convert the files of each "
            "instrument into a table of their own"
        )
    if list(first.columns) != list(table.columns):
        raise UsageError(
            f"{table.path} has other columns than {first.path}; convert them into tables of their "
            "own"
        )


def _checked(table: SpectraTable, quantity: str | None) -> Array:
    """Return the table's reflectance, checked over the bands with values that it can have."""
    held = table.held_quantity(quantity)
    low, high = QUANTITIES[held]
    possible = np.all((table.spectra > low) & (table.spectra < high), axis=0)
    usable = _longest_run(possible)
    # The ends of a detector may hold noise; where most of a spectrum is wrong, all is refused.
    if usable.stop - usable.start < possible.size // 2:
        usable = slice(None)
    fractions(table, quantity, usable)
    return as_fraction(table.spectra, held)


def _longest_run(kept: NDArray[np.bool_]) -> slice:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(int)))
    if not edges.size:
        return slice(0, 0)
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    return slice(int(starts[longest]), int(stops[longest]))

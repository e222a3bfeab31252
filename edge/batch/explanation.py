"""An explanation, for a person, of how a file was understood."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np

from ccnvr.edge.spectrum_files.messages import listed
from ccnvr.edge.spectrum_files.spectra_table import SpectraTable


def explained(blocks: Iterable[SpectraTable], quantity: str | None) -> str:
    """Return lines on the format, axis, quantity, spectra, other columns and choices of a file.

    `quantity` is what the user says that it holds.
    """
    iterator = iter(blocks)
    first = next(iterator)
    count, missing, samples = 0, 0, first.sample_ids[:3]
    low, high = np.inf, -np.inf
    for table in chain([first], iterator):
        count += len(table.sample_ids)
        missing += int(np.count_nonzero(np.isnan(table.spectra)))
        # The initial values keep a block that is all NaN from warning or failing.
        low = min(low, float(np.nanmin(table.spectra, initial=np.inf)))
        high = max(high, float(np.nanmax(table.spectra, initial=-np.inf)))
    wavelengths = first.wavelengths_nm
    held = first.held_quantity(quantity)
    said = "the file says so" if first.quantity else "--quantity says so" if quantity else "assumed"
    likelier = first.likelier_quantity(held)
    of_axis = "stated" if first.reading.axis_stated else "deduced from the numbers"
    lines = [
        f"{first.path}: {first.reading.format}",
        f"  axis: {first.reading.axis} ({of_axis}); {wavelengths[0]:g} to {wavelengths[-1]:g} nm, "
        f"{wavelengths.size} bands",
        f"  quantity: {held} ({said}); "
        + (f"values from {low:.4g} to {high:.4g}" if low <= high else "no values")
        + (f", {missing} missing" if missing else "")
        + (
            f"; read as {likelier} it shows the water of soils: give --quantity {likelier}"
            if likelier
            else ""
        ),
        f"  spectra: {count}, {listed(samples, 3)}{', ...' if count > len(samples) else ''}",
    ]
    if others := [name for name in first.columns if name]:
        lines.append(f"  other columns: {listed(others, 12)}")
    lines += [f"  note: {note}" for note in first.reading.notes]
    return "\n".join(lines) + "\n"

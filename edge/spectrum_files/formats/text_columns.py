"""Numbers in columns of text, and the splicing of detectors that overlap."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ccnvr.edge.spectrum_files.formats.raw_spectrum import MOST_POINTS, Malformed
from ccnvr.edge.spectrum_files.messages import shown
from ccnvr.firmware_bridge.arrays import Array

# Where Spectra Vista's and Spectral Evolution's detectors meet, in nm, unless the file says.
_JUNCTIONS = (990.0, 1900.0)
# The silicon detector drifts with temperature, by a few percent; more is no drift.
_LARGEST_DRIFT = 0.2
# It drifts less at shorter wavelengths; the power is what Spectra Vista's own software shows.
_TAPER = 1.3
_FEWEST_BANDS = 16
_WIDEST_STEP_NM = 20.0
_WIDEST_OVERLAP_NM = 150.0


def columns(lines: list[str], start: int, width: int) -> Array:
    """Return the numbers from line `start` on, `(rows, width)`.

    Raises:
        Malformed: a line holds something else, or has another number of columns.
    """
    rows = []
    for number, line in enumerate(lines[start:], start=start + 1):
        cells = line.split()
        if not cells:
            continue
        try:
            # Instruments write the decimal comma of their computer's language.
            row = [float(cell if "." in cell else cell.replace(",", ".")) for cell in cells]
        except ValueError:
            raise Malformed(f"line {number} is {shown(line)} and must be numbers") from None
        if len(row) != width:
            raise Malformed(f"line {number} has {len(row)} columns where {width} belong")
        rows.append(row)
        if len(rows) > MOST_POINTS:
            raise Malformed(f"has more than {MOST_POINTS} rows")
    return np.array(rows, dtype=np.float64).reshape(-1, width)


def spliced(
    axis: Array, values: Array, junctions: tuple[float, ...] = _JUNCTIONS
) -> tuple[Array, Array, tuple[str, ...]]:
    """Return axis and values with each detector cut where the next takes over, and a note of it.

    `axis` runs up through each detector, and back where the next begins. As Spectra Vista's
    software does, the first detector is scaled to agree with the second over their overlap, less
    and less towards its short end; the third is taken as it is, since the overlap at 1900 nm lies
    in water's band. An axis that does not turn back, or otherwise than detectors do, returns
    unchanged.
    """
    turns = np.flatnonzero(np.diff(axis) <= 0.0)
    pieces = list(zip(np.split(axis, turns + 1), np.split(values, turns + 1), strict=True))
    if not turns.size or not _are_detectors([places for places, _ in pieces]):
        return axis, values, ()
    notes, cuts = [], []
    for number, ((left, _), (right, _)) in enumerate(pairwise(pieces)):
        inside = [place for place in junctions if right[0] < place < left[-1]]
        cuts.append(inside[0] if inside else (right[0] + left[-1]) / 2.0)
        if number == 0:
            pieces[0], note = _matched(pieces[0], pieces[1])
            notes += note
    edges = [-np.inf, *cuts, np.inf]
    kept = [
        (places >= low) & (places < high)
        for (places, _), low, high in zip(pieces, edges, edges[1:], strict=False)
    ]
    axis = np.concatenate(
        [places[inside] for (places, _), inside in zip(pieces, kept, strict=True)]
    )
    values = np.concatenate([part[inside] for (_, part), inside in zip(pieces, kept, strict=True)])
    where = " and ".join(f"{cut:g}" for cut in cuts)
    return axis, values, (f"overlapping detectors are spliced at {where} nm", *notes)


def _are_detectors(pieces: list[Array]) -> bool:
    """Whether pieces of an axis are detectors that overlap as those of a field spectrometer."""
    if len(pieces) > len(_JUNCTIONS) + 1 or not all(
        piece.size >= _FEWEST_BANDS and np.diff(piece).max() <= _WIDEST_STEP_NM for piece in pieces
    ):
        return False
    return all(
        left[0] < right[0] <= left[-1] < right[-1] and left[-1] - right[0] <= _WIDEST_OVERLAP_NM
        for left, right in pairwise(pieces)
    )


def _matched(
    first: tuple[Array, Array], second: tuple[Array, Array]
) -> tuple[tuple[Array, Array], list[str]]:
    """Return the first detector's axis and values, scaled to the second's, and a note of it."""
    axis, values = first
    overlap = second[0][0], axis[-1]
    own = values[(axis >= overlap[0]) & (axis <= overlap[1])]
    other = second[1][(second[0] >= overlap[0]) & (second[0] <= overlap[1])]
    factor = float(np.mean(other) / np.mean(own)) if own.size and other.size else np.nan
    if not abs(factor - 1.0) <= _LARGEST_DRIFT:
        return first, ["the first detector is not scaled, since it disagrees too much"]
    share = (axis - axis[0]) / (axis[-1] - axis[0])
    scaled = values * (1.0 + (factor - 1.0) * share**_TAPER)
    return (axis, scaled), [f"the first detector is scaled by {factor:.3f} at its long end"]

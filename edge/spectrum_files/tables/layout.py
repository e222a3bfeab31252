"""Which columns of a table of soils in rows are bands, by the names of its columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ccnvr.edge.spectrum_files.formats.raw_spectrum import AxisUnit
from ccnvr.edge.spectrum_files.messages import NoSpectra, listed, shown
from ccnvr.edge.spectrum_files.spectra_table import UNSAID, Reading
from ccnvr.edge.spectrum_files.tables import axis, names
from ccnvr.edge.spectrum_files.tables.axis import Claim
from ccnvr.edge.spectrum_files.tables.names import Place
from ccnvr.firmware_bridge.arrays import Array, median
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen

_MOST_COLUMNS = 20_000
# A set of so many columns is a second set of spectra and no accident.
_FEWEST_OF_A_SET = 10
# Columns are no bands of a spectrum that lies so many of its steps away, such as the bounds of
# particle sizes (2, 20, 50 um).
_FAR = 50.0
_STRAYS = 8


class NoAxis(UsageError):
    """The columns of a table are not its bands; the table may be transposed."""


@frozen
class TableOptions:
    """What the user says of tables: the unit of the axis, the column of the soils' ids, whether
    soils are in `rows` or `columns`, and the sheet of a workbook; None where the file decides.

    With `require_ids`, a table that names no soils is refused instead of numbered.
    """

    axis: str | None = None
    id_column: str | None = None
    soils: str | None = None
    sheet: str | None = None
    require_ids: bool = False

    @property
    def unit(self) -> AxisUnit | None:
        """The unit that `axis` names."""
        return None if self.axis is None else axis.UNITS[self.axis]


AS_IT_SAYS = TableOptions()
"""Nothing is said by the user."""

NAMED = TableOptions(require_ids=True)
"""The table must name its soils, because scans of one soil belong together."""


@frozen
class Layout:
    """Which columns are wavelengths, in increasing order, which names the soils, and the others."""

    header: list[str]
    bands: list[int]
    others: dict[str, int]
    wavelengths_nm: Array
    id_column: int | None = None
    quantity: str | None = None
    reading: Reading = UNSAID


def layout(
    path: Path, header: list[str], options: TableOptions = AS_IT_SAYS, decimal: str = "."
) -> Layout:
    """Return what the names of a table's columns say.

    Raises:
        UsageError: there are no bands, or too many columns, or one stands twice.
    """
    header = [name.strip() for name in header]
    if len(header) > _MOST_COLUMNS:
        raise UsageError(
            f"{path} has {len(header)} columns, more than {_MOST_COLUMNS}; give soils in rows, "
            "bands in columns"
        )
    places, strays = _bands(path, header, decimal)
    claim = _claim(places)
    numbers = np.array([found.number for found in places.values()])
    try:
        unit, stated = axis.understand(numbers, claim, options.unit)
    except axis.NotAnAxis as error:
        # A few numbered columns are no spectrum that lacks its unit.
        kind = NoAxis if len(places) >= _FEWEST_OF_A_SET else NoSpectra
        raise kind(
            f"{path} has columns named {_ends(header, places)}: the numbers {error}"
        ) from None
    wavelengths = axis.nanometres(numbers, unit)
    order = np.argsort(wavelengths)
    columns = list(places)
    others = _others(path, header, set(columns))
    id_column = _id_column(path, header, others, options)
    return Layout(
        header,
        [columns[place] for place in order],
        others,
        wavelengths[order],
        id_column,
        next(iter(places.values())).quantity,
        Reading(
            "table, soils in rows",
            f"{_AXES[unit]}, {_ends(header, places)}",
            stated,
            _notes(header, strays, id_column, unit),
        ),
    )


_AXES = {
    AxisUnit.NANOMETRE: "wavelengths in nm",
    AxisUnit.MICROMETRE: "wavelengths in um",
    AxisUnit.WAVENUMBER: "wavenumbers in cm-1",
}


def axis_words(unit: AxisUnit) -> str:
    """Return a unit in words."""
    return _AXES[unit]


def _notes(
    header: list[str], strays: list[int], id_column: int | None, unit: AxisUnit
) -> tuple[str, ...]:
    notes = []
    if unit is not AxisUnit.NANOMETRE:
        notes.append(f"{_AXES[unit]} are converted to nm")
    if id_column is None:
        notes.append("no column names the soils, so they are numbered 1, 2, 3 (or give --id)")
    elif header[id_column] != "sample_id":
        notes.append(f"the soils are named by the column {shown(header[id_column])}")
    if strays:
        named = listed([header[column] for column in strays])
        notes.append(f"the columns {named} are not part of the spectrum, and are passed over")
    return tuple(notes)


def _claim(places: dict[int, Place]) -> Claim:
    return next(iter(places.values())).claim


def _ends(header: list[str], places: dict[int, Place]) -> str:
    by_number = sorted(places, key=lambda column: places[column].number)
    return f"{shown(header[by_number[0]], 24)} to {shown(header[by_number[-1]], 24)}"


def _bands(path: Path, header: list[str], decimal: str) -> tuple[dict[int, Place], list[int]]:
    """Return the columns that are places on one axis, and those that only look so."""
    sets = [found for found in names.families(header, decimal) if len(found) >= 2]
    if not sets:
        count = sum(names.place(name, decimal) is not None for name in header)
        raise NoSpectra(
            f"{path} has {count} columns named by a wavelength in nm, as 1100 or 1102.5, and needs "
            "two or more; name each band so, or leave the file out if it holds no spectra (its "
            f"columns begin with {listed(header)})"
        )
    large = [found for found in sets if len(found) >= _FEWEST_OF_A_SET]
    chosen = _chosen(path, header, sets[0], large)
    places, strays = _without_strays(chosen)
    strays += [column for found in large if found is not chosen for column in found]
    _check_each_once(path, header, places)
    return places, strays


def _check_each_once(path: Path, header: list[str], places: dict[int, Place]) -> None:
    """Refuse columns of which two name one wavelength."""
    numbers = [found.number for found in places.values()]
    if len(set(numbers)) != len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        same = [header[column] for column, found in places.items() if found.number == twice]
        raise NoAxis(
            f"{path} has {len(numbers)} columns of only {len(set(numbers))} wavelengths, as "
            f"{listed(same)} are the same; keep one column of each wavelength"
        )


def _chosen(
    path: Path, header: list[str], largest: dict[int, Place], large: list[dict[int, Place]]
) -> dict[int, Place]:
    """Return the set of columns that is the spectrum.

    Raises:
        UsageError: there are two such sets.
    """
    in_nm = [found for found in large if _claim(found) is not Claim.WAVENUMBER]
    if len(in_nm) == 1:
        # As in the Open Soil Spectral Library, which has the mid-infrared beside.
        return in_nm[0]
    for second in large[1:]:
        if 2 * len(second) > len(largest):
            raise UsageError(
                f"{path} holds two sets of spectra, in columns named {_ends(header, largest)} and "
                f"{_ends(header, second)}; keep one of them"
            )
    return largest


def _without_strays(places: dict[int, Place]) -> tuple[dict[int, Place], list[int]]:
    """Return the bands without the few numbers that lie far from them all."""
    kept = _longest_run(places)
    numbers = np.sort([found.number for found in kept.values()])
    steps = np.diff(numbers)
    breaks = np.flatnonzero(steps > _FAR * median(steps))
    for at in breaks:
        below, above = numbers[: at + 1], numbers[at + 1 :]
        few, many = (below, above) if below.size < above.size else (above, below)
        if few.size <= _STRAYS and many.size >= _FEWEST_OF_A_SET:
            left_out = set(few.tolist())
            kept = {column: found for column, found in kept.items() if found.number not in left_out}
    return kept, [column for column in places if column not in kept]


def _longest_run(places: dict[int, Place]) -> dict[int, Place]:
    """Return the bands without numbers that stand a second time, away from the longest run."""
    numbers = [found.number for found in places.values()]
    if len(set(numbers)) == len(numbers):
        return places
    columns = list(places)
    runs, start = [], 0
    for at in range(1, len(columns) + 1):
        if at == len(columns) or not (
            columns[at] == columns[at - 1] + 1 and numbers[at] > numbers[at - 1]
        ):
            runs.append(columns[start:at])
            start = at
    run = max(runs, key=len)
    if len(run) < _FEWEST_OF_A_SET or len(columns) - len(run) > _STRAYS:
        return places
    inside = {places[column].number for column in run}
    return {
        column: found
        for column, found in places.items()
        if column in run or found.number not in inside
    }


def _others(path: Path, header: list[str], bands: set[int]) -> dict[str, int]:
    others: dict[str, int] = {}
    for column, name in enumerate(header):
        if column in bands:
            continue
        if name and name in others:
            raise UsageError(f"{path} has the column {name} more than once; keep one of them")
        others[name] = column
    return others


def _id_column(
    path: Path, header: list[str], others: dict[str, int], options: TableOptions
) -> int | None:
    if options.id_column is not None:
        if options.id_column not in others:
            raise UsageError(
                f"{path} has no column {shown(options.id_column)}; --id can be one of these: "
                f"{listed(filter(None, others))}"
            )
        return others[options.id_column]
    candidates = list(others.values())
    chosen = names.identifier([header[column] for column in candidates])
    if chosen is not None:
        return candidates[chosen]
    if options.require_ids:
        first = listed(filter(None, others))
        raise UsageError(f"{path} has no column sample_id; name one so, of these: {first}")
    return None

"""Tables with soils in columns: a column of wavelengths, and a column of values for each soil.

Two columns alone are one soil, as in Bruker's data point tables and in what most instruments export
as text.
"""

from __future__ import annotations

import numpy as np

from ccnvr.edge.spectrum_files.formats.raw_spectrum import MOST_POINTS, MOST_SPECTRA, AxisUnit
from ccnvr.edge.spectrum_files.messages import listed, shown
from ccnvr.edge.spectrum_files.spectra_table import Reading, SpectraTable
from ccnvr.edge.spectrum_files.tables import axis, names
from ccnvr.edge.spectrum_files.tables.axis import Claim, NotAnAxis
from ccnvr.edge.spectrum_files.tables.layout import TableOptions, axis_words
from ccnvr.edge.spectrum_files.tables.numbers import number
from ccnvr.edge.spectrum_files.tables.source import LARGEST_IN_MEMORY, Numbered, Source, bad_cell
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen

_FEWEST_PLACES = 8
# Row counters and temperatures in a log usually start below this; wavelengths in nm do not.
_FEWEST_NM = 150.0
# The values are transposed in memory, at 8 bytes a cell.
_MOST_CELLS = LARGEST_IN_MEMORY // 8


@frozen
class _Columns:
    """Where the axis stands, its meaning, and whether the first line names the columns."""

    column: int
    claim: Claim
    has_header: bool


def possible(source: Source, options: TableOptions) -> bool:
    """Whether the first rows are those of a table with soils in columns."""
    found = _find(source)
    if found is None:
        return False
    try:
        _check(_places(source, found), found, options)
    except NotAnAxis:
        return False
    return True


def named(source: Source) -> bool:
    """Whether a column says by its name that it is an axis."""
    found = _find(source)
    return found is not None and found.claim is not Claim.NOTHING


def why_not(source: Source, options: TableOptions) -> str | None:
    """Return why a table with an axis in a column cannot be read; None if no column is one."""
    found = _find(source)
    if found is None or not _is_likely(source, found):
        return None
    try:
        _check(_places(source, found, whole=True), found, options)
    except NotAnAxis as error:
        return (
            f"{source.path} has wavelengths or wavenumbers in its column {found.column + 1}: they "
            f"{error}"
        )
    return None


def _is_likely(source: Source, found: _Columns) -> bool:
    """Whether a column is an axis by its name, or beside one other, or by numbers that count
    nothing that a log holds.
    """
    if found.claim is not Claim.NOTHING or len(source.header) == 2:
        return True
    return bool(_places(source, found).min() >= _FEWEST_NM)


def read(source: Source, options: TableOptions) -> SpectraTable:
    """Read the whole table.

    Raises:
        UsageError: no column is an axis, or a value is not a number; names row and column.
    """
    found = _find(source)
    if found is None:
        raise UsageError(
            f"{source.path} has no column of wavelengths; name one Wavelength, or transpose the "
            "table"
        )
    if len(source.header) - 1 > MOST_SPECTRA:
        raise UsageError(
            f"{source.path} has {len(source.header)} columns below wavelengths in rows; give at "
            f"most {MOST_SPECTRA} soils in columns"
        )
    rows, others = _rows(source, found)
    places = np.array([place for place, _ in rows])
    try:
        unit, stated = axis.understand(places, found.claim, options.unit)
    except NotAnAxis as error:
        raise UsageError(
            f"{source.path} has wavelengths or wavenumbers in its column {found.column + 1}: they "
            f"{error}"
        ) from None
    # Joined detectors often repeat a wavelength, and nothing says which of the two values is right.
    if len(set(places.tolist())) != len(places):
        raise UsageError(f"{source.path} has a wavelength in several rows; keep one row of each")
    columns, skipped = _soil_columns(source, found)
    values = _values(source, found, rows, columns)
    # Spreadsheets export columns that were emptied; they are no soils.
    filled = ~np.all(np.isnan(values), axis=0)
    columns = [column for column, kept in zip(columns, filled, strict=True) if kept]
    if not columns:
        raise UsageError(
            f"{source.path} has no values beside its wavelengths; add a column of them"
        )
    wavelengths = axis.nanometres(places, unit)
    # Wavenumbers run the other way, and some instruments list wavelengths from the longest.
    order = np.argsort(wavelengths)
    sample_ids, quantity = _names(source, found, columns)
    return SpectraTable(
        source.path,
        [column + 1 for column in columns],
        sample_ids,
        wavelengths[order],
        values[np.ix_(order, filled)].T.copy(),
        {name: [row[column] for column in columns] for name, row in others.items()},
        quantity,
        "column",
        _reading(source, found, unit, stated, skipped),
    )


def _reading(
    source: Source, found: _Columns, unit: AxisUnit, stated: bool, skipped: list[str]
) -> Reading:
    notes = [*source.notes]
    if unit is not AxisUnit.NANOMETRE:
        notes.append(f"{axis_words(unit)} are converted to nm")
    if skipped:
        notes.append(f"the columns {listed(skipped)} are not spectra and are passed over")
    if not found.has_header and len(source.header) > 2:
        notes.append("no line names the soils, so they are numbered 1, 2, 3")
    return Reading("table, soils in columns", axis_words(unit), stated, tuple(notes))


def _find(source: Source) -> _Columns | None:
    """Return the column that is an axis: one that is named so, or else the first."""
    by_name = [
        (column, claim)
        for column, name in enumerate(source.header)
        # A name with a number, such as nm_350, is a band of a table with soils in rows.
        if (claim := names.names_axis(name)) is not None and names.place(name) is None
    ]
    column, claim = by_name[0] if by_name else (0, Claim.NOTHING)
    has_header = _is_number(source.header[column], source.decimal) is None
    found = _Columns(column, claim, has_header)
    places = _places(source, found)
    steps = np.diff(places)
    if places.size < _FEWEST_PLACES or len(source.header) < 2:
        return None
    # Running one way is necessary but not sufficient, since row counters do so too; the callers
    # check whether the numbers can be an axis.
    one_way = np.all(steps > 0.0) or np.all(steps < 0.0)
    return found if one_way else None


def _places(source: Source, found: _Columns, whole: bool = False) -> Array:
    """Return the numbers of the axis in the first rows, or in all, which are then gone."""
    rows = [row for _, row in (source.all_rows() if whole else source.preview())]
    if not found.has_header:
        rows.insert(0, source.header)
    places = (
        _is_number(row[found.column], source.decimal) for row in rows if len(row) > found.column
    )
    return np.array([place for place in places if place is not None])


def _check(places: Array, found: _Columns, options: TableOptions) -> None:
    axis.understand(places, found.claim, options.unit)


def _is_number(cell: str, decimal: str) -> float | None:
    try:
        value = number(cell, decimal)
    except ValueError:
        return None
    return None if np.isnan(value) else value


def _rows(
    source: Source, found: _Columns
) -> tuple[list[tuple[float, Numbered]], dict[str, list[str]]]:
    """Return the rows of values with their places, and the other rows by their first cell."""
    rows: list[tuple[float, Numbered]] = []
    others: dict[str, list[str]] = {}
    # Without a header, the first line was read as one and is the first row of values.
    if not found.has_header and (place := _is_number(source.header[found.column], source.decimal)):
        rows.append((place, (source.header_row, source.header)))
    width = len(source.header)
    for at, row in source.all_rows():
        while len(row) > width and not row[-1].strip():
            row = row[:-1]
        if len(row) != width:
            raise UsageError(
                f"{source.path} row {at} has {len(row)} columns where the first has {width}; "
                "correct the row"
            )
        place = _is_number(row[found.column], source.decimal)
        if place is None:
            others[row[found.column].strip()] = [cell.strip() for cell in row]
            continue
        rows.append((place, (at, row)))
        # Checked in each row, so that a huge file is refused before it fills the memory.
        if len(rows) > MOST_POINTS or len(rows) * width > _MOST_CELLS:
            raise UsageError(
                f"{source.path} is too large for a table with soils in columns; give soils in rows"
            )
    return rows, others


def _soil_columns(source: Source, found: _Columns) -> tuple[list[int], list[str]]:
    """Return the columns of soils, and the names of those that are something else.

    Raises:
        UsageError: the columns are several quantities of one soil.
    """
    header = source.header
    columns = [column for column in range(len(header)) if column != found.column]
    if not found.has_header:
        return columns, []
    index = [column for column in columns if _is_index(header, column, found)]
    columns = [column for column in columns if column not in index]
    quantities = [header[column] for column in columns if _is_quantity(header[column])]
    if quantities and len(columns) > 1:
        raise UsageError(
            f"{source.path} has {len(columns)} columns beside its wavelengths, named by what was "
            f"measured ({listed(quantities)}) and not by a soil; keep the wavelengths and the one "
            "column to be read"
        )
    return columns, [header[column] for column in index if header[column].strip()]


def _is_index(header: list[str], column: int, found: _Columns) -> bool:
    """Whether a column is a second axis, or numbers the rows in front of the first."""
    unnamed = not header[column].strip()
    return names.names_axis(header[column]) is not None or (column < found.column and unnamed)


def _is_quantity(name: str) -> bool:
    # R1 and R2 are soils, or replicates of one.
    return names.names_quantity(name) and names.place(name) is None


def _values(
    source: Source, found: _Columns, rows: list[tuple[float, Numbered]], columns: list[int]
) -> Array:
    values = np.empty((len(rows), len(columns)))
    for at, (_, (line, row)) in enumerate(rows):
        for place, column in enumerate(columns):
            try:
                values[at, place] = number(row[column], source.decimal)
            except ValueError:
                name = source.header[column] if found.has_header else str(column + 1)
                raise bad_cell(source.path, line, name, row[column]) from None
    return values


def _names(source: Source, found: _Columns, columns: list[int]) -> tuple[list[str], str | None]:
    """Return the names of the soils, and the quantity if the only column is named so."""
    stem = source.path.stem
    if not found.has_header:
        numbered = [f"{stem}/{at}" for at in range(1, len(columns) + 1)]
        return ([stem] if len(columns) == 1 else numbered), None
    header = [source.header[column].strip() for column in columns]
    # "Reflectance" above the only column names no soil, so the file's name does.
    if len(columns) == 1 and (names.names_quantity(header[0]) or not header[0]):
        return [stem], names.quantity_of(names.words_of(header[0]))
    if unnamed := [column for column, name in zip(columns, header, strict=True) if not name]:
        raise UsageError(
            f"{source.path} has no name above column {unnamed[0] + 1}, beside "
            f"{shown(header[0])}; name each soil"
        )
    return header, None

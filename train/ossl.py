"""The Open Soil Spectral Library (OSSL) v1.2, its Vis-NIR soils, from the user's copy of `ossl_all_L1_v1.2.csv.gz`.

Safanelli et al. 2025, PLoS ONE 20:e0296545. One row a soil: reflectance fractions in `scan_visnir.NNN_ref`, empty for soils
without a Vis-NIR scan, and laboratory values in columns named property_method_unit. The file is read as a stream, so memory
holds the spectra on the model's grid and little else.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.limesoda import DataError
from ccnvr.edge.preprocess import Grid
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.instrument import Instrument, View
from ccnvr.train.soils import Soils

Array = NDArray[np.float64]

FILE = "ossl_all_L1_v1.2.csv.gz"
ORIGIN = "which the Open Soil Spectral Library offers at soilspectroscopy.org"

# Column and factor to our unit: percent by mass x 10 = g/kg.
_PROPERTIES = {
    "OC": ("oc_usda.c729_w.pct", 10.0),
    "N": ("n.tot_usda.a623_w.pct", 10.0),
    "CEC": ("cec_usda.a723_cmolc.kg", 1.0),
    "pH": ("ph.h2o_usda.a268_index", 1.0),
}
_IDENTIFIER = "id.layer_uuid_txt"
_ROWS_AT_ONCE = 256


def read(folder: Path, grid: Grid, instrument: Instrument | None = None) -> Soils:
    """The soils that have a Vis-NIR scan of the whole grid; the others are passed over.

    Raises:
        UsageError: the file is not there.
        DataError: it is not as published; names row and column.
        WavelengthError: its wavelengths do not cover the grid.
    """
    path = folder / FILE
    try:
        with gzip.open(path, "rt", newline="", encoding="utf-8") as stream:
            return _read(path, csv.reader(stream), grid, instrument)
    except FileNotFoundError:
        raise UsageError(f"{path} is not there; put that file there, {ORIGIN}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch it again") from error


def _read(path: Path, rows: Iterator[list[str]], grid: Grid, instrument: Instrument | None) -> Soils:
    header = {name: column for column, name in enumerate(next(rows, []))}
    bands = [name for name in header if name.startswith("scan_visnir.") and name.endswith("_ref")]
    wanted = [_IDENTIFIER, *(column for column, _ in _PROPERTIES.values())]
    if missing := [name for name in wanted if name not in header]:
        raise DataError(f"{path} has no column {missing[0]}; it must be the file of that name of OSSL v1.2")
    wavelengths = np.array([_number(path, 1, name, name[len("scan_visnir.") : -len("_ref")]) for name in bands])
    needed = View(wavelengths, grid, instrument).needed
    view = View(wavelengths[needed], grid, instrument)
    used = [(bands[band], header[bands[band]]) for band in needed]
    sample_ids: list[str] = []
    blocks: list[tuple[Array, Array]] = []
    numbered = enumerate(rows, start=2)
    while block := list(islice(numbered, _ROWS_AT_ONCE)):
        parsed = [(row, _spectrum(path, number, row, used, len(header)), number) for number, row in block]
        kept = [(row, spectrum, number) for row, spectrum, number in parsed if np.all(spectrum > 0.0)]
        if kept:
            sample_ids += [f"ossl/{row[header[_IDENTIFIER]]}" for row, _, _ in kept]
            spectra = view(np.array([spectrum for _, spectrum, _ in kept]))
            values = [[_value(path, number, row, header, name) for name in _PROPERTIES] for row, _, number in kept]
            blocks.append((spectra, np.array(values)))
    if not blocks:
        raise DataError(f"{path} holds no soil with a Vis-NIR scan of {grid.start_nm:g}-{grid.stop_nm:g} nm; fetch it again")
    measured = np.concatenate([values for _, values in blocks])
    return Soils(
        sample_ids, np.concatenate([spectra for spectra, _ in blocks]), dict(zip(_PROPERTIES, measured.T, strict=True))
    )


def _spectrum(path: Path, number: int, row: list[str], used: list[tuple[str, int]], columns: int) -> Array:
    """The needed bands of a row; NaN where empty."""
    if len(row) != columns:
        raise DataError(f"{path} row {number} has {len(row)} columns where the header has {columns}; fetch it again")
    return np.array([_number(path, number, name, row[column]) for name, column in used])


def _value(path: Path, number: int, row: list[str], header: dict[str, int], name: str) -> float:
    column, factor = _PROPERTIES[name]
    return factor * _number(path, number, column, row[header[column]])


def _number(path: Path, number: int, column: str, cell: str) -> float:
    try:
        return float(cell) if cell not in ("", "NA") else float("nan")
    except ValueError:
        raise DataError(
            f"{path} row {number} column {column} is {cell!r} and must be a number or empty; fetch it again"
        ) from None

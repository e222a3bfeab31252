"""Read the Open Soil Spectral Library (OSSL) v1.2 and its NeoSpectra library.

Safanelli et al. 2025, PLoS ONE 20:e0296545. The user's copies of their csv.gz files have one row
per soil or scan: reflectance as a fraction in `scan_visnir.NNN_ref` or `scan_nir.NNN_ref`, and
laboratory values in columns named property_method_unit. Files are read as streams, so memory holds
the spectra on the model's grid and little else.

The NeoSpectra columns follow the chapter on it in the OSSL manual and the import table in
soilspectroscopy/ossl-imports; the files themselves were not available to test with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.published.tables import Row, Table
from ccnvr.train.libraries.sensor import View
from ccnvr.train.libraries.soils import Gathering, Soils

FILE = "ossl_all_L1_v1.2.csv.gz"
NEOSPECTRA_SPECTRA = "neospectra_nir_v1.2.csv.gz"
NEOSPECTRA_LABORATORY = "neospectra_soillab_v1.2.csv.gz"
ORIGIN = "which the Open Soil Spectral Library offers at soilspectroscopy.org"

# The column, and the factor to our unit: percent by mass x 10 = g/kg.
_PROPERTIES = {
    "OC": ("oc_usda.c729_w.pct", 10.0),
    "N": ("n.tot_usda.a623_w.pct", 10.0),
    "CEC": ("cec_usda.a723_cmolc.kg", 1.0),
    "pH": ("ph.h2o_usda.a268_index", 1.0),
    "clay": ("clay.tot_usda.a334_w.pct", 1.0),
}
_COLUMNS = [column for column, _ in _PROPERTIES.values()]
_IDENTIFIER = "id.layer_uuid_txt"
_SAMPLE = "id.sample_local_c"


def read(folder: Path, view: View) -> Soils:
    """Read the soils that have a Vis-NIR scan of the whole grid; the others are skipped.

    Raises:
        UsageError: the file does not exist.
        DataError: it differs from the published one; the message names row and column.
        WavelengthError: its wavelengths do not cover the grid.
    """
    table = _table(folder / FILE)
    table.require(_IDENTIFIER, *_COLUMNS)
    bands = table.bands(view, "scan_visnir.", "_ref")
    gathering = Gathering("ossl", view.grid, bands.matrix, list(_PROPERTIES))
    for row in table.rows():
        reflectance = row.spectrum(bands)
        if np.all(reflectance > 0.0):
            gathering.add(f"ossl/{row.text(_IDENTIFIER)}", absorbance(reflectance), _values(row))
    return _checked(gathering.finish(), table.path, view.grid)


def read_neospectra(folder: Path, view: View) -> Soils:
    """Read the handhelds' scans, 1350-2550 nm, of soils with a laboratory analysis.

    The scans of the nine handhelds are not averaged; those of one soil share its sample id.

    Raises:
        UsageError: a file does not exist.
        DataError: it differs from the published one; the message names row and column.
        WavelengthError: its wavelengths do not cover the grid.
    """
    laboratory = _table(folder / NEOSPECTRA_LABORATORY)
    laboratory.require(_SAMPLE, *_COLUMNS)
    values: dict[str, list[float]] = {}
    for row in laboratory.rows():
        sample = row.text(_SAMPLE)
        if sample in values:
            raise DataError(
                f"{laboratory.path} row {row.number} column {_SAMPLE} repeats {sample!r}; fetch it "
                "again"
            )
        values[sample] = _values(row)
    table = _table(folder / NEOSPECTRA_SPECTRA)
    table.require(_SAMPLE)
    bands = table.bands(view, "scan_nir.", "_ref")
    gathering = Gathering("neospectra", view.grid, bands.matrix, list(_PROPERTIES))
    for row in table.rows():
        reflectance = row.spectrum(bands)
        if np.all(reflectance > 0.0) and row.text(_SAMPLE) in values:
            gathering.add(
                f"neospectra/{row.text(_SAMPLE)}",
                absorbance(reflectance),
                values[row.text(_SAMPLE)],
            )
    return _checked(gathering.finish(), table.path, view.grid)


def _table(path: Path) -> Table:
    if not path.exists():
        raise UsageError(f"{path} is not there; put that file there, {ORIGIN}")
    return Table(path)


def _values(row: Row) -> list[float]:
    return [factor * row.value(column) for column, factor in _PROPERTIES.values()]


def _checked(soils: Soils, path: Path, grid: Grid) -> Soils:
    if not soils.sample_ids:
        raise DataError(f"{path} holds no soil with a Vis-NIR scan of {grid}; fetch it again")
    return soils

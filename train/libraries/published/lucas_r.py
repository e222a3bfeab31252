"""Read the R data file of the LUCAS survey of 2009."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccnvr.edge.spectrum_files.limesoda import DataError
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.train.libraries.sensor import View
from ccnvr.train.libraries.soils import ROWS_AT_ONCE, Rows


def possible_absorbance(spectra: Array) -> NDArray[np.bool_]:
    """Return where values can be absorbance of a soil; NaN cannot."""
    return (spectra > -0.3) & (spectra < 6.0)


def resampled(path: Path, spc: Any, view: View) -> Array:
    """Return the column `spc` of the frame on the view's grid, `(n, grid bands)`.

    Raises:
        DataError: its columns are not named by wavelengths, or a value is impossible.
        WavelengthError: its wavelengths do not cover the grid.
    """
    spectra = Rows(view.grid.bands)
    for first, block, matrix, names in _blocks(path, spc, view):
        possible = possible_absorbance(block)
        if not np.all(possible):
            row, band = np.unravel_index(int(np.argmin(possible)), block.shape)
            raise DataError(
                f"{path} row {first + row + 1} of LUCAS.SOIL, column spc {names[band]} is "
                f"{block[row, band]:g} and must be an absorbance from -0.3 to 6; fetch it again"
            )
        spectra.append(block @ matrix.T)
    return spectra.finish()


def _blocks(path: Path, spc: Any, view: View) -> Iterator[tuple[int, Array, Array, list[str]]]:
    """Yield a matrix or a data frame of bands in blocks of rows.

    Each block comes with the number of its first row and, for the bands that the view needs, its
    absorbance, the resampling matrix and the names.
    """
    if not isinstance(spc, Mapping) and getattr(spc, "coords", None) is None:
        raise DataError(
            f"{path}: the columns of spc have no names, which must be wavelengths in nm; fetch it "
            "again"
        )
    names = [
        str(name) for name in (spc if isinstance(spc, Mapping) else spc.coords[spc.dims[1]].values)
    ]
    try:
        wavelengths = np.array([float(name) for name in names])
    except ValueError as error:
        raise DataError(
            f"{path}: a column of spc is not named by its wavelength in nm ({error}); fetch it "
            "again"
        ) from error
    matrix = view.matrix(wavelengths)
    needed = np.flatnonzero(np.any(matrix != 0.0, axis=0))
    used = [names[band] for band in needed]
    columns = [np.asarray(spc[name]) for name in used] if isinstance(spc, Mapping) else None
    whole = np.asarray(spc if columns is None else ())
    soils = len(columns[0]) if columns else len(spc)
    for first in range(0, soils, ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        if columns is not None:
            block = np.stack([column[rows] for column in columns], axis=1)
        else:
            block = whole[rows][:, needed]
        yield first, block.astype(np.float64), matrix[:, needed], used


def read_frame(path: Path) -> Mapping[str, Any]:
    """Return the data frame `LUCAS.SOIL` of an Rdata file as a mapping of its columns.

    Raises:
        DataError: the file is damaged, does not hold the frame, or does not fit into memory.
    """
    # Imported here because rdata imports pandas, which takes a second that few commands need.
    import rdata

    try:
        with warnings.catch_warnings():
            # rdata warns about R attributes that it does not convert; none of them is used here.
            warnings.simplefilter("ignore", UserWarning)
            constructors = {
                **rdata.conversion.DEFAULT_CLASS_MAP,
                "data.frame": lambda columns, attributes: columns,
            }
            objects = rdata.conversion.convert(
                rdata.parser.parse_file(path), constructor_dict=constructors
            )
        frame: Mapping[str, Any] = objects["LUCAS.SOIL"]
    except MemoryError:
        raise DataError(
            f"{path} does not fit into memory; in R, write.csv(LUCAS.SOIL, 'LUCAS.SOIL_corr.csv', "
            "row.names = FALSE) makes the CSV file that is read as a stream"
        ) from None
    except Exception as error:  # rdata raises a dozen types on damaged files
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}); fetch it again"
        ) from error
    return frame

"""The public reader of spectrum files: from paths to absorbance."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path

from ccnvr.edge.chemometrics.preprocess import absorbance
from ccnvr.edge.spectrum_files.read import read_tables
from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES, SpectraTable
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.frozen import frozen


@frozen(eq=False)
class FileSpectra:
    """Spectra of one file that share their wavelengths.

    `wavelengths_nm` is `(bands,)` and increases. `absorbance` is `(n, bands)`, log10 of
    1/reflectance. `sample_ids` has one id for each spectrum.
    """

    path: Path
    sample_ids: list[str]
    wavelengths_nm: Array
    absorbance: Array


def read_spectra(
    *paths: str | Path,
    quantity: str | None = None,
    range_nm: tuple[float, float] | None = None,
) -> Iterator[FileSpectra]:
    """Read files of spectra, and folders of them, in blocks that share their wavelengths.

    It reads CSV tables and the formats of ASD, Spectral Evolution, Spectra Vista, Bruker OPUS, SPC
    and JCAMP-DX. A large CSV table comes in several blocks. What holds no spectra in a folder is
    passed over with a warning.

    Args:
        paths: files and folders.
        quantity: `reflectance` (fractions), `percent` or `absorbance`, for files that do not say
            what they hold; None means reflectance.
        range_nm: keep only bands within these wavelengths, because a file is refused if any band
            that is kept holds an impossible value, and the ends of a detector often do.

    Raises:
        UsageError: a file cannot be read, or holds a value that its quantity cannot have.
    """
    if quantity is not None and quantity not in QUANTITIES:
        raise UsageError(f"quantity {quantity!r} is not one of {', '.join(QUANTITIES)}")
    for table in read_tables([Path(path) for path in paths], _warn_of):
        yield _file_spectra(table, quantity, range_nm)


def _file_spectra(
    table: SpectraTable, quantity: str | None, range_nm: tuple[float, float] | None
) -> FileSpectra:
    held = table.agreed_quantity(quantity, f"quantity={quantity!r}")
    # Before the values are checked, since the ends that it cuts off may hold noise.
    if range_nm is not None:
        low, high = range_nm
        kept = (table.wavelengths_nm >= low) & (table.wavelengths_nm <= high)
        if not kept.any():
            raise UsageError(f"{table.path} has no band within {low:g}-{high:g} nm")
        table = dataclasses.replace(
            table, wavelengths_nm=table.wavelengths_nm[kept], spectra=table.spectra[:, kept]
        )
    reflectance = table.reflectance(held)
    return FileSpectra(table.path, table.sample_ids, table.wavelengths_nm, absorbance(reflectance))


def _warn_of(path: Path) -> None:
    warnings.warn(f"{path} holds no spectra and was passed over", stacklevel=3)

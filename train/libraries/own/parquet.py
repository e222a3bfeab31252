"""Tables of spectra in Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ccnvr.edge.spectrum_files.spectra_table import SpectraTable
from ccnvr.edge.spectrum_files.tables.layout import NAMED, Layout, layout
from ccnvr.firmware_bridge.arrays import Array
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.firmware_bridge.installation import extra_command
from ccnvr.train.libraries.soils import ROWS_AT_ONCE

# For each column, so that not all of a row group is read at once.
_BUFFER = 1 << 14


def read(path: Path) -> Iterator[SpectraTable]:
    """Read a Parquet file a batch of rows at a time; rows count from 1, since no header is a row.

    Memory holds about one row group, decoded.

    Raises:
        UsageError: pyarrow is not installed, there is no such file, it names no soils or no bands,
            or a value is not a number.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            f"{path} needs pyarrow; save it as CSV, or run: {extra_command('parquet')}"
        ) from None
    first = 1
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER) as file:
            found = layout(path, file.schema_arrow.names, NAMED)
            for group in range(file.num_row_groups):
                # One call a row group: over several, pyarrow keeps what it has read.
                for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], use_threads=False):
                    if batch.num_rows:
                        yield _of_batch(path, found, batch, first)
                    first += batch.num_rows
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error}); give a Parquet file of spectra"
        ) from error
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path} is no Parquet file ({error}); give one of spectra") from error
    if first == 1:
        raise UsageError(f"{path} holds no spectra; add a row for each")


def _of_batch(path: Path, found: Layout, batch: Any, first: int) -> SpectraTable:
    spectra = np.empty((batch.num_rows, len(found.bands)))
    for band, column in enumerate(found.bands):
        spectra[:, band] = _numbers(path, found.header[column], batch.column(column), first)
    columns = {
        name: [_text(value) for value in batch.column(column).to_pylist()]
        for name, column in found.others.items()
    }
    rows = range(first, first + batch.num_rows)
    assert found.id_column is not None, "NAMED asks for one"
    sample_ids = columns.pop(found.header[found.id_column])
    return SpectraTable(path, rows, sample_ids, found.wavelengths_nm, spectra, columns)


def _numbers(path: Path, name: str, column: Any, first: int) -> Array:
    try:
        values = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(
            f"{path} column {name} holds {column.type} and must hold numbers; convert it"
        ) from None
    if not np.all(np.isfinite(values)):
        row = int(np.argmin(np.isfinite(values)))
        raise UsageError(
            f"{path} row {first + row} column {name} is {column[row]} and must be a number; "
            "correct or drop the row"
        )
    return values


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)

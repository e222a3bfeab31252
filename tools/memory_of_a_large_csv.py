"""How much memory reading a large file of spectra takes beyond its array: python -m
tools.memory_of_a_large_csv --rows 140000.

Writes a CSV (or Parquet) file of 350-2500 nm by 1 nm, some 15 kB a row, reads it as a library, and
prints the peak's growth as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import tempfile
from pathlib import Path

from ccnvr.edge.chemometrics.grid import Grid
from ccnvr.train.libraries import load as libraries

WAVELENGTHS = range(350, 2501)
BLOCK = 1000


def soil() -> list[float]:
    """Reflectance with the band of water that every soil has."""
    return [
        0.2 + 1e-4 * step - 0.05 * math.exp(-0.5 * ((nm - 1917) / 30) ** 2)
        for step, nm in enumerate(WAVELENGTHS)
    ]


def write_csv(path: Path, rows: int) -> None:
    spectrum = ",".join(f"{value:.4f}" for value in soil())
    with open(path, "w") as stream:
        stream.write(f"sample_id,OC,{','.join(map(str, WAVELENGTHS))}\n")
        stream.writelines(f"{row},12.5,{spectrum}\n" for row in range(rows))


def write_parquet(path: Path, rows: int) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("sample_id", pa.string()),
            ("OC", pa.float64()),
            *((str(nm), pa.float64()) for nm in WAVELENGTHS),
        ]
    )
    rng = np.random.default_rng(1)
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, BLOCK):
            count = min(BLOCK, rows - first)
            bands = [value + rng.uniform(0.0, 1e-3, count) for value in soil()]
            ids = [str(row) for row in range(first, first + count)]
            writer.write_table(
                pa.table([pa.array(ids), np.full(count, 12.5), *bands], schema=schema)
            )


def peak_bytes() -> int:
    """The most memory that this process ever had; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(folder: Path, rows: int, ending: str) -> dict[str, int]:
    """Bytes of the file, of the array, and by how much the peak grew beyond that of reading a small
    file.
    """
    grid = Grid(1104.0, 2.0, 696)
    path = folder / f"soils{ending}"
    write = write_parquet if ending == ".parquet" else write_csv
    write(path, 600)
    libraries.load_library(str(path), grid)
    before = peak_bytes()
    write(path, rows)
    written = peak_bytes()
    library = libraries.join(iter([libraries.load_library(str(path), grid)]))
    return {
        "file": path.stat().st_size,
        "array": library.spectra.nbytes,
        "growth": peak_bytes() - before,
        "growth_by_writing": written - before,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=140_000)
    parser.add_argument("--ending", choices=[".csv", ".parquet"], default=".csv")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(Path(temporary), options.rows, options.ending)))

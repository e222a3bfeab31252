"""Convert files of spectra into one CSV table: a row for each soil, reflectance from 0 to 1 over
wavelengths in nm, as all commands read it.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

from ccnvr.edge.atomic_files import check_writable, is_same_file, write_atomically
from ccnvr.edge.batch.conversion import convert
from ccnvr.edge.batch.options import add_table_options, table_options
from ccnvr.edge.spectrum_files.messages import cleaned
from ccnvr.edge.spectrum_files.read import read_tables
from ccnvr.edge.spectrum_files.spectra_table import SpectraTable
from ccnvr.edge.standard_error import tell
from ccnvr.firmware_bridge.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr convert`."""
    parser.add_argument("file", type=Path, nargs="+", help="files of spectra, or folders of them")
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, help="the CSV file")
    add_table_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the table, or nothing if a file cannot be read."""
    check_writable(arguments.out)
    # Tables of one file share its notes, and each note is worth printing once.
    seen: set[tuple[Path, str]] = set()

    def noted() -> Iterator[SpectraTable]:
        for table in read_tables(arguments.file, _pass_over, table_options(arguments)):
            if is_same_file(arguments.out, table.path):
                raise UsageError(
                    f"--out {arguments.out} is a file that is read, {table.path}; name another"
                )
            for note in table.reading.notes:
                if (table.path, note) not in seen:
                    seen.add((table.path, note))
                    tell(cleaned(f"{table.path}: {note}"))
            yield table

    with write_atomically(arguments.out) as stream:
        # The csv module ends its lines itself; with the default newline they would be translated
        # again.
        text = io.TextIOWrapper(stream, "utf-8", newline="")
        count = convert(noted(), arguments.quantity, text)
        text.flush()
        # Otherwise the wrapper would close the stream, which is synced and renamed after this
        # block.
        text.detach()
    tell(f"{count} spectra are in {arguments.out}")
    return 0


def _pass_over(path: Path) -> None:
    tell(cleaned(f"passed over {path}, since it holds no spectra"))

"""Choose which of the soils that you measured a laboratory should analyse.

A few soils are chosen that stand for all of them, as the model sees their spectra. The table
holds their spectra and the columns of your files, and an empty column for each property that has
none: fill in the laboratory's values, and give it to ccnvr finetune.
"""

from __future__ import annotations

import argparse
import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from ccnvr.edge.atomic_files import check_absent, check_writable, write_atomically
from ccnvr.edge.batch.conversion import convert
from ccnvr.edge.batch.options import add_table_options, table_options
from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle import family
from ccnvr.edge.chemometrics.grid import naming_source
from ccnvr.edge.commands.arguments import whole_number
from ccnvr.edge.spectrum_files.messages import cleaned
from ccnvr.edge.spectrum_files.read import read_tables
from ccnvr.edge.spectrum_files.spectra_table import SpectraTable, joined
from ccnvr.edge.standard_error import tell
from ccnvr.firmware_bridge.errors import UsageError
from ccnvr.train.libraries.own.columns import NotUnderstood, understand
from ccnvr.train.selection import choose_soils


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr select-soils`."""
    parser.add_argument("model", metavar="MODEL", help="'default', or a .ccnvr file")
    parser.add_argument("file", type=Path, nargs="+", help="files of spectra, or folders of them")
    parser.add_argument(
        "--count",
        type=whole_number(2, 10_000),
        default=20,
        help="soils to choose (20)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the table to write (CSV)"
    )
    add_table_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the table of the chosen soils, and list them."""
    # The table is filled in by hand later, and must not be lost to a second call.
    check_absent(arguments.out, "--out")
    check_writable(arguments.out)
    table = _read(arguments)
    source = arguments.model
    with naming_source(table.path):
        if source == "default":
            source = family.choose(table.wavelengths_nm).source
        bundle = bundles.read(source)
        quantity = table.agreed_quantity(arguments.quantity, "--quantity")
        chosen = choose_soils(
            bundle.manifest, bundle.correction(), table, quantity, arguments.count
        )
    there = _properties_of(table)
    targets = [target for target in bundle.manifest.targets if target.name not in there]
    with write_atomically(arguments.out) as stream:
        text = io.TextIOWrapper(stream, "utf-8", newline="")
        selected = _selected(table, chosen, [target.name for target in targets])
        convert([selected], arguments.quantity, text)
        text.flush()
        # Otherwise the wrapper would close the stream, which `write_atomically` still needs.
        text.detach()
    print("\n".join(chosen))
    units = ", ".join(f"{target.name} ({target.unit})" for target in targets)
    tell(
        f"{len(chosen)} of {len(set(table.sample_ids))} soils are in {arguments.out}"
        + (f"; fill in {units}" if units else "")
        + f", then: ccnvr finetune {arguments.model} {arguments.out} --out runs/mine"
    )
    return 0


def _read(arguments: argparse.Namespace) -> SpectraTable:
    """Return all spectra of the files as one table."""
    tables = list(
        read_tables(
            arguments.file,
            lambda path: tell(cleaned(f"passed over {path}, since it holds no spectra")),
            table_options(arguments),
        )
    )
    first = tables[0]
    for table in tables:
        if not np.array_equal(table.wavelengths_nm, first.wavelengths_nm) or list(
            table.columns
        ) != list(first.columns):
            raise UsageError(
                f"{table.path} has other wavelengths or columns than {first.path}; give the files "
                "of one instrument"
            )
    return joined(tables)


def _properties_of(table: SpectraTable) -> set[str]:
    """Return the properties that columns of a table are read as, under whatever name."""
    found = set()
    for name in table.columns:
        with suppress(NotUnderstood):
            column = understand(name)
            if column is not None:
                found.add(column.property)
    return found


def _selected(table: SpectraTable, chosen: list[str], empty: list[str]) -> SpectraTable:
    """Return the rows of the chosen soils, with further empty columns."""
    # All spectra of a chosen soil are kept, since fine-tuning can use replicates.
    rows = [row for row, sample in enumerate(table.sample_ids) if sample in set(chosen)]
    columns = {name: [cells[row] for row in rows] for name, cells in table.columns.items()}
    return replace(
        table,
        rows=[table.rows[row] for row in rows],
        sample_ids=[table.sample_ids[row] for row in rows],
        spectra=table.spectra[rows],
        columns={**columns, **{name: [""] * len(rows) for name in empty}},
    )

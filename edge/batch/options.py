"""Options by which a user says what files of spectra hold, where they do not say it themselves."""

from __future__ import annotations

import argparse

from ccnvr.edge.spectrum_files.spectra_table import QUANTITIES
from ccnvr.edge.spectrum_files.tables.axis import UNITS
from ccnvr.edge.spectrum_files.tables.layout import TableOptions


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Add `--quantity`, `--axis`, `--id`, `--soils` and `--sheet`."""
    parser.add_argument(
        "--quantity",
        choices=QUANTITIES,
        help="what the files hold, where they do not say (reflectance, 0 to 1)",
    )
    parser.add_argument(
        "--axis", choices=UNITS, help="the unit of a table's axis, where it does not say"
    )
    parser.add_argument("--id", metavar="COLUMN", help="the column of a table that names the soils")
    parser.add_argument(
        "--soils",
        choices=("rows", "columns"),
        help="where a table has its soils, if it can be read both ways",
    )
    parser.add_argument("--sheet", metavar="NAME", help="the sheet of a workbook that is read")


def table_options(arguments: argparse.Namespace) -> TableOptions:
    """Return what the options of `add_table_options` say."""
    return TableOptions(arguments.axis, arguments.id, arguments.soils, arguments.sheet)

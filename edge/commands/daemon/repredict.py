"""Predict the scans of a store again, by another bundle.

The new predictions are stored beside the old ones, in the table repredictions, and printed: as a
table on a terminal, else one JSON object per line. Nothing that ccnvr run stored is changed, and
what is predicted by this bundle already stays as it is. A daemon may use the store meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path

from ccnvr.edge.commands.arguments import (
    BUNDLE_HELP,
    add_model_choice,
    add_tolerances,
)
from ccnvr.edge.commands.daemon.options import add_stored_scans
from ccnvr.edge.commands.daemon.run import record_table
from ccnvr.edge.history.reprediction import Reprediction
from ccnvr.edge.history.stored_scans import StoredScans
from ccnvr.edge.inference.models import load_bundle, properties_of
from ccnvr.edge.quality.verdict import check_tolerances
from ccnvr.edge.standard_error import tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr repredict`."""
    parser.add_argument("store", type=Path, metavar="STORE", help="the store of ccnvr run")
    parser.add_argument("bundle", help=BUNDLE_HELP)
    add_model_choice(parser)
    add_tolerances(parser)
    add_stored_scans(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per line on a terminal too"
    )


def run(arguments: argparse.Namespace) -> int:
    """Predict all scans; return 1 if none could be predicted."""
    tolerances = dict(arguments.accept or ())
    model = load_bundle(arguments.bundle, arguments.engine, arguments.profile)
    check_tolerances(tolerances, properties_of(model), f"bundle {arguments.bundle}")
    as_table = sys.stdout.isatty() and not arguments.json
    table = record_table()
    count = 0
    with closing(StoredScans(arguments.store, arguments.panel, arguments.instrument)) as scans:
        history = Reprediction(scans, model, tolerances)
        for record in history.records():
            print("\n".join(table.lines(record)) if as_table else json.dumps(record))
            count += 1
        if scans.left_out:
            tell(scans.report())
        tell(
            f"{count - history.known} scans were predicted by {arguments.bundle} and stored beside "
            f"the earlier predictions; {history.known} more were predicted by it already"
        )
    return 0 if count else 1

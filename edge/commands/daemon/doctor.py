"""Examine a store, and repair it where it is damaged.

Every record is read and held against its checksum. With --repair, what can be saved goes into a new
store in the place of the damaged one, which is kept beside it. Stop ccnvr run first; it repairs a
store that it cannot open by itself.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ccnvr.edge.daemon import checkup


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr doctor`."""
    parser.add_argument("store", type=Path, metavar="STORE", help="the store of ccnvr run")
    parser.add_argument(
        "--repair", action="store_true", help="save what a damaged store holds into a new one"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a finding")


def run(arguments: argparse.Namespace) -> int:
    """Examine the store; return 1 if something is not well and was not repaired."""
    findings = checkup.examine(arguments.store)
    if arguments.repair and any(finding.repairable for finding in findings):
        findings = [
            *(finding for finding in findings if not finding.repairable),
            checkup.repair(arguments.store),
        ]
    for finding in findings:
        mark = "ok" if finding.well else "--"
        print(json.dumps(asdict(finding)) if arguments.json else f"{mark}  {finding.text}")
    return 0 if all(finding.well for finding in findings) else 1

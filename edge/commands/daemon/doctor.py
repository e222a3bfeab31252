"""Examine what `ccnvr run` needs, and repair a store that is damaged.

With a configuration: the bundle on its engine, the computer's clock, programs that meddle with
serial ports, the store, its references, and the instrument, which is asked who it is. With a store
alone: every record, held against its checksum. With --repair, what can be saved goes into a new
store in the place of the damaged one, which is kept beside it. Stop ccnvr run first; it repairs a
store that it cannot open by itself.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ccnvr.edge.daemon import config as configuration
from ccnvr.edge.doctor import store_checks
from ccnvr.edge.doctor.daemon_checks import examine_daemon
from ccnvr.firmware_bridge.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr doctor`."""
    parser.add_argument(
        "store", type=Path, nargs="?", metavar="STORE", help="the store of ccnvr run"
    )
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="the configuration file of ccnvr run"
    )
    parser.add_argument(
        "--repair", action="store_true", help="save what a damaged store holds into a new one"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a finding")


def run(arguments: argparse.Namespace) -> int:
    """Examine; return 1 if something is not well and was not repaired."""
    if (arguments.store is None) == (arguments.config is None):
        raise UsageError("name one store, or a configuration file: ccnvr doctor -c ccnvr.toml")
    if arguments.config is None:
        store, findings = arguments.store, store_checks.examine(arguments.store)
    else:
        config = configuration.load(arguments.config, {})
        store, findings = config.store_path, list(examine_daemon(config))
    if arguments.repair and any(finding.repairable for finding in findings):
        findings = [
            *(finding for finding in findings if not finding.repairable),
            store_checks.repair(store),
        ]
    for finding in findings:
        line = json.dumps(asdict(finding)) if arguments.json else f"{finding.mark}  {finding.text}"
        print(line)
    return 0 if all(finding.well for finding in findings) else 1

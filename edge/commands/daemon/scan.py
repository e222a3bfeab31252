"""Have a running daemon scan a sample, and print what came of it.

The daemon is a `ccnvr run` on the same store; with `start = "command"` in its configuration it
scans only when it is asked. Ids may come from a barcode reader that types into the terminal.
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing

from ccnvr.edge.commands.arguments import number, whole_number
from ccnvr.edge.commands.daemon.options import add_daemon_store
from ccnvr.edge.storage.context import DEPTHS_CM, SampleIdentity
from ccnvr.edge.workflow.client import ControlClient
from ccnvr.edge.workflow.requests import MOST_REPLICATES, JobFailed, JobFinished, SampleRequest
from ccnvr.firmware_bridge.errors import CcnvrError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr scan`."""
    add_daemon_store(parser)
    parser.add_argument("--id", default="", metavar="TEXT", help="name or barcode of the sample")
    depth = number(*DEPTHS_CM)
    parser.add_argument("--top", type=depth, metavar="CM", help="depth of the sample's upper end")
    parser.add_argument(
        "--bottom", type=depth, metavar="CM", help="depth of the sample's lower end"
    )
    parser.add_argument("--operator", default="", metavar="NAME", help="who measures")
    parser.add_argument("--note", default="", metavar="TEXT", help="anything else")
    parser.add_argument(
        "--replicates",
        type=whole_number(1, MOST_REPLICATES),
        default=0,
        metavar="N",
        help="scans that make the sample's record (as many as the daemon's configuration says)",
    )
    parser.add_argument("--json", action="store_true", help="print the record as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Ask for a scan, and print its record."""
    try:
        sample = SampleIdentity(
            arguments.id, arguments.top, arguments.bottom, arguments.operator, arguments.note
        )
    except ValueError as error:
        raise UsageError(f"{error}; correct it") from error
    with closing(ControlClient(arguments.store)) as client:
        for event in client.ask(SampleRequest(sample, arguments.replicates)):
            if isinstance(event, JobFailed):
                raise CcnvrError(event.text)
            # With --json nothing but the record is printed, for programs that read it.
            if isinstance(event, JobFinished) and arguments.json:
                print(json.dumps(event.record))
            elif not arguments.json:
                print(event.text, flush=True)
    return 0

"""Have a running daemon take dark and white references, step by step.

Each step says what must be under the probe, and waits for Enter. If the daemon's configuration has
a check sample, it is scanned as well. References that show a mistake are asked for again.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing

from ccnvr.edge.commands.daemon.options import add_daemon_store
from ccnvr.edge.workflow.client import ControlClient
from ccnvr.edge.workflow.requests import (
    CheckRequest,
    JobEvent,
    JobFailed,
    JobRequest,
    OperatorPrompt,
    ReferenceRequest,
)
from ccnvr.firmware_bridge.errors import CcnvrError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr reference`."""
    add_daemon_store(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check-sample", action="store_true", help="scan the check sample only, and show its chart"
    )
    what.add_argument(
        "--status",
        action="store_true",
        help="print what the daemon does and how old its references are, as JSON",
    )
    parser.add_argument(
        "--accept-white",
        action="store_true",
        help="take a white reference although it is unlike earlier ones, because the lamp or the "
        "panel was replaced",
    )
    parser.add_argument(
        "--yes", action="store_true", help="answer each step at once, as a script must"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask for references and guide the operator through the steps."""
    with closing(ControlClient(arguments.store)) as client:
        if arguments.status:
            print(json.dumps(client.status(), indent=2))
            return 0
        request: JobRequest = ReferenceRequest(arguments.accept_white)
        if arguments.check_sample:
            request = CheckRequest()
        for event in client.ask(request):
            _show(event)
            if isinstance(event, OperatorPrompt):
                if not arguments.yes:
                    _wait_for_enter()
                client.proceed()
    return 0


def _show(event: JobEvent) -> None:
    if isinstance(event, JobFailed):
        raise CcnvrError(event.text)
    print(event.text, flush=True)


def _wait_for_enter() -> None:
    print("press Enter when it is there, or Ctrl-C to stop: ", end="", flush=True)
    # The empty string is the end of the input; Enter alone is a line.
    if not sys.stdin.readline():
        raise CcnvrError(
            "standard input has ended and nobody can press Enter; give --yes if everything is in "
            "its place"
        )

"""Stream predictions from an instrument, one JSON object per line, until interrupted.

Each scan is stored before it is shown, so after a crash the same command continues where the last
run ended. The first run, and any run without fresh references, takes a dark and a white reference:
have the white panel under the probe. The flags of a record say when a scan must be taken again
(rescan:...) and what else limits its use. SIGHUP has the configuration file read again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ccnvr.edge.commands.arguments import (
    BUNDLE_HELP,
    add_model_choice,
    add_tolerances,
    number,
    whole_number,
)
from ccnvr.edge.daemon import config as configuration
from ccnvr.edge.daemon import log, main_loop
from ccnvr.edge.service.supervision import Supervision
from ccnvr.edge.streams.line_output import LineOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr run`; each one takes precedence over the configuration file."""
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="configuration file (TOML)"
    )
    parser.add_argument(
        "--instrument",
        metavar="URL",
        help="serial:///dev/NAME?baud=N, socket://HOST:PORT or sim://",
    )
    parser.add_argument(
        "--bundle",
        metavar="FILE",
        help=BUNDLE_HELP,
    )
    # None, so that an option that is not given leaves the configuration file's value alone.
    add_model_choice(parser, default=None)
    parser.add_argument(
        "--store", metavar="FILE", help="SQLite file for scans and predictions (ccnvr.sqlite)"
    )
    parser.add_argument(
        "--interval",
        type=number(0, 86_400),
        metavar="S",
        help="seconds from the start of one scan to the next (0: as fast as possible)",
    )
    parser.add_argument(
        "--new-references",
        action="store_true",
        help="take new dark and white references, even if fresh ones are stored",
    )
    parser.add_argument(
        "--accept-white",
        action="store_true",
        help="take a white reference although it is unlike earlier ones, because the lamp or the "
        "panel was replaced",
    )
    add_tolerances(parser)
    parser.add_argument(
        "--count", type=whole_number(1, 10**9), metavar="N", help="end after N predictions"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon until its count is reached or it is told to stop."""
    given: configuration.Overrides = {
        "instrument": {"url": arguments.instrument},
        "model": {
            "bundle": arguments.bundle,
            "engine": arguments.engine,
            "profile": arguments.profile,
        },
        "store": {"path": arguments.store},
        "run": {"interval_s": arguments.interval},
        "reference": {"accept_white": arguments.accept_white or None},
        "accept": dict(arguments.accept or ()),
    }
    overrides = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in given.items()
    }

    def load() -> configuration.Config:
        return configuration.load(arguments.config, overrides)

    settings, supervision = load(), Supervision()
    output = LineOutput(sys.stdout.fileno(), supervision.signals.overdue)
    with log.to_standard_error() as logger:
        renew = arguments.new_references or arguments.accept_white
        summary = main_loop.run(
            settings,
            arguments.count,
            lambda record: output.write(json.dumps(record)),
            renew=renew,
            supervision=supervision,
            reload=load if arguments.config else None,
        )
        logger.info("%d scans predicted; %s", summary.predicted, summary.statistics)
    return 0

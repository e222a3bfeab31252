"""Stream predictions from an instrument as JSON lines. Every scan is stored before it is shown;
start again after any crash and the stream goes on where it ended. A first start, or one without
fresh references, takes dark and white: have the white panel under the probe. A record's flags say
when a scan must be taken again (rescan:...) and what else to know; the README explains them and the
configuration file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ccnvr.edge.commands.arguments import add_model_choice, number, whole_number
from ccnvr.edge.daemon import config as configuration
from ccnvr.edge.daemon import main_loop as daemon


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr run`; each one overrides the configuration file."""
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="configuration file (TOML)"
    )
    parser.add_argument(
        "--instrument",
        metavar="URL",
        help="serial:///dev/NAME?baud=N, socket://HOST:PORT or sim://",
    )
    parser.add_argument(
        "--bundle", metavar="FILE", help="bundle, or 'default' (the one that comes with ccnvr)"
    )
    add_model_choice(parser, default=None)
    parser.add_argument(
        "--store", metavar="FILE", help="SQLite file for scans and predictions (ccnvr.sqlite)"
    )
    parser.add_argument(
        "--interval", type=number(0, 86_400), metavar="S", help="seconds from scan to scan (0)"
    )
    parser.add_argument(
        "--new-references",
        action="store_true",
        help="take dark and white anew, even if fresh ones are stored",
    )
    parser.add_argument(
        "--count", type=whole_number(1, 10**9), metavar="N", help="end after N predictions"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon until its count is reached or it is told to stop."""
    given: dict[str, dict[str, object]] = {
        "instrument": {"url": arguments.instrument},
        "model": {
            "bundle": arguments.bundle,
            "engine": arguments.engine,
            "profile": arguments.profile,
        },
        "store": {"path": arguments.store},
        "run": {"interval_s": arguments.interval},
    }
    overrides = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in given.items()
    }
    settings = configuration.load(arguments.config, overrides)
    summary = daemon.run(settings, arguments.count, _print_line, renew=arguments.new_references)
    daemon.notice(f"{summary.predicted} scans predicted; {summary.statistics}")
    return 0


def _print_line(record: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()

"""Options that several commands of the daemon and its store share."""

from __future__ import annotations

import argparse
from pathlib import Path

from ccnvr.edge.commands.arguments import number
from ccnvr.edge.history.stored_scans import DEFAULT_PANEL


def add_daemon_store(parser: argparse.ArgumentParser) -> None:
    """Add the store by which a running daemon is found."""
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("ccnvr.sqlite"),
        metavar="FILE",
        help="the store of the daemon (ccnvr.sqlite)",
    )


def add_stored_scans(parser: argparse.ArgumentParser) -> None:
    """Add which scans of a store are read, and how."""
    parser.add_argument(
        "--instrument", metavar="SERIAL", default="", help="only the scans of this instrument"
    )
    parser.add_argument(
        "--panel",
        type=number(0.05, 1.1),
        default=DEFAULT_PANEL,
        metavar="R",
        help="reflectance of the white panel, for scans of versions that did not store it (0.99)",
    )

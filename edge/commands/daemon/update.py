"""Put a new bundle beside the one that a daemon runs.

The daemon, whose configuration names the folder as [model] bundle, takes it between two scans: it
runs the bundle's self-test and predicts stored spectra, then watches the first predictions, and
goes back to the former bundle by itself if something fails. With a public key, only a bundle with
that key's signature in the file of its name with .sig is taken.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ccnvr.edge.atomic_files import make_folder
from ccnvr.edge.standard_error import tell
from ccnvr.edge.updates.slots import Slots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr update`."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the new .ccnvr file")
    parser.add_argument(
        "--models",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="the folder of the daemon's two bundles; it is made if it does not exist",
    )
    parser.add_argument(
        "--public-key",
        type=Path,
        metavar="FILE",
        help="take only what this Ed25519 key (PEM) has signed",
    )


def run(arguments: argparse.Namespace) -> int:
    """Install the bundle."""
    # Not by pathlib, which raises below a folder that may not be entered.
    if not os.path.isdir(arguments.models):
        make_folder(arguments.models, "--models")
    place = Slots(arguments.models).install(arguments.bundle, arguments.public_key)
    tell(f"{place} is on trial; the daemon takes it between two scans")
    return 0

"""Describe a bundle and test it on this machine.

The command checks the bundle's integrity, runs its self-test on an engine, and prints what the
bundle predicts, how accurately, and from which data it was trained. `ccnvr inspect default` lists
the bundles that come with ccnvr.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ccnvr.edge.atomic_files import is_same_file
from ccnvr.edge.batch.accept_picture import draw_accept_curves
from ccnvr.edge.bundle.accept_curve import half_widths_of
from ccnvr.edge.bundle.archive import DEFAULT
from ccnvr.edge.bundle.card_text import describe
from ccnvr.edge.bundle.family_text import family_as_data, family_lines
from ccnvr.edge.commands.arguments import add_model_choice
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.firmware_bridge.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr inspect`."""
    parser.add_argument(
        "bundle",
        help="a .ccnvr file, 'default' for a list of those that come with ccnvr, or "
        "'default:NAME' for one of them",
    )
    add_model_choice(parser)
    parser.add_argument("--json", action="store_true", help="print the whole manifest as JSON")
    parser.add_argument(
        "--accept-curve",
        type=Path,
        metavar="PNG",
        help="also draw the share of soils that each tolerance (--accept of run and predict) would "
        "send to the laboratory (needs the extra plot)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify the bundle, run its self-test, and print its model card."""
    if arguments.bundle == DEFAULT:
        if arguments.accept_curve is not None:
            raise UsageError("--accept-curve is of one bundle; name it, as in default:NAME")
        print(json.dumps(family_as_data()) if arguments.json else "\n".join(family_lines()))
        return 0
    # The self-test on this machine is the point: a card alone could be printed without an engine.
    model = ProvedModel(arguments.bundle, arguments.engine, arguments.profile)
    model.bundle.verify()
    manifest = model.bundle.manifest
    if arguments.accept_curve is not None:
        if is_same_file(arguments.accept_curve, Path(arguments.bundle)):
            raise UsageError(f"--accept-curve {arguments.accept_curve} is the bundle; name another")
        draw_accept_curves(half_widths_of(manifest), manifest.name, arguments.accept_curve)
    if arguments.json:
        print(manifest.to_json())
        return 0
    self_test = (
        f"self-test passed on {model.choice}: differs by {model.self_test_difference:.1e} standard "
        "deviations of the training soils at most"
    )
    for line in describe(model.bundle, self_test, model.correction):
        print(line)
    return 0

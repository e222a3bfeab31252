"""Describe a bundle and test it on this machine.

The command checks the bundle's integrity, runs its self-test on an engine, and prints what the
bundle predicts, how accurately, and from which data it was trained. `ccnvr inspect default` lists
the bundles that come with ccnvr.
"""

from __future__ import annotations

import argparse
import json

from ccnvr.edge.bundle.archive import DEFAULT
from ccnvr.edge.bundle.card_text import describe
from ccnvr.edge.bundle.family_text import family_as_data, family_lines
from ccnvr.edge.commands.arguments import add_model_choice
from ccnvr.edge.inference.proved_model import ProvedModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ccnvr inspect`."""
    parser.add_argument(
        "bundle",
        help="a .ccnvr file, 'default' for a list of those that come with ccnvr, or "
        "'default:NAME' for one of them",
    )
    add_model_choice(parser)
    parser.add_argument("--json", action="store_true", help="print the whole manifest as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verify the bundle, run its self-test, and print its model card."""
    if arguments.bundle == DEFAULT:
        print(json.dumps(family_as_data()) if arguments.json else "\n".join(family_lines()))
        return 0
    # The self-test on this machine is the point: a card alone could be printed without an engine.
    model = ProvedModel(arguments.bundle, arguments.engine, arguments.profile)
    if arguments.json:
        print(model.bundle.manifest.to_json())
        return 0
    self_test = (
        f"self-test passed on {model.choice}: differs by {model.self_test_difference:.1e} sd at "
        "most"
    )
    for line in describe(model.bundle, self_test, model.correction):
        print(line)
    return 0

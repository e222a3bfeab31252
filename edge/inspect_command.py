"""Show what a bundle predicts, how well, from what data, and prove it on its self-test."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from ccnvr.edge.metrics import accuracy_table
from ccnvr.edge.predictor import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ccnvr inspect`."""
    parser.add_argument("bundle", help="a .ccnvr file, or 'default'")
    parser.add_argument("--json", action="store_true", help="the whole manifest as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verify the bundle, run its self-test, print its card."""
    model = Model(arguments.bundle)
    manifest = model.bundle.manifest
    if arguments.json:
        print(manifest.to_json())
        return 0
    grid = manifest.recipe.grid
    print(f"{manifest.name}, created {manifest.created}, sha256 of manifest {model.bundle.digest[:16]}")
    print(f"needs {grid.start_nm:g}-{grid.stop_nm:g} nm; {len(manifest.recipe.channels)} channels of {grid.bands} bands")
    print(f"self-test passed on {model.backend.name}: differs by {model.self_test_difference:.1e} sd at most")
    if model.correction is not None:
        _, window = model.correction.weights.shape
        rank = model.correction.directions.shape[1]
        print(f"corrects absorbance: each band from {window}, {rank} directions taken out")
    for target in manifest.targets:
        print(f"  {target.name} in {target.unit}, trained on {target.lowest:.3g} to {target.highest:.3g}")
    card = asdict(manifest.card)
    for title, table in card.pop("accuracy").items():
        print(f"\n{title}\n{accuracy_table(table)}")
    print(f"\n{json.dumps(card, indent=1, ensure_ascii=False)}")
    print("\nparts: " + ", ".join(f"{name} {part.bytes} B" for name, part in manifest.parts.items()))
    return 0

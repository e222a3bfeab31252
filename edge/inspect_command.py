"""Show what a bundle predicts, how well, from what data, and prove it on its self-test."""

from __future__ import annotations

import argparse
import json
from typing import Any

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
    for target in manifest.targets:
        print(f"  {target.name} in {target.unit}, trained on {target.lowest:.3g} to {target.highest:.3g}")
    for title, table in manifest.card.get("accuracy", {}).items():
        print(f"\n{title}\n{accuracy_table(table)}")
    rest = {key: value for key, value in manifest.card.items() if key != "accuracy"}
    print(f"\n{json.dumps(rest, indent=1, ensure_ascii=False)}")
    print("\nparts: " + ", ".join(f"{name} {part.bytes} B" for name, part in manifest.parts.items()))
    return 0


_COLUMNS = ("n", "r2", "rmse", "mae", "bias", "rpiq")


def accuracy_table(table: dict[str, dict[str, dict[str, Any]]]) -> str:
    """{library: {property: {figure: value}}} as aligned text."""
    lines = [f"{'library':<10}{'property':<10}" + "".join(f"{column:>9}" for column in _COLUMNS)]
    for library, properties in table.items():
        for name, figures in properties.items():
            cells = ("-" if figures[column] is None else f"{figures[column]:.4g}" for column in _COLUMNS)
            lines.append(f"{library:<10}{name:<10}" + "".join(f"{cell:>9}" for cell in cells))
    return "\n".join(lines)
